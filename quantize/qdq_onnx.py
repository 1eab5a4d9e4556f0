"""Writes a plan into an ONNX graph as QuantizeLinear and DequantizeLinear operators.

The operators have the form that TensorRT takes: int8, one scale for each output channel of a
weight, and biases in float. TensorRT also needs a symmetric plan, whose zero points are 0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeseg.errors import CalibrationError
from edgeseg.formats.onnx import add_constant, constant_of, input_of, is_constant, name_of
from edgeseg.lazy import require
from edgeseg.records import ONNX_FORMAT, Artifact

from .base import Emitter
from .calibration_images import CalibrationImages
from .plan.quant_plan import QuantPlan, WeightGrid
from .plan.weight_grids import covering_grid, grid_that_holds

if TYPE_CHECKING:
    import onnx_ir as ir

# Runtimes compute these within the convolution: their output is quantized, not that of the
# convolution.
FUSED_ACTIVATIONS = frozenset({"Relu", "Clip"})
QUANTIZED_NAME = "quantized.onnx"


class QdqEmitter(Emitter):
    """Writes ONNX graphs for every runtime that reads Q/DQ operators."""

    artifact_format = ONNX_FORMAT
    packages = ("onnx", "onnx_ir")

    def emit(
        self,
        plan: QuantPlan,
        onnx_path: Path,
        artifact: Artifact,
        images: CalibrationImages,
        folder: Path,
    ) -> tuple[Artifact, dict[str, int]]:
        folder.mkdir(parents=True, exist_ok=True)
        quantized = emit_qdq(onnx_path, plan, folder / QUANTIZED_NAME)
        graph = require("onnx_ir", purpose="Quantising").load(folder / QUANTIZED_NAME).graph
        kinds = Counter(node.op_type for node in graph)
        made = Artifact("", "int8", ONNX_FORMAT, folder, (QUANTIZED_NAME,))
        return made, {
            "convolutions": kinds["Conv"],
            "int8_convolutions": quantized,
            "quantized_activations": kinds["QuantizeLinear"],
        }


def quantizable_convolutions(graph: ir.Graph) -> list[ir.Node]:
    """Convolutions of activations with constant weights, except the last convolutions.

    The last convolutions compute the logits, whose rounding would flip pixels near the threshold.
    Runtimes compute convolutions of constants, such as gates, once when they load the graph.

    """
    varying = set(graph.inputs)
    found = []
    for node in graph:
        if varying.intersection(node.inputs):
            varying.update(node.outputs)
            is_plain = node.op_type == "Conv" and is_constant(node.inputs[1])
            if is_plain and node.inputs[0] in varying:
                found.append(node)
    return [node for node in found if _reaches_convolution(node)]


def activations_to_quantize(
    graph: ir.Graph,
    skipped: Collection[str] = (),
    *,
    quantize_outputs: bool = True,
    quantize_depthwise_outputs: bool = False,
) -> list[str]:
    """Names of the tensors that need a range: inputs and outputs of quantized convolutions.

    Args:
        skipped: Outputs of convolutions that stay in float.
        quantize_outputs: False leaves out outputs that no quantized convolution reads.
        quantize_depthwise_outputs: Include the outputs of depthwise convolutions even so.
    """
    names: dict[str, None] = {}
    for node in quantizable_convolutions(graph):
        if name_of(node.outputs[0]) not in skipped:
            names[name_of(node.inputs[0])] = None
            if quantize_outputs or (quantize_depthwise_outputs and is_depthwise(node)):
                names[name_of(quantized_output(node))] = None
    return list(names)


def emit_qdq(onnx_path: Path, plan: QuantPlan, path: Path) -> int:
    """Write the graph of `onnx_path` with the plan's Q/DQ operators to `path`.

    Each tensor is quantized once, however many convolutions read it. Its other readers get the
    rounded values too, so that runtimes need not keep both. Ranges that no INT8 convolution needs
    are ignored.

    Returns:
        How many convolutions are INT8.

    Raises:
        CalibrationError: The plan names something that the graph does not have.
    """
    onnx_ir = require("onnx_ir", purpose="Quantising")
    model = onnx_ir.load(onnx_path)
    graph = model.graph
    convolutions = quantizable_convolutions(graph)
    _require_names(onnx_path, graph, convolutions, plan)
    rounded: dict[str, ir.Value] = {}
    sources = {name_of(node.outputs[0]): name_of(node.inputs[0]) for node in convolutions}
    count = 0
    for node in convolutions:
        name = name_of(node.outputs[0])
        if name in plan.float_nodes:
            continue
        for value in (input_of(node), quantized_output(node)):
            tensor = name_of(value)
            if tensor in plan.ranges and tensor not in rounded:
                rounded[tensor] = _round_activation(onnx_ir, graph, value, plan)
        _replace_weight(onnx_ir, graph, node, _grid_of(node, plan, sources[name]))
        if name in plan.biases:
            node.resize_inputs(3)
            _replace_input(
                graph, node, 2, add_constant(graph, f"{name}_plan_bias", plan.biases[name])
            )
        count += 1
    onnx_ir.save(model, path)
    return count


def _require_names(
    onnx_path: Path, graph: ir.Graph, convolutions: Collection[ir.Node], plan: QuantPlan
) -> None:
    values = {value.name for node in graph for value in node.outputs}
    values.update(value.name for value in graph.inputs)
    known = {name_of(node.outputs[0]): _shape_of_weight(node) for node in convolutions}
    wrong = [f"the activation '{name}'" for name in plan.ranges if name not in values]
    named = (*plan.float_nodes, *plan.weights, *plan.biases)
    wrong += [f"the convolution '{name}'" for name in named if name not in known]
    wrong += [
        f"weights of the shape {grid.values.shape} for '{name}'"
        for name, grid in plan.weights.items()
        if name in known and known[name] != grid.values.shape
    ]
    wrong += [
        f"{len(bias)} biases for '{name}'"
        for name, bias in plan.biases.items()
        if name in known and len(bias) != known[name][0]
    ]
    if wrong:
        raise CalibrationError(
            f"The plan is not for {onnx_path.name}: it names {wrong[0]}, which is not in the graph "
            "or cannot be INT8. Calibrate this graph anew."
        )


def _round_activation(onnx_ir: Any, graph: ir.Graph, value: ir.Value, plan: QuantPlan) -> ir.Value:
    readers = list(value.uses())
    name = name_of(value)
    scale = np.asarray(plan.scale(name), np.float32)
    scale_value = add_constant(graph, f"{name}_scale", scale)
    zero_point = np.asarray(plan.zero_point(name), np.int8)
    zero = add_constant(graph, f"{name}_zero_point", zero_point)
    quantize: ir.Node = onnx_ir.node(
        "QuantizeLinear", [value, scale_value, zero], name=f"{name}/quantize"
    )
    dequantize: ir.Node = onnx_ir.node(
        "DequantizeLinear", [quantize.outputs[0], scale_value, zero], name=f"{name}/dequantize"
    )
    result = dequantize.outputs[0]
    quantize.outputs[0].name = f"{name}_quantized"
    result.name = f"{name}_dequantized"
    result.shape, result.type = value.shape, value.type
    producer = value.producer()
    if producer is None:
        graph.insert_before(graph[0], [quantize, dequantize])
    else:
        graph.insert_after(producer, [quantize, dequantize])
    for reader, index in readers:
        reader.replace_input_with(index, result)
    return result


def _grid_of(node: ir.Node, plan: QuantPlan, source: str) -> WeightGrid:
    """Quantized weights of a convolution, whose steps runtimes can add the bias in.

    Args:
        source: Name of its input in the float graph.
    """
    name = name_of(node.outputs[0])
    grid = plan.weights.get(name)
    if grid is None:
        grid = covering_grid(constant_of(node.inputs[1]).astype(np.float32))
    bias = plan.biases.get(name)
    if bias is None and len(node.inputs) > 2 and is_constant(node.inputs[2]):
        bias = constant_of(node.inputs[2]).astype(np.float32)
    if bias is None or source not in plan.ranges:
        return grid
    return grid_that_holds(grid, bias, plan.scale(source))


def _replace_weight(onnx_ir: Any, graph: ir.Graph, node: ir.Node, grid: WeightGrid) -> None:
    """Let a convolution read quantized weights."""
    label = f"{node.outputs[0].name}_weight"  # results have unique names, nodes may have none
    inputs = [
        add_constant(graph, f"{label}_{name}", content)
        for name, content in (
            ("codes", grid.values),
            ("scale", grid.scales),
            ("zero_point", np.zeros(len(grid.scales), np.int8)),
        )
    ]
    dequantize = onnx_ir.node(
        "DequantizeLinear", inputs, attributes={"axis": 0}, name=f"{label}/dequantize"
    )
    dequantize.outputs[0].name = f"{label}_dequantized"
    graph.insert_before(node, dequantize)
    _replace_input(graph, node, 1, dequantize.outputs[0])


def _replace_input(graph: ir.Graph, node: ir.Node, index: int, value: ir.Value) -> None:
    """Give a node another constant, and remove the old one if nothing else reads it."""
    old = node.inputs[index]
    node.replace_input_with(index, value)
    if old is not None and not old.uses():
        graph.initializers.pop(name_of(old), None)


def quantized_output(node: ir.Node) -> ir.Value:
    """Output of a convolution, or of the activation function that runtimes fuse with it."""
    result = node.outputs[0]
    readers = list(result.uses())
    if len(readers) == 1 and readers[0].node.op_type in FUSED_ACTIVATIONS:
        return readers[0].node.outputs[0]
    return result


def _shape_of_weight(node: ir.Node) -> tuple[int, ...]:
    return constant_of(node.inputs[1]).shape


def is_depthwise(node: ir.Node) -> bool:
    """Whether each input channel has its own filters."""
    return bool(node.attributes.get_int("group", 1) > 1 and _shape_of_weight(node)[1] == 1)


def _reaches_convolution(node: ir.Node) -> bool:
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
