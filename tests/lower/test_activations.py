from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rewritten_graphs import draw, graph, left_alone, rewritten
from support import needs

from edgeseg.lower.activations import prelu_by_depthwise, softmax_by_sigmoid

pytestmark = needs("onnx", "onnx_ir", "onnxruntime")

TWO = {"x": (1, 2, 5, 6)}


@pytest.mark.parametrize("axis", [1, -3])
def test_two_classes_are_a_sigmoid(axis: int) -> None:
    model = graph(f"y = Softmax<axis = {axis}>(x)", inputs=TWO)
    rewritten(softmax_by_sigmoid, model, {"Conv": 1, "Neg": 1, "Sigmoid": 2, "Concat": 1})


@pytest.mark.parametrize(
    ("axis", "shape"),
    [
        (1, (1, 3, 5, 6)),
        (2, (1, 2, 2, 6)),
        (-1, (1, 2, 5, 2)),
        (1, (2, 2, 5, 6)),
        (1, (1, "classes", 5, 6)),
        (1, (1, 2, 6)),
    ],
)
def test_other_softmaxes_stay(axis: int, shape: tuple[int | str, ...]) -> None:
    left_alone(softmax_by_sigmoid, graph(f"y = Softmax<axis = {axis}>(x)", inputs={"x": shape}))


@pytest.mark.parametrize("kind", ["float16", "double"])
def test_numbers_of_another_type_stay(kind: str) -> None:
    left_alone(softmax_by_sigmoid, graph("y = Softmax<axis = 1>(x)", inputs=TWO, kind=kind))


BODY = "y = PRelu(x, a)"
SLOPES = np.array([0.25, -1, 0, 1], np.float32)


@given(slopes=st.lists(st.floats(-1, 1, width=32), min_size=4, max_size=4), axes=st.integers(3, 4))
@settings(max_examples=15, deadline=None)
def test_a_slope_a_channel_is_two_convolutions(slopes: list[float], axes: int) -> None:
    shape = (1, 4, 1, 1)[4 - axes :]
    model = graph(BODY, {"a": np.array(slopes, np.float32).reshape(shape)})
    rewritten(prelu_by_depthwise, model, {"Conv": 2, "Relu": 1, "Add": 1})


def test_the_weights_are_the_slopes_and_what_one_lacks() -> None:
    model = graph(BODY, {"a": SLOPES.reshape(4, 1, 1)})
    assert prelu_by_depthwise(model) == 1
    weights = [node.inputs[1].const_value.numpy() for node in model.graph if node.op_type == "Conv"]
    np.testing.assert_array_equal(weights[0].ravel(), [0.75, 2, 1, 0])
    np.testing.assert_array_equal(weights[1].ravel(), SLOPES)


@pytest.mark.parametrize("shape", [(1,), (), (1, 1, 1), (1, 1, 1, 1)])
def test_one_slope_is_a_leaky_relu(shape: tuple[int, ...]) -> None:
    model = graph(BODY, {"a": np.full(shape, 3, np.float32)})
    rewritten(prelu_by_depthwise, model, {"LeakyRelu": 1})


@pytest.mark.parametrize(
    "slopes",
    [draw(4, 8, 8) / 5, draw(1, 1, 8) / 5, np.full((4, 1, 1), 1.5, np.float32)],
    ids=["a pixel", "a column", "steep"],
)
def test_other_slopes_stay(slopes: np.ndarray) -> None:
    left_alone(prelu_by_depthwise, graph(BODY, {"a": slopes}))


def test_computed_slopes_stay() -> None:
    inputs = {"x": (1, 4, 8, 8), "a": (4, 1, 1)}
    left_alone(prelu_by_depthwise, graph(BODY, inputs=inputs))


@pytest.mark.parametrize("shape", [(2, 4, 8, 8), (1, "channels", 8, 8), (1, 4, 8)])
def test_what_is_no_map_of_known_size_stays(shape: tuple[int | str, ...]) -> None:
    slopes = SLOPES.reshape(4, 1) if len(shape) == 3 else SLOPES.reshape(4, 1, 1)
    left_alone(prelu_by_depthwise, graph(BODY, {"a": slopes}, inputs={"x": shape}))


@pytest.mark.parametrize("kind", ["float16", "double"])
def test_slopes_of_another_type_stay(kind: str) -> None:
    slopes = SLOPES.reshape(4, 1, 1).astype({"float16": "f2", "double": "f8"}[kind])
    left_alone(prelu_by_depthwise, graph(BODY, {"a": slopes}, kind=kind))
