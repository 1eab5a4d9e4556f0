from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support import needs

from edgeseg.formats.onnx import add_constant, constant_of, fixed_shape, is_constant

pytestmark = needs("onnx", "onnx_ir")


@pytest.fixture
def model() -> Any:
    """y = Mul(x, gain) with gain = 2."""
    import onnx
    import onnx_ir

    text = """
        <ir_version: 10, opset_import: ["" : 20]>
        net (float[3] x) => (float[3] y) <float gain = {2}> { y = Mul(x, gain) }
    """
    return onnx_ir.from_proto(onnx.parser.parse_model(text))


@pytest.mark.parametrize(
    "content",
    [
        np.array([[1.5, -2]], np.float32),
        np.array([1.5], np.float16),
        np.array([1, -127], np.int8),
        np.array(3, np.int64),
    ],
)
def test_what_is_added_is_what_is_read(model: Any, content: NDArray[Any]) -> None:
    value = add_constant(model.graph, "added", content)
    assert is_constant(value)
    assert constant_of(value).dtype == content.dtype
    assert np.array_equal(constant_of(value), content)
    assert list(value.shape) == list(content.shape)
    assert value.dtype.numpy() == content.dtype


def test_an_added_constant_is_saved_with_the_graph(model: Any) -> None:
    import onnx
    import onnx_ir

    offset = add_constant(model.graph, "offset", np.array([1, 2, 3], np.float32))
    model.graph[0].replace_input_with(1, offset)
    proto = onnx_ir.to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    stored = {tensor.name: tensor for tensor in proto.graph.initializer}
    assert onnx.numpy_helper.to_array(stored["offset"]).tolist() == [1, 2, 3]


def test_a_constant_of_the_same_name_takes_the_place(model: Any) -> None:
    first = add_constant(model.graph, "added", np.zeros(1, np.float32))
    second = add_constant(model.graph, "added", np.ones(1, np.float32))
    assert model.graph.initializers["added"] is second
    assert not first.is_initializer()


def test_inputs_and_results_are_no_constants(model: Any) -> None:
    (node,) = model.graph
    image, gain = node.inputs
    assert [is_constant(value) for value in (image, gain, node.outputs[0], None)] == [
        False,
        True,
        False,
        False,
    ]
    assert constant_of(gain) == 2
    for value in (image, node.outputs[0], None):
        with pytest.raises(ValueError, match="is no constant"):
            constant_of(value)


@pytest.mark.parametrize(
    ("sizes", "fixed"), [([1, 3, 8], (1, 3, 8)), ([], ()), ([1, "height"], None), (None, None)]
)
def test_a_shape_is_fixed_when_all_sizes_are_known(sizes: Any, fixed: Any) -> None:
    import onnx_ir

    shape = None if sizes is None else onnx_ir.Shape(sizes)
    assert fixed_shape(onnx_ir.Value(name="x", shape=shape)) == fixed
