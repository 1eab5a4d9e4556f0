"""Writes a plan into an ONNX graph as QuantizeLinear and DequantizeLinear operators.

The form is the one that TensorRT takes: symmetric int8, zero points of 0, one scale for each
output channel of a weight, biases in float.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseg.lazy import require
from edgeseg.onnx_graph import add_constant, constant_of, is_constant

from .plan import INT8_STEPS, QuantPlan

# Monotone and done by runtimes as part of the convolution: its result is what is rounded.
FUSED_ACTIVATIONS = frozenset({"Relu", "Clip"})
SMALLEST_SCALE = 1e-12  # of a weight channel that is all zeros


def quantizable_convolutions(graph: Any) -> list[Any]:
    """Convolutions with constant weights, the graph's last ones left out.

    The last ones give the logits, whose rounding would decide pixels near the threshold.

    Args:
        graph: An `onnx_ir.Graph`.
    """
    found = [node for node in graph if node.op_type == "Conv" and is_constant(node.inputs[1])]
    return [node for node in found if _reaches_convolution(node)]


def activations_to_quantize(graph: Any, skipped: tuple[str, ...] = ()) -> list[str]:
    """Names of the tensors that need a range: inputs and results of quantised convolutions."""
    names: dict[str, None] = {}
    for node in quantizable_convolutions(graph):
        if node.name not in skipped:
            names[node.inputs[0].name] = None
            names[_rounded_result(node).name] = None
    return list(names)


def emit_qdq(onnx_path: Path, plan: QuantPlan, path: Path) -> int:
    """Write the graph of `onnx_path` with the plan's Q/DQ operators to `path`.

    Each tensor is quantised once, however many convolutions read it. Whoever else reads it gets
    the rounded values too, as runtimes then do not need to keep both.

    Returns:
        How many convolutions are INT8.
    """
    ir = require("onnx_ir", purpose="Quantising")
    model = ir.load(onnx_path)
    graph = model.graph
    rounded: dict[str, Any] = {}
    count = 0
    for node in quantizable_convolutions(graph):
        if node.name in plan.float_nodes:
            continue
        for value in (node.inputs[0], _rounded_result(node)):
            if value.name in plan.limits and value.name not in rounded:
                rounded[value.name] = _round_activation(ir, graph, value, plan.scale(value.name))
        _round_weight(ir, graph, node)
        count += 1
    ir.save(model, path)
    return count


def weight_scales(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """One scale for each output channel (axis 0) of a convolution's weight (O, I/g, kh, kw)."""
    limits = np.abs(weight).reshape(weight.shape[0], -1).max(axis=1)
    scales: NDArray[np.float32] = np.maximum(limits / INT8_STEPS, SMALLEST_SCALE).astype(np.float32)
    return scales


def _round_activation(ir: Any, graph: Any, value: Any, scale: float) -> Any:
    readers = list(value.uses())
    scale_value = add_constant(graph, f"{value.name}_scale", np.asarray(scale, np.float32))
    zero = add_constant(graph, f"{value.name}_zero_point", np.asarray(0, np.int8))
    quantize = ir.node("QuantizeLinear", [value, scale_value, zero], name=f"{value.name}/quantize")
    dequantize = ir.node(
        "DequantizeLinear",
        [quantize.outputs[0], scale_value, zero],
        name=f"{value.name}/dequantize",
    )
    result = dequantize.outputs[0]
    quantize.outputs[0].name = f"{value.name}_quantized"
    result.name = f"{value.name}_dequantized"
    result.shape, result.type = value.shape, value.type
    producer = value.producer()
    if producer is None:
        graph.insert_before(graph[0], [quantize, dequantize])
    else:
        graph.insert_after(producer, [quantize, dequantize])
    for reader, index in readers:
        reader.replace_input_with(index, result)
    return result


def _round_weight(ir: Any, graph: Any, node: Any) -> None:
    weight = node.inputs[1]
    values = constant_of(weight).astype(np.float32)
    scales = weight_scales(values)
    codes = np.rint(values / scales.reshape(-1, *[1] * (values.ndim - 1)))
    codes = np.clip(codes, -INT8_STEPS, INT8_STEPS).astype(np.int8)
    label = f"{node.outputs[0].name}_weight"  # results have unique names, nodes may have none
    inputs = [
        add_constant(graph, f"{label}_{name}", content)
        for name, content in (
            ("codes", codes),
            ("scale", scales),
            ("zero_point", np.zeros(len(scales), np.int8)),
        )
    ]
    dequantize = ir.node(
        "DequantizeLinear", inputs, attributes={"axis": 0}, name=f"{label}/dequantize"
    )
    dequantize.outputs[0].name = f"{label}_dequantized"
    graph.insert_before(node, dequantize)
    node.replace_input_with(1, dequantize.outputs[0])
    if not weight.uses():
        del graph.initializers[weight.name]


def _rounded_result(node: Any) -> Any:
    """Result of a convolution, or of the activation that runtimes compute along with it."""
    result = node.outputs[0]
    readers = list(result.uses())
    if len(readers) == 1 and readers[0].node.op_type in FUSED_ACTIVATIONS:
        return readers[0].node.outputs[0]
    return result


def _reaches_convolution(node: Any) -> bool:
    """Whether another convolution comes after this one."""
    waiting, seen = list(node.outputs), set()
    while waiting:
        for reader, _ in waiting.pop().uses():
            if reader.op_type == "Conv":
                return True
            if reader not in seen:
                seen.add(reader)
                waiting.extend(reader.outputs)
    return False
