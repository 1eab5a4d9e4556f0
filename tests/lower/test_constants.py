from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support import needs

from edgeseg.lower.constants import fold_constants

pytestmark = needs("onnx", "onnx_ir", "onnxruntime")


def read(text: str) -> Any:
    """An `onnx_ir.Model` of a graph in ONNX's own notation, opset 20."""
    import onnx
    import onnx_ir

    proto = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 20]> {text}')
    onnx.checker.check_model(proto, full_check=True)
    return onnx_ir.from_proto(proto)


def run(model: Any, image: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    import onnx
    import onnx_ir
    import onnxruntime

    proto = onnx_ir.to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    results: list[NDArray[np.float32]] = session.run(None, {"image": image})
    return results


def kinds(model: Any) -> Counter[str]:
    return Counter(node.op_type for node in model.graph)


@pytest.fixture
def image() -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(3, 2, (1, 4, 6, 6)).astype(np.float32)


def test_constants_are_computed(image: NDArray[np.float32]) -> None:
    model = read("""
        net (float[1,4,6,6] image) => (float[1,4,6,6] y) <float gate = {2}>
        {
            one = Constant<value = float {1}>()
            three = Add(gate, one)
            nine = Mul(three, three)
            y = Mul(image, nine)
        }
    """)
    assert fold_constants(model) == 3
    assert kinds(model) == {"Mul": 1}
    assert np.array_equal(run(model, image)[0], image * 9)
    assert fold_constants(model) == 0


def test_each_result_that_is_read_is_computed(image: NDArray[np.float32]) -> None:
    model = read("""
        net (float[1,4,6,6] image) => (float[1,4,6,6] y)
        <float[2] pair = {2, 5}, int64[2] sizes = {1, 1}>
        {
            factor, unread = Split<axis = 0>(pair, sizes)
            offset = Neg(factor)
            scaled = Mul(image, factor)
            y = Add(scaled, offset)
        }
    """)
    assert fold_constants(model) == 2
    assert kinds(model) == {"Mul": 1, "Add": 1}
    assert np.array_equal(run(model, image)[0], image * 2 - 2)


def test_what_depends_on_the_image_is_not_folded(image: NDArray[np.float32]) -> None:
    model = read("""
        net (float[1,4,6,6] image) => (float[1,4,6,6] y) <float two = {2}>
        { y = Mul(image, two) }
    """)
    assert fold_constants(model) == 0
    assert np.array_equal(run(model, image)[0], image * 2)


def test_results_of_the_graph_keep_their_operator(image: NDArray[np.float32]) -> None:
    model = read("""
        net (float[1,4,6,6] image) => (float[1,4,6,6] y, float level) <float two = {2}>
        {
            four = Mul(two, two)
            level = Neg(four)
            y = Mul(image, four)
        }
    """)
    assert fold_constants(model) == 1
    assert kinds(model) == {"Neg": 1, "Mul": 1}
    scaled, level = run(model, image)
    assert np.array_equal(scaled, image * 4)
    assert level == -4


def test_random_operators_are_not_folded() -> None:
    model = read("""
        net (float[1,4,6,6] image) => (float[1,4,6,6] y) <float[1] one = {1}>
        {
            noise = RandomNormalLike(one)
            more = RandomNormal<shape = [1]>()
            sum = Add(noise, more)
            y = Mul(image, sum)
        }
    """)
    assert fold_constants(model) == 0


def test_branches_that_may_read_the_image_are_not_folded(image: NDArray[np.float32]) -> None:
    model = read("""
        net (float[1,4,6,6] image) => (float[1,4,6,6] y) <bool yes = {1}>
        {
            chosen = If (yes) <
                then_branch = one () => (float[1,4,6,6] a) { a = Neg(image) },
                else_branch = two () => (float[1,4,6,6] b) { b = Abs(image) }
            >
            y = Relu(chosen)
        }
    """)
    assert fold_constants(model) == 0
    assert np.array_equal(run(model, image)[0], np.maximum(-image, 0))
