"""How many products the operators of a graph add up."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from ...lazy import require

if TYPE_CHECKING:
    import onnx_ir as ir
    from onnx import ModelProto


def products_of_graph(model: ModelProto) -> int:
    """Of all convolutions and matrix products, whose shapes are inferred."""
    onnx_ir = require("onnx_ir", purpose="Counting the work of a graph")
    onnx = require("onnx", purpose="Counting the work of a graph")
    graph = onnx_ir.from_proto(onnx.shape_inference.infer_shapes(model)).graph
    return sum(map(products_of, graph))


def products_of(node: ir.Node) -> int:
    """How many products a node adds up; 0 where it is no convolution and no matrix product."""
    if node.op_type == "Conv":
        return size_of(node.outputs[0]) * prod(_shape_of(node.inputs[1])[1:])
    if node.op_type == "ConvTranspose":
        return size_of(node.inputs[0]) * prod(_shape_of(node.inputs[1])[1:])
    if node.op_type == "MatMul":
        return size_of(node.outputs[0]) * (_shape_of(node.inputs[0]) or [1])[-1]
    if node.op_type == "Gemm":
        turned = node.attributes.get("transA")
        shape = _shape_of(node.inputs[0])
        inner = shape[0] if turned is not None and turned.as_int() else shape[-1]
        return size_of(node.outputs[0]) * inner
    return 0


def size_of(value: ir.Value | None) -> int:
    """Elements; 0 where the shape is not known."""
    shape = _shape_of(value)
    return prod(shape) if shape else int(value is not None and value.shape is not None)


def _shape_of(value: ir.Value | None) -> list[int]:
    if value is None or value.shape is None:
        return []
    sizes = list(value.shape.dims)
    return [size for size in sizes if isinstance(size, int)] if _is_known(sizes) else [0]


def _is_known(sizes: object) -> bool:
    return isinstance(sizes, list) and all(isinstance(size, int) for size in sizes)
