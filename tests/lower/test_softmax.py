from __future__ import annotations

import pytest
from rewritten_graphs import graph, left_alone, rewritten
from support import needs

from edgeseg.lower.softmax import softmax_by_sigmoid

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
