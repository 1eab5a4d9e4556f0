"""FP16 for strongly typed runtimes: which operators of an ONNX graph compute in half precision."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgeseg.formats.float16 import is_too_large, vanishes
from edgeseg.formats.onnx import add_constant, constant_of, input_of, is_constant, name_of
from edgeseg.lazy import require

if TYPE_CHECKING:
    import onnx_ir as ir

LARGEST_WINDOW = 32  # of average pooling in FP16, in cells

# Their results are about as large as their inputs, or they only move values.
HALF_OPERATORS = frozenset(
    {
        *("Conv", "ConvTranspose", "Gemm", "MatMul", "AveragePool", "MaxPool", "GlobalMaxPool"),
        *("Relu", "LeakyRelu", "PRelu", "Gelu", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh"),
        *("Clip", "Abs", "Neg", "Max", "Min", "Add", "Sub", "Mul", "Div", "Resize", "Identity"),
        *("Concat", "Split", "Slice", "Pad", "Reshape", "Flatten", "Transpose", "Squeeze"),
        *("Unsqueeze", "Expand", "Tile", "Gather", "DepthToSpace", "SpaceToDepth"),
    }
)
# Taken for a part of the norm or the sum whose result they read.
FOLLOWING_OPERATORS = frozenset({"Add", "Sub", "Mul", "Div", "AveragePool"})
# Only so many first inputs are of the operator's own type.
TYPED_INPUTS = {"Resize": 1}


def halve_graph(graph: ir.Graph) -> int:
    """Let all operators that are safe in FP16 compute in it, by explicit casts, in place.

    Sums over many values (reductions, pooling over large windows), squares and what sums them,
    the arithmetic of norms and exponentials stay in float32: they are what leaves the range of
    FP16, whose largest number is 65504, or loses its 11 bits. So do the graph's inputs and
    outputs, the operators that give the outputs, and those with a constant that FP16 cannot hold,
    or a single one that would become 0.
    Batch norms become one multiplication and one addition first, whose constants are computed in
    float64.

    Args:
        graph: A sorted graph of float32 whose values all have types.

    Returns:
        How many operators compute in FP16.
    """
    onnx_ir = require("onnx_ir", purpose="Casting a graph to FP16")
    affine_from_batch_norms(graph)
    nodes = list(graph)
    outputs = set(graph.outputs)
    is_float: dict[ir.Node | None, bool] = {}
    for node in nodes:
        sources = [value.producer() for value in node.inputs if value is not None]
        follows = node.op_type in FOLLOWING_OPERATORS and any(
            is_float.get(source, False) for source in sources
        )
        is_variance = any(_is_square(source) for source in sources)
        is_float[node] = follows or is_variance or not _can_be_half(onnx_ir, node, outputs)
    casts: dict[tuple[ir.Value, Any], ir.Value] = {}
    float_types = (onnx_ir.DataType.FLOAT, onnx_ir.DataType.FLOAT16)
    for node in nodes:
        kind = onnx_ir.DataType.FLOAT if is_float[node] else onnx_ir.DataType.FLOAT16
        for index in _typed_inputs(node):
            value = input_of(node, index)
            if value.dtype in float_types and value.dtype != kind:
                node.replace_input_with(index, _cast(onnx_ir, graph, value, kind, casts))
        for result in node.outputs:
            if result.dtype == onnx_ir.DataType.FLOAT:
                result.dtype = kind
    for value in [value for value in graph.initializers.values() if not value.uses()]:
        del graph.initializers[name_of(value)]
    return sum(not stays for stays in is_float.values())


def affine_from_batch_norms(graph: ir.Graph) -> int:
    """Write batch norms with constant parameters as x * scale + shift, in place.

    Their variances may be too small for FP16; the scales made from them are not.

    Returns:
        How many were replaced.
    """
    onnx_ir = require("onnx_ir", purpose="Casting a graph to FP16")
    count = 0
    for node in list(graph):
        if node.op_type != "BatchNormalization" or not all(map(is_constant, node.inputs[1:])):
            continue
        gamma, beta, mean, variance = (
            constant_of(value).astype(np.float64) for value in node.inputs[1:]
        )
        epsilon = node.attributes.get_float("epsilon", 1e-5)
        scale = gamma / np.sqrt(variance + epsilon)
        image, result = input_of(node), node.outputs[0]
        assert image.shape is not None
        shape = (-1, *[1] * (len(image.shape) - 2))
        factors = [
            add_constant(graph, f"{result.name}_{label}", content.reshape(shape).astype(np.float32))
            for label, content in (("scale", scale), ("shift", beta - mean * scale))
        ]
        multiply = onnx_ir.node("Mul", [image, factors[0]], name=f"{result.name}/multiply")
        scaled = multiply.outputs[0]
        scaled.name, scaled.shape, scaled.type = f"{result.name}_scaled", result.shape, result.type
        add = onnx_ir.node("Add", [scaled, factors[1]], name=f"{result.name}/add")
        _replace(onnx_ir, graph, node, [multiply, add])
        count += 1
    return count


def _replace(onnx_ir: Any, graph: ir.Graph, old: ir.Node, new: list[ir.Node]) -> None:
    """Put `new` nodes in the place of `old`; the last one's result takes over the old one's."""
    before, after = old.outputs[0], new[-1].outputs[0]
    after.shape, after.type = before.shape, before.type
    onnx_ir.convenience.replace_nodes_and_values(graph, old, [old], new, [before], [after])
    after.name = before.name


def _typed_inputs(node: ir.Node) -> list[int]:
    last = TYPED_INPUTS.get(node.op_type, len(node.inputs))
    return [index for index, value in enumerate(node.inputs[:last]) if value is not None]


def _is_square(node: ir.Node | None) -> bool:
    return node is not None and node.op_type == "Mul" and node.inputs[0] is node.inputs[1]


def _can_be_half(onnx_ir: Any, node: ir.Node, outputs: set[Any]) -> bool:
    if node.op_type not in HALF_OPERATORS or any(result in outputs for result in node.outputs):
        return False
    if _is_square(node):
        return False
    values = [input_of(node, index) for index in _typed_inputs(node)]
    floats = [value for value in values if value.dtype == onnx_ir.DataType.FLOAT]
    constants = [constant_of(value) for value in floats if is_constant(value)]
    if not floats or any(map(is_too_large, constants)):
        return False
    if any(value.size == 1 and vanishes(value) for value in constants):
        return False  # such as the least divisor, which must not become 0
    if node.op_type == "AveragePool":
        return int(np.prod(node.attributes["kernel_shape"].as_ints())) <= LARGEST_WINDOW
    return True


def _cast(
    onnx_ir: Any,
    graph: ir.Graph,
    value: ir.Value,
    kind: Any,
    casts: dict[tuple[ir.Value, Any], ir.Value],
) -> ir.Value:
    """`value` as another type: a converted constant, or the result of one Cast for all readers."""
    if (value, kind) in casts:
        return casts[value, kind]
    name = f"{value.name}_{'half' if kind == onnx_ir.DataType.FLOAT16 else 'float'}"
    if is_constant(value) and value.producer() is None:
        result = add_constant(graph, name, constant_of(value).astype(np.float16))
    else:
        node = onnx_ir.node("Cast", [value], attributes={"to": int(kind)}, name=f"{name}/cast")
        result = node.outputs[0]
        result.name = name
        producer = value.producer()
        if producer is None:
            graph.insert_before(graph[0], node)
        else:
            graph.insert_after(producer, node)
    result.shape, result.type = value.shape, onnx_ir.TensorType(kind)
    casts[value, kind] = result
    return result
