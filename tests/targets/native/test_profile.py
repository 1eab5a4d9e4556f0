"""The profile of a compiled network."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from native_graphs import Branches
from support import needs

from edgeseg.targets.native.isa import best_here
from edgeseg.targets.native.profile import describe, profile_graph

pytestmark = needs("onnx", "onnx_ir", "onnxruntime")


def graph(folder: Path) -> Path:
    made = Branches((3, 32, 48))
    wide = made.channels(16)
    made.end(made.node("Conv", wide, made.random(8, 16, 3, 3), pads=[1] * 4), "dense")
    made.end(made.node("Gelu", wide), "map")
    return made.save(folder / "net.onnx")


def test_it_counts_the_products_of_each_step(tmp_path: Path) -> None:
    isa = best_here()
    assert isa is not None
    profile = profile_graph(graph(tmp_path), isa, runs=3)
    pixels = 32 * 48
    counts = sorted(step.products for step in profile.steps if step.products)
    assert sum(counts) == pixels * (3 * 16 + 16 * 8 * 9)
    assert counts[-1] >= pixels * 16 * 8 * 9
    assert all(step.seconds > 0 for step in profile.steps)
    assert {step.precision for step in profile.steps} == {"f32"}
    assert profile.counted_seconds > sum(step.seconds for step in profile.steps) / 2
    assert profile.peak > 0
    lines = describe(profile)
    assert isa.name in lines[0]
    assert len(lines) == 2 + len(profile.steps)


def test_it_is_a_command(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "edgeseg.targets.native.profile", str(graph(tmp_path))]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert "of peak" in done.stdout
