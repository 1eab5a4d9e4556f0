"""What torch rounds is what the file of integers holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from integer_graphs import save_network, save_norms, start_of, weight
from support import needs
from tiny_graphs import INPUT, node, pointwise
from tiny_litert import Made, make, save_sized_graph

from edgeseg.formats.tflite import observe_tensors, read_tflite

pytestmark = needs("torch", "onnx2tf", "ai_edge_litert", "onnx", "onnx_ir", "onnxruntime")


class Case(NamedTuple):
    made: Made
    start: Any
    plan: Any

    @property
    def path(self) -> Path:
        return self.made.source.folder / self.made.source.files[0]


def case_of(root: Path, save: Callable[[Path], Path], *, wide: bool) -> Case:
    made = make(root, save)
    start = start_of(made)
    if wide:
        groups = start.groups
        start = replace(start, groups=replace(groups, wide=groups.wide | groups.may_be_wide))
    return Case(made, start, start.plan_of(start.groups))


# A norm over channels that are all but 0 makes much of the last bit of int8.
@pytest.mark.parametrize(
    ("save", "wide", "share"),
    [
        (save_network, False, 0.6),
        (save_network, True, 0.2),
        (save_norms, False, 1.5),
        (save_norms, True, 0.2),
    ],
)
def test_torch_rounds_as_the_file_does(
    save: Callable[[Path], Path], wide: bool, share: float, tmp_path: Path
) -> None:
    import torch

    from edgeseg.quantize.litert.file import TfliteFile
    from edgeseg.quantize.litert.integer.divisors import lift_divisors
    from edgeseg.quantize.litert.integer.learning.graph import load_tflite_graph
    from edgeseg.quantize.litert.integer.learning.rounding import IntegerRounding
    from edgeseg.quantize.litert.integer.writer import IntegerWriter

    case = case_of(tmp_path, save, wide=wide)
    file = TfliteFile(case.start.content)
    lift_divisors(file, case.plan.grids)
    graph = load_tflite_graph(file)
    rounding = IntegerRounding(graph, case.plan)
    written = tmp_path / "written.tflite"
    written.write_bytes(IntegerWriter(case.start.content, case.plan).write())
    result = read_tflite(written).operators[-1].outputs[0]
    output = graph.steps[-2].name
    for image in case.made.images:
        with torch.no_grad():
            pixels = torch.from_numpy(np.ascontiguousarray(image.transpose(0, 2, 3, 1)))
            found = graph.run(
                {graph.input_name: pixels}, [output], rounding.exchange, rounding.constants()
            )[output].numpy()
        expected = next(iter(observe_tensors(written, [image], [result])))[result]
        exact = next(iter(observe_tensors(case.path, [image], [int(output)])))[int(output)]
        assert np.ptp(expected) > 0.2
        rounding_costs = np.abs(expected - exact).mean()
        assert np.abs(found - expected).mean() < share * rounding_costs
        assert np.abs(found - exact).mean() == pytest.approx(rounding_costs, rel=0.25)


@pytest.mark.parametrize("save", [save_network, save_norms])
def test_a_plan_that_nothing_was_learned_in_gives_the_same_file(
    save: Callable[[Path], Path], tmp_path: Path
) -> None:
    from edgeseg.quantize.litert.file import TfliteFile
    from edgeseg.quantize.litert.integer.divisors import lift_divisors
    from edgeseg.quantize.litert.integer.learning.graph import load_tflite_graph
    from edgeseg.quantize.litert.integer.learning.rounding import IntegerRounding
    from edgeseg.quantize.litert.integer.writer import IntegerWriter

    case = case_of(tmp_path, save, wide=False)
    file = TfliteFile(case.start.content)
    lift_divisors(file, case.plan.grids)
    plan = IntegerRounding(load_tflite_graph(file), case.plan).to_plan()
    assert plan.grids == case.plan.grids
    first, second = tmp_path / "first.tflite", tmp_path / "second.tflite"
    first.write_bytes(IntegerWriter(case.start.content, case.plan).write())
    second.write_bytes(IntegerWriter(case.start.content, plan).write())
    result = read_tflite(first).operators[-1].outputs[0]
    for image in case.made.images:
        one, other = (
            next(iter(observe_tensors(path, [image], [result])))[result] for path in (first, second)
        )
        assert np.abs(one - other).max() < 0.01


def test_all_that_can_be_is_int16_and_comes_close_to_float(tmp_path: Path) -> None:
    from edgeseg.quantize.litert.integer.writer import IntegerWriter

    case = case_of(tmp_path, save_norms, wide=True)
    written = tmp_path / "written.tflite"
    written.write_bytes(IntegerWriter(case.start.content, case.plan).write())
    model = read_tflite(written)
    assert "INT8" not in {
        model.types[index]
        for one in model.operators
        for index in (*one.inputs, *one.outputs)
        if index not in model.constants
    }
    result = model.operators[-1].outputs[0]
    output = read_tflite(case.path).operators[-1].outputs[0]
    for image in case.made.images:
        expected = next(iter(observe_tensors(case.path, [image], [output])))[output]
        found = next(iter(observe_tensors(written, [image], [result])))[result]
        assert np.abs(found - expected).mean() < 0.004  # what int8 weights leave


def save_dead_filter(path: Path) -> Path:
    """A channel of zero weights, whose bias alone it gives."""
    weights = weight(0, 4, 3, 1, 1) / 64
    weights[2] = 0
    nodes = [
        node("Conv", [INPUT, "w0", "b0"], "c"),
        node("Add", ["c", "c"], "d"),
        node("Conv", ["d", "head"], "logits"),
        node("Sigmoid", ["logits"], "y"),
    ]
    constants = {
        "w0": weights,
        "b0": np.full(4, 0.5, np.float32),
        "head": pointwise([[1, 1, 1, 1]]),
    }
    return save_sized_graph(path, nodes, constants)


def test_a_dead_filter_keeps_its_bias_on_int16(tmp_path: Path) -> None:
    from edgeseg.quantize.litert.integer.writer import IntegerWriter

    case = case_of(tmp_path, save_dead_filter, wide=True)
    written = tmp_path / "written.tflite"
    written.write_bytes(IntegerWriter(case.start.content, case.plan).write())
    result = read_tflite(written).operators[-1].outputs[0]
    output = read_tflite(case.path).operators[-1].outputs[0]
    for image in case.made.images:
        expected = next(iter(observe_tensors(case.path, [image], [output])))[output]
        found = next(iter(observe_tensors(written, [image], [result])))[result]
        assert np.abs(found - expected).max() < 0.01
