from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import needs
from tiny_graphs import INPUT, RESULT, save_conv_relu_conv

from edgeseg.errors import TargetError
from edgeseg.targets.onnx_file import read_typed_graph
from edgeseg.targets.tensorrt.graph import require_legal_qdq, require_opset, tensors_of

pytestmark = needs("onnx", "onnx_ir")

LEGAL: dict[str, Any] = {
    "scale": np.float32(0.1),
    "zero": np.int8(0),
    "codes": np.ones((2, 1, 1, 1), np.int8),
    "scales": np.array([0.1, 0.2], np.float32),
    "zeros": np.zeros(2, np.int8),
}


def quantized_graph(*, axis: int = 0, opset: int = 20, reader: str = "Conv", **changes: Any) -> Any:
    """An `onnx_ir.Graph`: x is rounded, and a weight with a scale for each channel is read."""
    import onnx
    import onnx_ir
    from onnx import TensorProto, helper, numpy_helper

    constants = {**LEGAL, **changes}
    zero = ["zero"] if constants["zero"] is not None else []
    nodes = [
        helper.make_node("QuantizeLinear", [INPUT, "scale", *zero], ["c"], name="round"),
        helper.make_node("DequantizeLinear", ["c", "scale", *zero], ["d"], name="unround"),
        helper.make_node(
            "DequantizeLinear", ["codes", "scales", "zeros"], ["w"], name="weight", axis=axis
        ),
        helper.make_node(reader, ["d", "w"], [RESULT], name="reader"),
    ]
    kind = TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(INPUT, kind, [1, 1, 2, 2])],
        [helper.make_tensor_value_info(RESULT, kind, None)],
        [
            numpy_helper.from_array(np.asarray(value), name)
            for name, value in constants.items()
            if value is not None
        ],
    )
    opsets = [helper.make_opsetid("", opset)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    return onnx_ir.from_proto(onnx.shape_inference.infer_shapes(model)).graph


def test_symmetric_int8_is_legal() -> None:
    require_legal_qdq(quantized_graph(), "int8")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"zero": np.int8(3)},
            r"QuantizeLinear 'round': its zero point is 3, and TensorRT takes 0.*--method min-max",
        ),
        ({"zero": np.uint8(0)}, r"'round': its codes are uint8, and TensorRT takes int8"),
        # Without a zero point, ONNX means uint8.
        ({"zero": None}, r"'round': its codes are uint8"),
        ({"scale": np.float32(0)}, r"'round': its scale is 0, and scales are positive"),
        ({"scale": np.float32(np.nan)}, r"'round': its scale is nan"),
        (
            {"scale": np.array([0.1, 0.2], np.float32), "zero": np.zeros(2, np.int8)},
            r"'round': it has 2 scales for an activation, and TensorRT takes one",
        ),
        (
            {"zeros": np.array([0, 5], np.int8)},
            r"DequantizeLinear 'weight': its zero point is 5",
        ),
        (
            {"codes": np.ones((2, 1, 1, 1), np.int32), "zeros": np.zeros(2, np.int32)},
            r"'weight': it gives a bias from int32, and TensorRT takes biases in float",
        ),
        (
            {"axis": 1, "codes": np.ones((2, 2, 1, 1), np.int8)},
            r"'weight': its scales lie along axis 1, and those of a weight of Conv lie along 0",
        ),
        ({"reader": "Add"}, r"'weight': it has 2 scales for an input of Add 'reader'"),
    ],
)
def test_what_tensorrt_refuses_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(TargetError, match=message):
        require_legal_qdq(quantized_graph(**changes), "int8")


def test_axis_of_a_transposed_convolution_is_the_second() -> None:
    codes = np.ones((1, 2, 1, 1), np.int8)
    require_legal_qdq(quantized_graph(reader="ConvTranspose", axis=1, codes=codes), "int8")
    require_legal_qdq(quantized_graph(reader="ConvTranspose", axis=-3, codes=codes), "int8")


def test_one_scale_for_a_weight_is_legal() -> None:
    changes = {"scales": np.float32(0.1), "zeros": np.int8(0)}
    require_legal_qdq(quantized_graph(reader="Add", **changes), "int8")


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_rounding_in_a_float_network_is_refused(precision: str) -> None:
    with pytest.raises(TargetError, match=rf"3 QuantizeLinear .* is {precision}\. Build with"):
        require_legal_qdq(quantized_graph(), precision)


def test_int8_without_rounding_is_refused(tmp_path: Path) -> None:
    path = save_conv_relu_conv(tmp_path / "tiny.onnx", [[1]], [[1]])
    graph = read_typed_graph(path).graph
    require_legal_qdq(graph, "fp32")
    with pytest.raises(TargetError, match=r"no QuantizeLinear operators.*--method min-max"):
        require_legal_qdq(graph, "int8")


def model_of(**opsets: int) -> Any:
    import onnx_ir
    from onnx import TensorProto, helper

    node = helper.make_node("Relu", [INPUT], [RESULT], name="own", domain=next(iter(opsets)))
    kind = TensorProto.FLOAT
    graph = helper.make_graph(
        [node],
        "tiny",
        [helper.make_tensor_value_info(INPUT, kind, [1])],
        [helper.make_tensor_value_info(RESULT, kind, [1])],
    )
    imports = [helper.make_opsetid(domain, number) for domain, number in opsets.items()]
    return onnx_ir.from_proto(helper.make_model(graph, opset_imports=imports))


def test_opset_that_the_oldest_tensorrt_reads() -> None:
    require_opset(model_of(**{"": 20}))
    with pytest.raises(TargetError, match=r"opset 21; TensorRT 10\.3 reads opsets up to 20\. Exp"):
        require_opset(model_of(**{"": 21}))


def test_operator_of_another_domain_is_named() -> None:
    with pytest.raises(TargetError, match=r"com\.acme\.Relu 'own', which is not ONNX's own\. Repl"):
        require_opset(model_of(**{"com.acme": 1, "": 20}))


def test_tensors_of_a_graph_of_fixed_size() -> None:
    graph = quantized_graph()
    assert tensors_of(graph) == {
        "input": {"name": INPUT, "shape": [1, 1, 2, 2]},
        "output": {"name": RESULT, "shape": [1, 2, 2, 2]},
    }


def test_graph_of_any_size_is_refused(tmp_path: Path) -> None:
    path = save_conv_relu_conv(tmp_path / "tiny.onnx", [[1]], [[1]])
    with pytest.raises(TargetError, match=r"input 'x' has the shape .*height.* Export the network"):
        tensors_of(read_typed_graph(path).graph)


def test_second_output_is_refused() -> None:
    graph = quantized_graph()
    graph.outputs.append(graph.outputs[0].producer().inputs[0])
    with pytest.raises(TargetError, match="has 2 outputs, and an engine for images has one"):
        tensors_of(graph)
