"""Finds the convolutions of an ONNX graph in the TFLite model that was converted from it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseg.errors import CalibrationError
from edgeseg.formats.onnx import constant_of, name_of
from edgeseg.formats.tflite import observe_tensors, read_tflite, unpack_tflite
from edgeseg.lazy import require

from ..calibrators.activations import observe_activations
from ..plan.quant_plan import QuantPlan
from ..qdq_onnx import quantizable_convolutions, quantized_output

PURPOSE = "Quantising for litert"
TOLERANCE = 1e-3  # of a tensor's largest value
# Axes of ONNX's weights (O, I/groups, kh, kw) in the order of TFLite's.
LAYOUTS = {"CONV_2D": (0, 2, 3, 1), "DEPTHWISE_CONV_2D": (1, 2, 3, 0)}


@dataclass(frozen=True)
class Match:
    """A convolution in both formats.

    Attributes:
        name: Output of the ONNX convolution.
        source, result: Activations of the ONNX graph that a plan quantizes: input and output.
        operator: Index of the TFLite operator.
        kind: Kind of the TFLite operator.
    """

    name: str
    source: str
    result: str
    operator: int
    kind: str


def match_convolutions(
    onnx_path: Path, plan: QuantPlan, tflite_path: Path, image: NDArray[np.float32]
) -> tuple[list[Match], list[str]]:
    """Find the INT8 convolutions of a plan in a TFLite model, by their weights and outputs.

    Converters rename tensors, and fuse activation functions. A convolution whose weights the
    converter has changed is not found.

    Args:
        image: A real image, prepared, (1, 3, H, W).

    Returns:
        The matches in the order in which the model runs them, and the names of the convolutions
        that were not found.

    Raises:
        CalibrationError: The plan lacks a range.
    """
    graph = require("onnx_ir", purpose=PURPOSE).load(onnx_path).graph
    nodes = [
        node
        for node in quantizable_convolutions(graph)
        if name_of(node.outputs[0]) not in plan.float_nodes
    ]
    for node in nodes:
        if name_of(node.inputs[0]) not in plan.ranges:
            raise CalibrationError(
                f"The plan has no range for '{name_of(node.inputs[0])}', which an INT8 convolution "
                "reads. Calibrate anew."
            )
    candidates = _convolutions_of(tflite_path)
    names = {
        name_of(value) for node in nodes for value in (node.outputs[0], quantized_output(node))
    }
    (expected,) = observe_activations(onnx_path, sorted(names), [image])
    (held,) = observe_tensors(tflite_path, [image], {one.result for one in candidates})
    found: dict[int, Match] = {}
    missing = []
    for node in nodes:
        name, result = name_of(node.outputs[0]), name_of(quantized_output(node))
        weight = constant_of(node.inputs[1])
        for one in candidates:
            if one.operator not in found and _is_close(_laid_out(weight, one.kind), one.weight):
                values = (expected[name], expected[result])
                if any(_is_close(np.moveaxis(v, 1, -1), held[one.result]) for v in values):
                    source = name_of(node.inputs[0])
                    found[one.operator] = Match(name, source, result, one.operator, one.kind)
                    break
        else:
            missing.append(name)
    return [found[operator] for operator in sorted(found)], missing


@dataclass(frozen=True)
class _Candidate:
    kind: str
    operator: int
    result: int
    weight: NDArray[np.float32]


def _convolutions_of(path: Path) -> list[_Candidate]:
    schema = require("ai_edge_litert.schema_py_generated", purpose=PURPOSE)
    model = unpack_tflite(path.read_bytes())
    graph = model.subgraphs[0]
    found = []
    for place, operator in enumerate(read_tflite(path).operators):
        if operator.kind not in LAYOUTS:
            continue
        tensor = graph.tensors[operator.inputs[1]]
        content = model.buffers[tensor.buffer].data
        if content is not None and tensor.type == schema.TensorType.FLOAT32:
            weight = np.frombuffer(content.tobytes(), np.float32).reshape(tensor.shape)
            found.append(_Candidate(operator.kind, place, operator.outputs[0], weight))
    return found


def _laid_out(weight: NDArray[Any], kind: str) -> NDArray[Any]:
    """A weight (O, I/groups, kh, kw) of ONNX in the layout of TFLite; others stay as they are."""
    return weight.transpose(LAYOUTS[kind]) if weight.ndim == 4 else weight


def _is_close(one: NDArray[np.float32], other: NDArray[np.float32]) -> bool:
    """Whether arrays are equal within the tolerance: zeros are equal, NaN is not."""
    if one.shape != other.shape:
        return False
    return bool(np.abs(one - other).max() <= TOLERANCE * np.abs(one).max())
