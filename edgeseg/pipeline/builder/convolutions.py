"""The convolutions of a graph that can be INT8, with what they cost."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from edgeseg.lazy import require
from edgeseg.quantize.qdq_onnx import is_depthwise, quantizable_convolutions
from edgeseg.tuning.regions import QuantizableConv


def quantizable_convs_of(onnx_path: Path) -> list[QuantizableConv]:
    """In the order of the graph, which is that of computing."""
    graph = require("onnx_ir", purpose="Placement").load(onnx_path).graph
    return [_site(node) for node in quantizable_convolutions(graph)]


def _site(node: Any) -> QuantizableConv:
    result = node.outputs[0]
    weights = math.prod(node.inputs[1].shape)
    sizes = list(result.shape) if result.shape is not None else []
    if len(sizes) != 4 or not all(isinstance(size, int) for size in sizes):
        return QuantizableConv(result.name, None, weights=weights, is_depthwise=is_depthwise(node))
    height, width = sizes[2:]
    return QuantizableConv(
        result.name, (height, width), weights * height * width, weights, is_depthwise(node)
    )
