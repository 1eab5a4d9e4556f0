"""A calibrator from another package: no file of edgeseg knows it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from support import needs

from edgeseg.quantize import METHODS
from edgeseg.quantize.plan.files import load_plan

pytestmark = needs("torch", "onnx", "onnx_ir", "onnxscript", "onnxruntime")

RunCli = Callable[..., "CompletedProcess[str]"]

CALIBRATOR = '''
"""Ranges that are a multiple of the mean magnitude of each activation."""

from dataclasses import dataclass

import numpy as np

from edgeseg.quantize.calibrators.range_calibrator import RangeCalibrator, RangeOptions


@dataclass(frozen=True)
class MeanOptions(RangeOptions):
    factor: float = 6.0


class MeanCalibrator(RangeCalibrator):
    name = "mean"
    options_class = MeanOptions

    def choose_ranges(self, observe):
        sums = {}
        for values in observe():
            for name, value in values.items():
                total, count = sums.get(name, (0.0, 0))
                sums[name] = total + float(np.abs(value).sum(dtype=np.float64)), count + value.size
        return {name: self.options.factor * total / count for name, (total, count) in sums.items()}
'''


@pytest.fixture
def mean_calibrator(
    install_package: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    places = {"edgeseg.quantizers": {"mean": "mean_calibration:MeanCalibrator"}}
    install_package("mean-calibration", {"mean_calibration.py": CALIBRATOR}, places)
    monkeypatch.setattr(METHODS, "_places", None)
    yield
    sys.modules.pop("mean_calibration", None)


def test_it_takes_under_40_lines() -> None:
    assert len(CALIBRATOR.strip().splitlines()) < 40


def test_build_uses_it_and_the_manifest_records_it(
    mean_calibrator: None, tmp_path: Path, run_cli: RunCli
) -> None:
    plans = {}
    for factor in (6, 12):
        folder = tmp_path / f"bundle{factor}"
        words = ["--model", "egeunet", "--target", "onnxruntime", "--precision", "int8"]
        words += ["--size", "64x64", "--calibration-images", "4", "--output", str(folder)]
        words += ["--method", "mean", "--method-option", f"factor={factor}"]
        done = run_cli("build", *words)
        assert done.returncode == 0, done.stderr
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        assert manifest["quantization"]["method"] == "mean"
        assert manifest["quantization"]["settings"]["factor"] == factor
        assert manifest["quantization"]["layers"]["int8_convolutions"] > 0
        assert manifest["toolchain"]["mean-calibration"] == "1.0"
        plans[factor] = load_plan(folder / "quantization")
    assert plans[6].provenance.method == "mean"
    assert plans[6].ranges
    for name, limit in plans[6].ranges.items():
        # Shifted by zero points: a wider range covers at least as much, and at most twice.
        assert limit <= plans[12].ranges[name] <= 2.001 * limit


def test_its_options_are_checked(mean_calibrator: None, tmp_path: Path, run_cli: RunCli) -> None:
    words = ["--model", "egeunet", "--target", "onnxruntime", "--precision", "int8"]
    words += ["--output", str(tmp_path / "bundle"), "--method", "mean"]
    done = run_cli("build", *words, "--method-option", "factors=6")
    assert done.returncode == 2, done.stderr
    assert "Did you mean factor?" in done.stderr
