"""Steps that run on some rows at a time, with what windows read around them computed again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from native_graphs import Branches, compare_codes, quantized, quantized_weights, reference
from support import needs

from edgeseg.targets import find_runtime
from edgeseg.targets.native import strips
from edgeseg.targets.native.frontend.graph import import_graph
from edgeseg.targets.native.ir import Rows, Strips, Window
from edgeseg.targets.native.isa import best_here
from edgeseg.targets.native.layout import plan_layout
from edgeseg.targets.native.passes import fuse

pytestmark = needs("onnx", "onnx_ir", "onnxruntime")


@pytest.fixture(autouse=True)
def everything_in_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if no cache held anything, and computing cost nothing."""
    for name, value in {"SMALL": 0, "LARGE": 0, "WORK_OF_BYTE": 1e9}.items():
        monkeypatch.setattr(strips, name, value)


def strips_of(path: Path) -> list[Strips]:
    program, _ = import_graph(path)
    fuse(program)
    return [step for step in plan_layout(program).steps if isinstance(step, Strips)]


def check(graph: Branches, folder: Path, threads: int = 1) -> None:
    path, image = graph.save(folder / "net.onnx"), graph.image()
    found = [one for step in strips_of(path) for one in step.inner.values()]
    assert any(one.above or one.below for one in found)
    runtime = find_runtime("native", {"isa": "here"})
    backend = runtime.load(runtime.compile(path, folder / "made", "fp32"), threads)
    wanted = reference(path, image)
    for _ in range(2):
        # The second run begins with what the first one left.
        assert np.abs(backend.run(image) - wanted).max() < 2e-5 * max(1.0, np.abs(wanted).max())


def windows(graph: Branches, value: str, channels: int, kernel: int, **settings: object) -> str:
    """A depthwise convolution."""
    weight = graph.random(channels, 1, kernel, kernel)
    pads = [kernel // 2 * int(str(settings.get("dilation", 1)))] * 4
    dilation = [int(str(settings.pop("dilation", 1)))] * 2
    return str(
        graph.node("Conv", value, weight, group=channels, pads=pads, dilations=dilation, **settings)
    )


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("size", "kernel"), [((64, 48), 5), ((32, 35), 3), ((24, 16), 7)])
def test_rows_around_windows_are_computed_again(
    size: tuple[int, int], kernel: int, stride: int, threads: int, tmp_path: Path
) -> None:
    graph = Branches((3, *size))
    wide = graph.node("Relu", graph.channels(9))
    small = windows(graph, wide, 9, kernel, strides=[stride, stride])
    graph.end(graph.channels(4, graph.node("Tanh", small), 9), "mask")
    check(graph, tmp_path, threads)


def test_windows_behind_windows_reach_further(tmp_path: Path) -> None:
    graph = Branches((3, 64, 40))
    first = graph.node("Relu", windows(graph, graph.channels(6), 6, 3))
    second = windows(graph, first, 6, 3, strides=[2, 2])
    third = windows(graph, second, 6, 3, dilation=2)
    graph.end(graph.node("Add", third, second), "mask")
    check(graph, tmp_path)


def test_parts_of_a_concatenation_have_the_same_rows(tmp_path: Path) -> None:
    graph = Branches((3, 32, 24))
    left, right = (graph.node(kind, graph.channels(4)) for kind in ("Relu", "Tanh"))
    both = graph.node("Concat", left, right, axis=1)
    sums = graph.node("ReduceSum", both, graph.constant([1], np.int64))
    mixed = windows(graph, graph.node("Div", both, graph.node("Exp", sums)), 8, 3)
    one, other = graph.node("Split", mixed, outputs=2, axis=1, num_outputs=2)
    graph.end(graph.node("Mul", one, other), "mask")
    check(graph, tmp_path)


def test_codes_around_the_image_are_those_of_zero(tmp_path: Path) -> None:
    best = best_here("int8")
    if best is None or not best.machine.bytes:
        pytest.skip("this CPU adds up no products of bytes")
    graph = Branches((3, 32, 24))
    rounded = quantized(graph, graph.channels(12), 0.04, 9)
    weight = quantized_weights(graph, 16, 12, 3, 3)
    graph.end(graph.node("Conv", rounded, weight, graph.random(16), pads=[1] * 4), "mask")
    path, image = graph.save(tmp_path / "net.onnx"), graph.image()
    runtime = find_runtime("native", {"isa": best.name})
    made = runtime.compile(path, tmp_path / "made", "int8")
    compare_codes(runtime.load(made).run(image), reference(path, image))


def test_rows_of_windows() -> None:
    five = Window((5, 5), (2, 2), before=(2, 2))
    # Rows 0 to 7 are made of -2 to 16: two above, and one more than twice as many below.
    assert Rows().around(five) == Rows(2, 2, 1)
    assert Rows(2, 2, 1).around(Window((3, 3), before=(1, 1))) == Rows(2, 3, 2)
    assert Rows(2, 3, 2).count(4) == 13
    assert Rows(1, 1, 0).join(Rows(1, 0, 2)) == Rows(1, 1, 2)
    assert Rows().around(Window((1, 1), (2, 2))) == Rows(2, 0, 0)


def test_threads_wait_for_the_zeros_that_windows_of_their_strips_read(tmp_path: Path) -> None:
    graph = Branches((3, 24, 22))
    value = graph.channels(7)
    largest = graph.node("ReduceMax", value, graph.constant([1], np.int64))
    both = graph.node("Concat", value, largest, axis=1)
    summed = graph.node("Add", both, graph.random(8, 1, 1))
    weight = graph.random(16, 1, 1, 3)
    wide = graph.node("Conv", summed, weight, group=8, pads=[0, 1, 0, 1], kernel_shape=[1, 3])
    graph.end(graph.node("Tanh", wide), "windows")
    graph.end(graph.node("Relu", both), "both")
    path, image = graph.save(tmp_path / "net.onnx"), graph.image()
    runtime = find_runtime("native", {"isa": "here"})
    made = runtime.compile(path, tmp_path / "made", "fp32")
    backend = runtime.load(made, 3)
    wanted = reference(path, image)
    for _ in range(20):
        assert np.abs(backend.run(image) - wanted).max() < 2e-5 * np.abs(wanted).max()
