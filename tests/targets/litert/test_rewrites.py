from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support import needs

from edgeseg.targets.litert.rewrites import (
    declare_opset_17,
    forget_shapes,
    give_constants_all_axes,
    pad_before_average_pools,
    prepare_for_onnx2tf,
    spread_group_norms,
    state_kernels_of_transposed_convolutions,
)

pytestmark = needs("onnx", "onnx_ir", "onnxruntime")


def read(text: str) -> Any:
    """An `onnx_ir.Model` of a graph in ONNX's own notation, opset 20, shapes inferred."""
    import onnx
    import onnx_ir

    proto = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 20]> {text}')
    onnx.checker.check_model(proto, full_check=True)
    return onnx_ir.from_proto(onnx.shape_inference.infer_shapes(proto))


def run(model: Any, image: NDArray[np.float32]) -> NDArray[np.float32]:
    import onnx_ir
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        onnx_ir.to_proto(model).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return np.asarray(session.run(None, {"image": image})[0])


def kinds(model: Any) -> Counter[str]:
    return Counter(node.op_type for node in model.graph)


@pytest.fixture
def image() -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(3, 2, (1, 4, 6, 6)).astype(np.float32)


GROUP_NORM = """
net (float[1,4,6,6] image) => (float[1,4,6,6] y)
<float[2] scale = {SCALE}, float[2] zero = {0, 0}, int64[3] inner = {0, 2, -1},
 int64[4] outer = {1, 4, 6, 6}>
{
    grouped = Reshape(image, inner)
    normed = InstanceNormalization<epsilon = 0.5>(grouped, scale, zero)
    y = Reshape(normed, outer)
}
"""


def test_group_norm_is_spread_over_four_axes(image: NDArray[np.float32]) -> None:
    model = read(GROUP_NORM.replace("SCALE", "1, 1"))
    assert spread_group_norms(model.graph) == 1
    assert not {"Reshape", "InstanceNormalization"} & set(kinds(model))
    groups = image.reshape(2, -1).astype(np.float64)
    variance = groups.var(axis=1, keepdims=True)
    expected = (groups - groups.mean(axis=1, keepdims=True)) / np.sqrt(variance + 0.5)
    np.testing.assert_allclose(run(model, image), expected.reshape(image.shape), atol=1e-6)


def test_other_instance_norms_are_left_alone(image: NDArray[np.float32]) -> None:
    model = read(GROUP_NORM.replace("SCALE", "1, 2"))
    before = run(model, image)
    assert spread_group_norms(model.graph) == 0
    assert np.array_equal(run(model, image), before)
    plain = read("""
        net (float[1,4,6,6] image) => (float[1,4,6,6] y)
        <float[4] scale = {1, 1, 1, 1}, float[4] zero = {0, 0, 0, 0}>
        { y = InstanceNormalization(image, scale, zero) }
    """)
    assert spread_group_norms(plain.graph) == 0


def average(attributes: str) -> Any:
    return read(f"""
        net (float[1,4,6,6] image) => (float[1,4,H,W] y)
        {{ y = AveragePool<kernel_shape = [3, 3], {attributes}>(image) }}
    """)


def test_average_counts_padding_by_an_operator_of_its_own() -> None:
    model = average("pads = [1, 1, 1, 1], count_include_pad = 1")
    assert pad_before_average_pools(model.graph) == 1
    assert kinds(model) == {"Pad": 1, "AveragePool": 1}
    result = run(model, np.ones((1, 4, 6, 6), np.float32))
    assert result.shape == (1, 4, 6, 6)
    # Four of nine under the kernel are the image's in a corner, six at a border.
    np.testing.assert_allclose(result[0, 0, :2, :2], [[4 / 9, 6 / 9], [6 / 9, 1]], rtol=1e-6)


@pytest.mark.parametrize(
    "attributes",
    [
        "pads = [1, 1, 1, 1]",
        "count_include_pad = 1",
        "pads = [1, 1, 1, 1], count_include_pad = 1, ceil_mode = 1, strides = [2, 2]",
    ],
)
def test_averages_that_onnx2tf_gets_right_are_left_alone(attributes: str) -> None:
    assert pad_before_average_pools(average(attributes).graph) == 0


def test_constants_get_all_axes(image: NDArray[np.float32]) -> None:
    model = read("""
        net (float[1,4,6,6] image) => (float[1,4,6,6] y)
        <float[4,1,1] gain = {1, 2, 3, 4}, float[6] across = {0, 1, 2, 3, 4, 5}, float two = {2}>
        {
            scaled = Mul(gain, image)
            tilted = Add(scaled, across)
            y = Div(tilted, two)
        }
    """)
    assert give_constants_all_axes(model.graph) == 2
    shapes = [
        list(value.const_value.shape)
        for node in model.graph
        for value in node.inputs
        if value.const_value is not None
    ]
    # A scalar has no layout.
    assert shapes == [[1, 4, 1, 1], [1, 1, 1, 6], []]
    gain = np.arange(1, 5).reshape(4, 1, 1)
    np.testing.assert_allclose(run(model, image), (image * gain + np.arange(6)) / 2, rtol=1e-6)


UP = """
net (float[1,4,6,6] image) => (float[1,1,24,24] y)
<float[4,4,2,2] first, float[4,1,2,2] second>
{
    wide = ConvTranspose<strides = [2, 2]>(image, first)
    sum = Add(wide, wide)
    y = ConvTranspose<strides = [2, 2], kernel_shape = [2, 2]>(sum, second)
}
"""


def test_transposed_convolutions_state_their_kernel() -> None:
    model = read(UP.replace("float[4,4,2,2] first, float[4,1,2,2] second", WEIGHTS))
    state_kernels_of_transposed_convolutions(model.graph)
    attributes = [
        tuple(node.attributes.get_ints("kernel_shape"))
        for node in model.graph
        if node.op_type == "ConvTranspose"
    ]
    assert attributes == [(2, 2), (2, 2)]


def numbers(count: int) -> str:
    return ", ".join(["1"] * count)


WEIGHTS = f"float[4,4,2,2] first = {{{numbers(64)}}}, float[4,1,2,2] second = {{{numbers(16)}}}"


def test_shapes_are_forgotten_but_for_those_that_onnx2tf_needs() -> None:
    model = read(UP.replace("float[4,4,2,2] first, float[4,1,2,2] second", WEIGHTS))
    forget_shapes(model.graph)
    shapes = {node.outputs[0].name: node.outputs[0].shape for node in model.graph}
    assert shapes["sum"] is None
    assert list(shapes["wide"]) == [1, 4, 12, 12]
    assert list(shapes["y"]) == [1, 1, 24, 24]


@pytest.mark.parametrize(("given", "said"), [(20, 17), (16, 16)])
def test_opset_is_said_to_be_17_at_most(given: int, said: int) -> None:
    model = read("net (float[1,4,6,6] image) => (float[1,4,6,6] y) { y = Relu(image) }")
    model.opset_imports[""] = given
    declare_opset_17(model)
    assert model.opset_imports[""] == said


@pytest.mark.parametrize("keep", [True, False])
def test_all_rewrites_together_change_no_value(image: NDArray[np.float32], keep: bool) -> None:
    model = read(GROUP_NORM.replace("SCALE", "1, 1"))
    before = run(model, image)
    prepare_for_onnx2tf(model, with_shapes=keep, own_opset=keep)
    inner = model.graph[0].outputs[0]
    assert (inner.shape is not None) is keep
    assert model.opset_imports[""] == (20 if keep else 17)
    assert "inner" not in model.graph.initializers
    model.opset_imports[""] = 20
    np.testing.assert_allclose(run(model, image), before, atol=1e-6)


def test_no_convolution_is_left_with_both_stride_and_dilation() -> None:
    image = np.random.default_rng(0).normal(0, 1, (1, 4, 6, 6)).astype(np.float32)
    body = "<group = 4, strides = [2,2], dilations = [2,2], pads = [2,2,2,2]>(p, deep)"
    weights = f"float[4,4,1,1] w = {{{numbers(16)}}}, float[4,1,3,3] deep = {{{numbers(36)}}}"
    model = read(
        "net (float[1,4,6,6] image) => (float[1,4,3,3] y) "
        f"<{weights}> {{ p = Conv(image, w) y = Conv{body} }}"
    )
    before = run(model, image)
    prepare_for_onnx2tf(model, with_shapes=True, own_opset=True)
    for node in model.graph:
        assert node.attributes.get_ints("strides", (1, 1)) == (1, 1) or (
            node.attributes.get_ints("dilations", (1, 1)) == (1, 1)
        )
    np.testing.assert_allclose(run(model, image), before, rtol=1e-5, atol=1e-5)
