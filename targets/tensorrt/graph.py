"""What TensorRT 10.3 to 11 take: the opset, and Q/DQ operators."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgeseg.errors import TargetError
from edgeseg.formats.onnx import constant_of, fixed_shape, input_of, is_constant

if TYPE_CHECKING:
    import onnx_ir as ir

NEWEST_OPSET = 20  # of TensorRT 10.3; the parser that is asked here reads newer ones too
ONNX_DOMAINS = ("", "ai.onnx")
# Operators whose weights may have a scale for each output channel, and the axis of those; None
# where it depends on how the weight is laid out.
CHANNEL_AXES = {"Conv": 0, "ConvTranspose": 1, "MatMul": None, "Gemm": None}
ROUNDING = ("QuantizeLinear", "DequantizeLinear")


def require_opset(model: ir.Model) -> None:
    """Refuse graphs that the oldest TensorRT does not read, although the parser here may.

    Raises:
        TargetError: Names the opset, or the operator of another domain.
    """
    opset = model.opset_imports.get("", 0)
    if opset > NEWEST_OPSET:
        raise TargetError(
            f"The graph has opset {opset}; TensorRT 10.3 reads opsets up to {NEWEST_OPSET}. "
            f"Export it with opset {NEWEST_OPSET}."
        )
    for node in model.graph:
        if node.domain not in ONNX_DOMAINS:
            raise TargetError(
                f"TensorRT does not know the operator {node.domain}.{node.op_type} "
                f"{label(node)!r}, which is not ONNX's own. Replace it in the model."
            )


def require_legal_qdq(graph: ir.Graph, precision: str) -> None:
    """Refuse Q/DQ operators that TensorRT refuses, or would compute as something else.

    It takes symmetric int8 alone: zero points of 0; one scale for an activation; one, or one for
    each output channel, for a weight; biases in float.

    Raises:
        TargetError: Names the node and what is wrong with it.
    """
    rounding = [node for node in graph if node.op_type in ROUNDING]
    if precision != "int8" and rounding:
        raise TargetError(
            f"The graph has {len(rounding)} QuantizeLinear and DequantizeLinear operators, but "
            f"the precision is {precision}. Build with --precision int8."
        )
    if precision == "int8" and not rounding:
        raise TargetError(
            "The graph has no QuantizeLinear operators, without which TensorRT computes nothing "
            "in INT8. Quantise it first, with --method min-max."
        )
    for node in rounding:
        reason = _codes_reason(node) or _scale_reason(node)
        if reason is not None:
            raise TargetError(
                f"TensorRT cannot use {node.op_type} {label(node)!r}: {reason}. Quantise with "
                "--method min-max, which makes symmetric int8."
            )


def label(node: ir.Node) -> str:
    """Name of a node, or of its first result where it has none."""
    return str(node.name or node.outputs[0].name)


def _codes_reason(node: ir.Node) -> str | None:
    """What is wrong with the integers of a Q/DQ operator."""
    zero = node.inputs[2] if len(node.inputs) > 2 else None
    if zero is None:
        kind = "UINT8" if node.op_type == "QuantizeLinear" else _type_of(input_of(node))
    else:
        kind = _type_of(zero)
    if kind == "INT32" and node.op_type == "DequantizeLinear":
        return "it gives a bias from int32, and TensorRT takes biases in float"
    if kind != "INT8":
        return f"its codes are {kind.lower()}, and TensorRT takes int8"
    if zero is None:
        return None
    if not is_constant(zero):
        return "its zero point is not constant"
    point = constant_of(zero).reshape(-1)
    if point.any():
        return f"its zero point is {point[np.flatnonzero(point)[0]]}, and TensorRT takes 0"
    return None


def _type_of(value: ir.Value) -> str:
    """ONNX's name of the type of a value's elements."""
    return "" if value.dtype is None else value.dtype.name


def _scale_reason(node: ir.Node) -> str | None:
    """What is wrong with the scale of a Q/DQ operator."""
    if not is_constant(node.inputs[1]):
        return "its scale is not constant"
    scale = constant_of(node.inputs[1]).astype(np.float64)
    if not (np.isfinite(scale).all() and (scale > 0).all()):
        return f"its scale is {scale.reshape(-1)[0]:g}, and scales are positive"
    if scale.size == 1:
        return None
    shape = fixed_shape(node.inputs[0])
    if shape is None or not is_constant(node.inputs[0]):
        return (
            f"it has {scale.size} scales for an activation, and TensorRT takes one for each tensor"
        )
    axis = node.attributes.get_int("axis", 1)
    for reader, _ in node.outputs[0].uses():
        if reader.op_type not in CHANNEL_AXES:
            return f"it has {scale.size} scales for an input of {reader.op_type} {label(reader)!r}"
        wanted = CHANNEL_AXES[reader.op_type]
        if wanted is not None and axis % len(shape) != wanted:
            return (
                f"its scales lie along axis {axis}, and those of a weight of {reader.op_type} lie "
                f"along {wanted}"
            )
    return None


def tensors_of(graph: ir.Graph) -> dict[str, dict[str, Any]]:
    """Name and shape of the graph's input and output.

    Raises:
        TargetError: There are several, or a size is not fixed.
    """
    sides = {"input": graph.inputs, "output": graph.outputs}
    described = {}
    for side, values in sides.items():
        if len(values) != 1:
            raise TargetError(
                f"The graph has {len(values)} {side}s, and an engine for images has one. Export "
                "the network again."
            )
        (value,) = values
        shape = fixed_shape(value)
        if shape is None:
            raise TargetError(
                f"The {side} {value.name!r} has the shape {value.shape}, and engines have fixed "
                "sizes. Export the network for one size."
            )
        described[side] = {"name": value.name, "shape": list(shape)}
    return described
