"""Functions that differ in offsets only are written once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from native_graphs import Branches, reference
from support import needs

from edgeseg.targets import find_runtime
from edgeseg.targets.native.frontend.graph import import_graph
from edgeseg.targets.native.functions import ARGUMENT, NAME, PARAMETER, Functions, marked
from edgeseg.targets.native.isa import Machine
from edgeseg.targets.native.passes import fuse
from edgeseg.targets.native.source import write_source


def lines(*offsets: int) -> list[str]:
    places = " + ".join(marked(one) for one in offsets)
    return [
        f"INLINE int {NAME}_0({PARAMETER}int x) {{ return x + {places}; }}",
        f"STEP int {NAME}({PARAMETER}int x) {{ return {NAME}_0({ARGUMENT}x); }}",
    ]


def test_functions_that_differ_in_offsets_only_are_one() -> None:
    functions = Functions()
    calls = [functions.add(lines(*offsets)) + "1);" for offsets in ((64, 7), (99, 8), (5, 5))]
    text = "\n".join(functions.write())
    assert text.count("STEP") == 2
    assert "int s0_0(const int32_t *at, int x) { return x + at[0] + at[1]; }" in text
    assert "return s0_0(at, x);" in text
    assert "o0[] = {64, 7};" in text
    assert "o1[] = {99, 8};" in text
    # One offset in two places is another function, and alone it has its numbers.
    assert "int s2_0(int x) { return x + 5 + 5; }" in text
    assert [functions.with_calls(call) for call in calls] == ["s0(o0, 1);", "s0(o1, 1);", "s2(1);"]


@needs("onnx", "onnx_ir", "onnxruntime")
def test_blocks_of_one_shape_share_their_code(tmp_path: Path) -> None:
    graph = Branches((3, 24, 40))
    value = graph.channels(8)
    for number in range(6):
        weight, slope = graph.random(8, 8, 3, 3), graph.random(8, 1, 1)
        inner = graph.node("Conv", value, weight, graph.random(8), pads=[1] * 4)
        value = graph.node("Add", graph.node("PRelu", inner, slope), value)
        graph.end(value, f"block {number}")
    path, image = graph.save(tmp_path / "net.onnx"), graph.image()
    program, _ = import_graph(path)
    fuse(program)
    text = write_source(program, Machine(16, 32)).text
    assert text.count("int from, int to, int part, int parts) {") < 14
    runtime = find_runtime("native", {"isa": "here"})
    wanted = reference(path, image)
    given = runtime.load(runtime.compile(path, tmp_path / "made", "fp32")).run(image)
    assert np.abs(given - wanted).max() < 2e-5 * np.abs(wanted).max()
