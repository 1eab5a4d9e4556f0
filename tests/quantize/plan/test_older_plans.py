from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from edgeseg.errors import CalibrationError
from edgeseg.quantize.plan.files import load_plan, save_plan

# Written by edgeseg on the day before version 2: EGE-UNet by `percentile` for android.
VERSION_1 = Path(__file__).parent / "version_1"


def test_plan_of_version_1_reads_as_it_was_written() -> None:
    plan = load_plan(VERSION_1)
    written = json.loads((VERSION_1 / "plan.json").read_text(encoding="utf-8"))
    tensors = load_file(VERSION_1 / "plan.safetensors")
    assert plan.ranges == written["limits"]
    assert plan.zero_points == written["zero_points"]
    assert set(plan.weights) == set(written["weights"])
    for name, grid in plan.weights.items():
        assert np.array_equal(grid.values, tensors[f"{name}.codes"])
        assert np.array_equal(grid.scales, tensors[f"{name}.scales"])
    assert plan.provenance.settings == {
        "bias_correction": False,
        "zero_points": True,
        "quantize_outputs": False,
        "quantize_depthwise_outputs": False,
        "percentile": 99.99,
    }


def test_plan_of_version_1_is_saved_as_version_2(tmp_path: Path) -> None:
    plan = load_plan(VERSION_1)
    save_plan(plan, tmp_path)
    written = json.loads((tmp_path / "plan.json").read_text(encoding="utf-8"))
    assert (written["schema_version"], "limits" in written) == (2, False)
    assert load_plan(tmp_path) == plan


def test_changed_tensors_of_version_1_are_noticed(tmp_path: Path) -> None:
    shutil.copytree(VERSION_1, tmp_path / "plan")
    tensors = load_file(tmp_path / "plan/plan.safetensors")
    name = next(name for name in tensors if name.endswith(".codes"))
    save_file({**tensors, name: -tensors[name]}, tmp_path / "plan/plan.safetensors")
    with pytest.raises(CalibrationError, match=r"does not belong to plan\.json.*Copy both again"):
        load_plan(tmp_path / "plan")
