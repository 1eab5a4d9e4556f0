"""Correction of biases for the shift that rounding causes in the mean of each channel."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeseg.formats.onnx import add_constant, input_of, name_of
from edgeseg.lazy import require

from ..plan.quant_plan import QuantPlan
from ..qdq_onnx import quantizable_convolutions
from .activations import run_graph

if TYPE_CHECKING:
    import onnx_ir as ir

PURPOSE = "Bias correction"


def correct_biases(
    onnx_path: Path, plan: QuantPlan, images: Iterable[NDArray[np.float32]]
) -> QuantPlan:
    """Choose biases with which rounding does not change the mean of any output channel.

    For the convolution W x + b with the quantized weights W' and the quantized input x', both
    within the float network: b' = E[W x + b] - E[W' x']. Expectations are over images and
    positions.

    Args:
        plan: A plan with weights for all convolutions that may be INT8.
        images: Prepared images, (1, C, H, W) each; their order does not change the result.

    Source: Nagel et al. 2019, arXiv:1906.04721, section 4.2, equation 16, measured on images
    instead of derived from batch normalisation, and with the rounding of the input.
    """
    model, wanted = _graph_of_means(onnx_path, plan)
    sums: dict[str, list[NDArray[np.float32]]] = {name: [] for name in wanted}
    for values in run_graph(model, onnx_path.name, wanted, images):
        for name, value in values.items():
            sums[name].append(value.ravel())
    biases = {}
    for name in plan.weights:
        exact, rounded = (_mean(sums[label]) for label in _labels(name))
        biases[name] = (exact - rounded).astype(np.float32)
    return replace(plan, biases=biases)


def _mean(values: list[NDArray[np.float32]]) -> NDArray[np.float64]:
    """Mean over images for each channel; exact sums do not depend on their order."""
    columns = np.stack(values).astype(np.float64).T
    return np.array([math.fsum(column) / len(column) for column in columns])


def _labels(name: str) -> tuple[str, str]:
    return f"{name}/exact_mean", f"{name}/rounded_mean"


def _graph_of_means(onnx_path: Path, plan: QuantPlan) -> tuple[Any, list[str]]:
    """The float graph with a quantized copy beside each convolution that the plan quantizes.

    Returns:
        An onnx model, and the names of the tensors with the channel means.
    """
    onnx_ir = require("onnx_ir", purpose=PURPOSE)
    model = onnx_ir.load(onnx_path)
    graph = model.graph
    rounded: dict[str, ir.Value] = {}
    wanted: list[str] = []
    for node in quantizable_convolutions(graph):
        name, source = name_of(node.outputs[0]), input_of(node)
        tensor = name_of(source)
        if tensor not in rounded:
            rounded[tensor] = _rounded_copy(onnx_ir, graph, source, plan)
        weight = add_constant(graph, f"{name}/snapped", plan.weights[name].weights())
        beside = onnx_ir.node("Conv", [rounded[tensor], weight], dict(node.attributes))
        graph.insert_after(node, [beside])
        other_axes = [0, *range(2, plan.weights[name].values.ndim)]
        axes = add_constant(graph, f"{name}/axes", np.array(other_axes, np.int64))
        for value, label in zip((node.outputs[0], beside.outputs[0]), _labels(name), strict=True):
            mean = onnx_ir.node("ReduceMean", [value, axes], {"keepdims": 0})
            mean.outputs[0].name = label
            graph.append(mean)
            wanted.append(label)
    return onnx_ir.to_proto(model), wanted


def _rounded_copy(onnx_ir: Any, graph: ir.Graph, source: ir.Value, plan: QuantPlan) -> Any:
    """The quantized copy of `source`, which only the quantized convolutions read."""
    name = name_of(source)
    if name not in plan.ranges:
        return source
    scale = np.asarray(plan.scale(name), np.float32)
    zero_point = np.asarray(plan.zero_point(name), np.int8)
    grid = [
        add_constant(graph, f"{name}/copy_scale", scale),
        add_constant(graph, f"{name}/copy_zero", zero_point),
    ]
    quantize = onnx_ir.node("QuantizeLinear", [source, *grid])
    dequantize = onnx_ir.node("DequantizeLinear", [quantize.outputs[0], *grid])
    producer = source.producer()
    if producer is None:
        graph.insert_before(graph[0], [quantize, dequantize])
    else:
        graph.insert_after(producer, [quantize, dequantize])
    return dequantize.outputs[0]
