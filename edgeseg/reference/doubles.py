"""ONNX graphs with parts in double precision, as users' networks have where numpy made a buffer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from ..lazy import require

if TYPE_CHECKING:
    import onnx

PURPOSE = "Export"


def has_doubles(proto: onnx.ModelProto) -> bool:
    """Whether a value or a constant is in double precision."""
    double = require("onnx", purpose=PURPOSE).TensorProto.DOUBLE
    return any(tensor.data_type == double for tensor in _constants(proto)) or any(
        value.type.tensor_type.elem_type == double for value in proto.graph.value_info
    )


def loads(proto: onnx.ModelProto) -> bool:
    """Whether ONNX Runtime has every operator in the types of the graph."""
    onnxruntime = require("onnxruntime", purpose=PURPOSE)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        onnxruntime.InferenceSession(
            proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except Exception:
        # The package raises several kinds; whatever it is, whoever loads the graph next says why.
        return False
    return True


def without_doubles(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The graph with float32 in place of double precision.

    Resizing, for one, has no kernel for doubles in any runtime, and what a mask needs of them is
    compared with torch afterwards.
    """
    package = require("onnx", purpose=PURPOSE)
    kinds = package.TensorProto
    made: onnx.ModelProto = package.ModelProto()
    made.CopyFrom(proto)
    for tensor in _constants(made):
        if tensor.data_type == kinds.DOUBLE:
            content = package.numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(package.numpy_helper.from_array(content, tensor.name))
    for node in _nodes(made):
        for attribute in node.attribute:
            if attribute.name in ("to", "dtype") and attribute.i == kinds.DOUBLE:
                attribute.i = kinds.FLOAT
    for value in (*made.graph.value_info, *made.graph.output):
        if value.type.tensor_type.elem_type == kinds.DOUBLE:
            value.type.tensor_type.elem_type = kinds.FLOAT
    return made


def _nodes(proto: onnx.ModelProto) -> Iterator[Any]:
    yield from proto.graph.node
    for function in proto.functions:
        yield from function.node


def _constants(proto: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    yield from proto.graph.initializer
    for node in _nodes(proto):
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
