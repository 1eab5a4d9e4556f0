"""INT8: convolutions of codes, against ONNX Runtime on the quantised graph as it is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from native_graphs import (
    Branches,
    compare_codes,
    quantized,
    quantized_branches,
    quantized_weights,
    reference,
)
from support import UNTESTED, needs

from edgeseg.targets import find_runtime
from edgeseg.targets.native.frontend.graph import import_graph
from edgeseg.targets.native.ir import Convolution, Pack, steps_of
from edgeseg.targets.native.isa import INSTRUCTION_SETS, Machine, best_here, runs_here
from edgeseg.targets.native.passes import fuse
from edgeseg.targets.native.source import write_source

pytestmark = needs("onnx", "onnx_ir", "onnxruntime")
SIZES = [(17, 23), (8, 8), (32, 48), (5, 16)]


@pytest.mark.parametrize("size", SIZES)
def test_convolutions_of_codes(size: tuple[int, int], tmp_path: Path) -> None:
    best = best_here("int8")
    if best is None or not best.machine.bytes:
        UNTESTED.add("INT8 of the runtime native (no instruction for products of bytes)")
        pytest.skip("this CPU adds up no products of bytes")
    graph = quantized_branches(size)
    path, image = graph.save(tmp_path / "net.onnx"), graph.image()
    runtime = find_runtime("native", {"isa": best.name})
    artifact = runtime.compile(path, tmp_path / "made", "int8")
    compare_codes(runtime.load(artifact).run(image), reference(path, image))


def test_machines_without_such_products_take_the_rounded_weights(tmp_path: Path) -> None:
    graph = quantized_branches((16, 24))
    path, image = graph.save(tmp_path / "net.onnx"), graph.image()
    wanted = reference(path, image)
    names = [
        name for name, isa in INSTRUCTION_SETS.items() if runs_here(isa) and not isa.machine.bytes
    ]
    masks = []
    for name in names:
        runtime = find_runtime("native", {"isa": name})
        artifact = runtime.compile(path, tmp_path / name, "int8")
        masks.append(runtime.load(artifact).run(image))
    for mask in masks:
        assert np.abs(mask - masks[0]).max() < 1e-4 * np.abs(wanted).max()
        # Images are not rounded there: by half a step at most in each product.
        assert np.abs(mask - wanted).mean() < 0.02 * np.abs(wanted).max()


def test_only_convolutions_that_gain_are_packed(tmp_path: Path) -> None:
    graph = Branches((8, 16, 16))
    rounded = quantized(graph, graph.channels(8), 0.05, 3)
    for outputs, groups in ((16, 1), (4, 1), (8, 8), (16, 2)):
        weight = quantized_weights(graph, outputs, 8 // groups, 1, 1)
        made = graph.node("Conv", rounded, weight, graph.random(outputs), group=groups)
        graph.end(made, f"{outputs} of {groups}")
    program, _ = import_graph(graph.save(tmp_path / "net.onnx"))
    fuse(program)
    source = write_source(program, Machine(16, 32, "unsigned"))
    steps = [inner for step in source.steps for inner in steps_of(step)]
    dense = [step for step in steps if isinstance(step, Convolution) and step.packed]
    assert [len(step.bias) for step in dense] == [16]
    assert sum(isinstance(step, Pack) for step in steps) == 1
    plain = write_source(program, Machine(16, 32))  # the program itself has not changed
    assert not any(isinstance(step, Pack) for step in plain.steps)


def test_portable_artefacts_have_both(tmp_path: Path) -> None:
    sets: dict[str, Any] = {}
    for precision in ("fp32", "int8"):
        sets[precision] = find_runtime("native").runtime_settings(precision)["isa"]
    assert "x86-64-v4-vnni" not in sets["fp32"]
    assert sets["int8"][0] == "x86-64-v4-vnni"
    assert set(sets["fp32"]) < set(sets["int8"])
    assert "aarch64-dotprod" in sets["int8"]


@needs("ziglang")
def test_the_best_library_of_an_architecture_comes_first(tmp_path: Path) -> None:
    """The runner takes the first that a machine can run, whichever weights it shares."""
    path = quantized_branches((17, 23)).save(tmp_path / "net.onnx")
    artifact = find_runtime("native").compile(path, tmp_path / "made", "int8")
    contents = json.loads((artifact.folder / artifact.files[0]).read_text())
    names = [one["isa"] for one in contents["libraries"]]
    assert names == [name for name in INSTRUCTION_SETS if name in names]
    assert {"aarch64", "aarch64-dotprod", "x86-64-v4-vnni"} <= set(names)
    assert len({one["weights"] for one in contents["libraries"]}) > 1
