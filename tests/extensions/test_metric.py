"""A metric from another package: bench, auto and evaluate know it, no file of edgeseg does."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
from support import needs

from edgeseg.benchmarks.accuracy import Reference
from edgeseg.cli.terminal.bench_table import bench_titles
from edgeseg.cli.terminal.metric_options import parse_max_change
from edgeseg.contract import OutputContract
from edgeseg.errors import UsageError
from edgeseg.metrics.findings import Finding
from edgeseg.metrics.table import METRICS, find_metric
from edgeseg.pipeline.builder.context import BuildContext
from edgeseg.pipeline.builder.request import BuildRequest
from edgeseg.pipeline.evaluator.validation import ValidationSet
from edgeseg.progress import SILENT
from edgeseg.tuning.constraints import Evaluation, choose_constraints

RunCli = Callable[..., "CompletedProcess[str]"]

PACKAGE = '''
"""The Tversky index: Dice whose misses cost more than what is too much."""

import numpy as np

from edgeseg.metrics.counts import ratio_or_one
from edgeseg.metrics.metric import Metric


def tversky(counts):
    hit, extra, missed = np.moveaxis(counts[..., 1:, :], -1, 0)
    return ratio_or_one(hit, hit + 0.3 * extra + 0.7 * missed).mean(-1)


def area_error(image):
    return abs((image.predicted > 0).mean() - (image.truth > 0).mean())


TVERSKY = Metric(
    name="tversky",
    title="Tversky index",
    definition="TP / (TP + 0.3 FP + 0.7 FN), pixels of all images pooled",
    source="Salehi et al. 2017",
    from_counts=tversky,
    is_pooled=True,
    bench="column",
    allowed_change=0.01,
)
AREA_ERROR = Metric(
    name="area_error",
    title="area error",
    definition="absolute error of the foreground's share, mean over images",
    source="own",
    better="lower",
    from_image=area_error,
    bench="line",
)
'''


@pytest.fixture(autouse=True)
def package(
    install_package: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Install the package; it is gone after the test."""
    places = {"tversky": "lesion_metrics:TVERSKY", "area_error": "lesion_metrics:AREA_ERROR"}
    install_package("lesion_metrics", {"lesion_metrics.py": PACKAGE}, {"edgeseg.metrics": places})
    monkeypatch.setattr(METRICS, "_places", None)
    yield
    sys.modules.pop("lesion_metrics", None)


def test_the_table_ends_with_it() -> None:
    assert METRICS.names()[-2:] == ("tversky", "area_error")
    assert find_metric("tversky").source == "Salehi et al. 2017"


def test_its_values_and_changes_by_hand() -> None:
    truth = np.array([[[1, 1, 0, 0]]], np.uint8)
    found = np.array([[[1, 0, 1, 0]]], np.uint8)  # a hit, one too many, one missed
    outputs = OutputContract(("background", "lesion"), 1)
    accuracy = Reference(truth, truth, ("first",), outputs).compare(found)
    assert accuracy.accuracy["tversky"] == pytest.approx(1 / 2)
    assert accuracy.delta["tversky"] == pytest.approx(-1 / 2)
    assert accuracy.relative_change_ci95["tversky"] == pytest.approx((-1 / 2, -1 / 2))
    assert accuracy.accuracy["area_error"] == 0


@needs("torch", "onnx", "onnxscript", "onnxruntime")
def test_bench_shows_it(small_bundles: dict[str, Path], tmp_path: Path, run_cli: RunCli) -> None:
    done = run_cli(
        "bench", small_bundles["fp32"], small_bundles["int8"], "--images", 2, "--runs", 1,
        "--json", tmp_path / "bench.json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "bench.json").read_text())
    (reference,), row = report["reference"], report["rows"][-1]
    expected = reference["accuracy"]["tversky"] + row["delta"]["tversky"]
    assert row["accuracy"]["tversky"] == pytest.approx(expected)
    low, high = row["delta_ci95"]["tversky"]
    assert low <= row["delta"]["tversky"] <= high
    assert bench_titles()[-3:] == ["Tversky index", "difference", "flips/10k"]
    assert "Tversky index" in done.stdout
    assert f"{row['accuracy']['tversky']:.4f}" in done.stdout
    assert "area error of the FP32 reference of egeunet: " in done.stderr


@needs("torch", "onnx", "onnxscript", "onnxruntime")
def test_auto_limits_it(make_data_folder: Callable[..., Path], tmp_path: Path) -> None:
    data = make_data_folder(9)
    val = "\n".join(f"pair{index}" for index in range(1, 9))
    for split, names in (("train", "pair0"), ("val", val), ("test", "")):
        (data / f"{split}.txt").write_text(names)
    asked = parse_max_change(["area_error=0.05"], {})
    request = BuildRequest(
        "ulite", "onnxruntime", "auto", tmp_path, data=data, size=(32, 32), max_change=asked
    )
    validation = ValidationSet(BuildContext(request, SILENT), tmp_path, SILENT)
    constraints = choose_constraints(asked, None, 2, has_labels=True)
    assert constraints.max_change["tversky"] == 0.01  # by default
    assert constraints.max_change["area_error"] == 0.05
    plain = Evaluation("", 100, 100)

    def violation(labels: np.ndarray) -> str:
        change = validation.compare(labels)
        assert {"dice_pooled", "tversky", "area_error"} <= change.changes.keys()
        return constraints.violation(Evaluation("", 100, findings=change.findings), plain)

    validation.reference_labels[:] = validation.truth  # a reference without an error
    assert violation(validation.truth) == ""
    everywhere = np.ones_like(validation.truth)
    assert "pooled Dice falls by" in violation(everywhere)
    grown = Evaluation("", 100, findings=(Finding("area_error", 0.06, (0.055, 0.07), 8),))
    assert constraints.violation(grown, plain) == (
        "area error grows by 0.0600 (0.0550..0.0700) on 8 images, and at most 0.05 is allowed"
    )
    lost = Evaluation("", 100, findings=(Finding("tversky", -0.02, (-0.03, -0.015), 8),))
    assert constraints.violation(lost, plain) == (
        "Tversky index falls by 0.0200 (0.0150..0.0300) on 8 images, and at most 0.01 is allowed"
    )
    assert "--max-change tversky" in constraints.options


def test_the_command_line_takes_it(tmp_path: Path, run_cli: RunCli) -> None:
    words = ("build", "--model", "egeunet", "--target", "onnxruntime", "--precision", "fp32")
    done = run_cli(*words, "--max-change", "tversky=0.02", "--output", tmp_path / "out")
    assert done.returncode == 2
    assert "--max-change tversky limits what --precision auto may choose" in done.stderr
    with pytest.raises(UsageError, match=r"tversky=much is no number\. Write --max-change"):
        parse_max_change(["tversky=much"], {})
    with pytest.raises(UsageError, match=r"limit the same metric\. Give one of them"):
        parse_max_change(["dice_pooled=0.1"], {"dice_pooled": 0.2})


@pytest.mark.parametrize("command", ["evaluate", "build"])
def test_help_lists_it(run_cli: RunCli, command: str) -> None:
    printed = run_cli(command, "--help").stdout
    assert "tversky " in printed
    assert "area_error " in printed


@needs("torch", "monai", "scipy")
def test_evaluate_prints_it(
    make_data_folder: Callable[..., Path], random_weights: Path, run_cli: RunCli
) -> None:
    words = ("evaluate", "--model", "egeunet", "--weights", random_weights, "--metrics", "all")
    words += ("--data", make_data_folder(2, (32, 32)), "--split", "train", "--size", "32x32")
    words += ("--against", "egeunet")
    done = run_cli(*words)
    assert done.returncode == 0, done.stderr
    (own, theirs, difference) = (
        line for line in done.stdout.splitlines() if line.split()[:1] == ["tversky"]
    )
    assert "TP / (TP + 0.3 FP + 0.7 FN)" in own
    assert "Salehi et al. 2017" in own
    values = [float(line.split()[1]) for line in (own, theirs, difference)]
    assert values[0] - values[1] == pytest.approx(values[2], abs=2e-4)
