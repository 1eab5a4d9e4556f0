from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from rewritten_graphs import draw, graph, left_alone, operators, rewritten
from support import needs

from edgeseg.lower.older_opset import resize_of_opset_17
from edgeseg.lower.resize import resize_maps_by_matrices

pytestmark = needs("onnx", "onnx_ir", "onnxruntime")

CONSTANTS = {
    "sizes": np.array([1, 4, 16, 12]),
    "factors": np.array([1, 1, 2, 2], np.float32),
    "two": np.array([16, 12]),
    "axes": np.array([2, 3]),
    "parts": np.array([1, 3]),
    "w": draw(4, 4, 1, 1),
    "noop": np.array([], np.int64),
}
RESIZE = 'Resize<mode = "linear", antialias = 0>(m, , , sizes)'


@pytest.mark.parametrize(
    "operator",
    [
        "Gelu(x)",
        "ReduceMean(x, axes)",
        "ReduceMax<keepdims = 1, noop_with_empty_axes = 1>(x, axes)",
        "AveragePool<kernel_shape = [3,3], dilations = [1,1], pads = [1,1,1,1]>(x)",
        "Conv(x, w)",
        "Softmax<axis = 1>(x)",
        "HardSwish(x)",
    ],
)
def test_a_graph_is_written_in_opset_17(operator: str) -> None:
    model = graph(f"a = {operator} m = Add(x, a) y = {RESIZE}", CONSTANTS)
    kind = operator.partition("(")[0].partition("<")[0]
    after = rewritten(resize_of_opset_17, model, {kind: 1, "Add": 1, "Resize": 1})
    assert after.opset_imports[""] == 17


@pytest.mark.parametrize("split", ["<axis = 1, num_outputs = 2>(x)", "<axis = 1>(x, halves)"])
def test_halves(split: str) -> None:
    constants = {**CONSTANTS, "halves": np.array([2, 2])}
    model = graph(f"a, b = Split{split} m = Concat<axis = 1>(b, a) y = {RESIZE}", constants)
    rewritten(resize_of_opset_17, model, {"Split": 1, "Concat": 1, "Resize": 1})


def test_every_resize_is_counted() -> None:
    model = graph(f"m = Resize(x, , factors) y = {RESIZE}", CONSTANTS)
    rewritten(resize_of_opset_17, model, {"Resize": 2}, count=2)


def test_matrices_of_other_resizing_are_no_obstacle_and_no_reason() -> None:
    def model(kind: str) -> Any:
        made = graph(f"m = Resize<mode = {kind}>(x, , factors) y = {RESIZE}", CONSTANTS)
        assert resize_maps_by_matrices(made) == (2 if "linear" in kind else 1)
        return made

    mixed = model('"nearest"')
    left_of_it = {**operators(mixed)}
    after = rewritten(resize_of_opset_17, mixed, left_of_it)
    assert after.opset_imports[""] == 17
    left_alone(resize_of_opset_17, model('"linear"'))


@pytest.mark.parametrize(
    "body",
    [
        "y = Relu(x)",  # nothing to gain
        f"m = Mish(x) y = {RESIZE}",
        f"m = com.example.Relu(x) y = {RESIZE}",
        f'm = Gelu<approximate = "tanh">(x) y = {RESIZE}',
        f"a = ReduceMean(x) m = Add(x, a) y = {RESIZE}",
        f"c = Neg(axes) a = ReduceMean(x, c) m = Relu(x) y = {RESIZE}",
        f"a = AveragePool<kernel_shape = [3,3], dilations = [2,2]>(x) m = Add(x, x) y = {RESIZE}",
        f"a = AveragePool<kernel_shape = [3,3], ceil_mode = 1>(x) m = Add(x, x) y = {RESIZE}",
        "y = Resize<axes = [2,3]>(x, , , two)",
        'y = Resize<mode = "linear", antialias = 1>(x, , , sizes)',
        'y = Resize<keep_aspect_ratio_policy = "not_larger">(x, , , sizes)',
        'y = Resize<coordinate_transformation_mode = "half_pixel_symmetric">(x, , , sizes)',
    ],
)
def test_other_graphs_keep_their_opset(body: str) -> None:
    left_alone(resize_of_opset_17, graph(body, CONSTANTS))


def test_unequal_parts_keep_their_opset() -> None:
    body = f"a, b = Split<axis = 1, num_outputs = 2>(x) m = Concat<axis = 1>(b, a) y = {RESIZE}"
    sizes = {"sizes": np.array([1, 5, 16, 12])}
    left_alone(resize_of_opset_17, graph(body, sizes, inputs={"x": (1, 5, 8, 8)}))


@pytest.mark.parametrize("opset", [17, 21])
def test_only_opsets_up_to_20_are_known(opset: int) -> None:
    left_alone(resize_of_opset_17, graph("y = Resize(x, , factors)", CONSTANTS, opset=opset))
