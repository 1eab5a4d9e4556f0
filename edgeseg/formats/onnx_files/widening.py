"""Graphs in half precision, written in float32.

A file of float16 holds a network whose weights were rounded once. Runtimes round what it computes
as they like: ONNX Runtime itself computes most of it in float32. What is built here starts from
the weights as the file has them, computed in float32.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ...lazy import require

if TYPE_CHECKING:
    from onnx import AttributeProto, GraphProto, ModelProto, TensorProto, ValueInfoProto

PURPOSE = "Reading an ONNX file"
TYPES = frozenset({"to", "dtype"})  # attributes that name a type


def is_half(model: ModelProto) -> bool:
    """Whether any weight, input or output of it is float16."""
    half = require("onnx", purpose=PURPOSE).TensorProto.FLOAT16
    graph = model.graph
    ends = (value.type.tensor_type.elem_type for value in (*graph.input, *graph.output))
    return half in ends or any(tensor.data_type == half for tensor in graph.initializer)


def widen(model: ModelProto) -> None:
    """Make all that is float16 in a model float32, in place."""
    _widen_graph(model.graph)


def _widen_graph(graph: GraphProto) -> None:
    for tensor in graph.initializer:
        _widen_tensor(tensor)
    _widen_values((*graph.input, *graph.output, *graph.value_info))
    for node in graph.node:
        for attribute in node.attribute:
            _widen_attribute(attribute)


def _widen_attribute(attribute: AttributeProto) -> None:
    onnx = require("onnx", purpose=PURPOSE)
    if attribute.name in TYPES and attribute.i == onnx.TensorProto.FLOAT16:
        attribute.i = onnx.TensorProto.FLOAT
    if attribute.HasField("t"):
        _widen_tensor(attribute.t)
    for tensor in attribute.tensors:
        _widen_tensor(tensor)
    if attribute.HasField("g"):
        _widen_graph(attribute.g)
    for graph in attribute.graphs:
        _widen_graph(graph)


def _widen_values(values: Iterable[ValueInfoProto]) -> None:
    types = require("onnx", purpose=PURPOSE).TensorProto
    for value in values:
        if value.type.tensor_type.elem_type == types.FLOAT16:
            value.type.tensor_type.elem_type = types.FLOAT


def _widen_tensor(tensor: TensorProto) -> None:
    onnx = require("onnx", purpose=PURPOSE)
    if tensor.data_type == onnx.TensorProto.FLOAT16:
        values: Any = onnx.numpy_helper.to_array(tensor).astype("float32")
        tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
