"""What each part of the compiler is worth."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from native_graphs import Branches
from support import needs

from edgeseg.targets.native.ablation import STRIPS, WHOLE, ablate, describe
from edgeseg.targets.native.isa import best_here

pytestmark = needs("onnx", "onnx_ir", "onnxruntime")


def graph(folder: Path) -> Path:
    made = Branches((3, 32, 48))
    wide = made.node("Relu", made.channels(16))
    summed = made.node("Add", made.node("Mul", wide, made.random(16, 1, 1)), wide)
    made.end(made.node("Conv", summed, made.random(8, 16, 1, 1)), "mask")
    return made.save(folder / "net.onnx")


def test_each_part_that_changes_something_is_left_out(tmp_path: Path) -> None:
    isa = best_here()
    assert isa is not None
    whole, *parts = ablate(graph(tmp_path), isa, rounds=3)
    assert (whole.name, whole.ratio) == (WHOLE, 1.0)
    names = [part.name for part in parts]
    assert {"maps_into_epilogues", STRIPS} <= set(names)
    assert "pool_before_scale" not in names  # there is nothing to pool
    assert all(part.ratio > 0 and part.library_bytes > 0 for part in parts)
    assert all(part.places > 0 for part in parts if part.name != STRIPS)
    lines = describe([whole, *parts])
    assert len(lines) == 2 + len(parts)
    assert "(the whole network)" in lines[1]


def test_it_is_a_command(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "edgeseg.targets.native.ablation", str(graph(tmp_path))]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert "without" in done.stdout
