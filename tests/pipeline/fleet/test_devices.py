"""Sweeps whose cells are measured on a device, against a real sshd on loopback."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from loopback_sshd import LoopbackSshd
from support import needs

from edgeseg.pipeline.builder.device_settings import DeviceSettings
from edgeseg.pipeline.fleet.plan import SweepPlan
from edgeseg.pipeline.sweep import SweepRequest, run_sweep

pytestmark = [needs("torch", "onnxruntime"), pytest.mark.slow]


def test_a_cell_that_comes_later_is_compared_with_the_baseline_of_before(
    small_bundles: dict[str, Path],  # which the builds find in the cache
    start_sshd: Callable[..., LoopbackSshd],
    tmp_path: Path,
) -> None:
    address = DeviceSettings(str(start_sshd().address), sys.executable)

    def plan(*precisions: str, **changes: Any) -> SweepPlan:
        return SweepPlan(
            ("egeunet",),
            ("onnxruntime",),
            precisions,
            sizes=((64, 64),),
            devices=("pi5",),
            addresses={"pi5": address},
            images=1,
            runs=5,
            calibration_images=8,
            **changes,
        )

    first = run_sweep(SweepRequest(plan("fp32"), tmp_path / "out"))
    (float_cell,) = first.outcomes
    assert (float_cell.state, float_cell.reason) == ("done", "")

    second = run_sweep(SweepRequest(plan("fp32", "int8"), tmp_path / "out"))
    again, int8_cell = second.outcomes
    assert (again.run, again.row) == (float_cell.run, float_cell.row)
    assert int8_cell.run != again.run
    assert int8_cell.row is not None
    assert int8_cell.row["device"] == address.device
    # The FP32 bundle took part once more, for this.
    assert int8_cell.row["speedup"] > 0
