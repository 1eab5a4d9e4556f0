"""Lets operators that only move values work on INT8."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgeseg.formats.tflite import pack_tflite, unpack_tflite
from edgeseg.lazy import require

PURPOSE = "Quantising for litert"
# ai-edge-quantizer does not know it, and leaves it in float between two conversions.
MOVED_QUANTIZED = ("DEPTH_TO_SPACE",)
CONVERSIONS = ("DEQUANTIZE", "QUANTIZE")
RELATIVE_ERROR = 1e-6  # of two scales that are the same


def move_quantized(content: bytes) -> bytes:
    """Remove the conversions around operators that only move values.

    DEQUANTIZE, the operator, and QUANTIZE with the same scale and zero point become the operator on
    quantized values, with the same result.

    Args:
        content: A TFLite file.

    Returns:
        A TFLite file that computes the same.
    """
    schema = require("ai_edge_litert.schema_py_generated", purpose=PURPOSE)
    model = unpack_tflite(content)
    graph = model.subgraphs[0]
    numbers = {
        name: getattr(schema.BuiltinOperator, name) for name in (*MOVED_QUANTIZED, *CONVERSIONS)
    }

    def is_kind(operator: Any, *names: str) -> bool:
        code = model.operatorCodes[operator.opcodeIndex]
        # Numbers above 127 are in the newer field only.
        number = max(code.builtinCode, code.deprecatedBuiltinCode)
        return any(number == numbers[name] for name in names)

    makers = {int(index): operator for operator in graph.operators for index in operator.outputs}
    readers: dict[int, list[Any]] = {}
    for operator in graph.operators:
        for index in operator.inputs:
            readers.setdefault(int(index), []).append(operator)
    results = {int(index) for index in graph.outputs}
    dropped: list[Any] = []
    for operator in graph.operators:
        if not is_kind(operator, *MOVED_QUANTIZED):
            continue
        before, after = makers.get(int(operator.inputs[0])), readers.get(int(operator.outputs[0]))
        if before is None or not after or len(after) > 1 or int(operator.outputs[0]) in results:
            continue
        if not is_kind(before, "DEQUANTIZE") or not is_kind(after[0], "QUANTIZE"):
            continue
        quantized, moved = int(before.inputs[0]), int(after[0].outputs[0])
        if not _are_alike(graph.tensors[quantized], graph.tensors[moved]):
            continue
        operator.inputs = np.array([quantized], np.int32)
        operator.outputs = np.array([moved], np.int32)
        dropped.append(after[0])
        if len(readers[int(before.outputs[0])]) == 1:
            dropped.append(before)
    if not dropped:
        return content
    unwanted = {id(operator) for operator in dropped}
    graph.operators = [operator for operator in graph.operators if id(operator) not in unwanted]
    return pack_tflite(model, len(content))


def _are_alike(one: Any, other: Any) -> bool:
    left, right = one.quantization, other.quantization
    return (
        one.type == other.type
        and np.array_equal(left.zeroPoint, right.zeroPoint)
        and np.allclose(left.scale, right.scale, rtol=RELATIVE_ERROR, atol=0)
    )
