"""Operations of torch that its ONNX exporter does not translate, in terms of ONNX."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..lazy import require


def translations() -> dict[Callable[..., Any], Callable[..., Any]]:
    """By operation; for `torch.onnx.export`."""
    torch = require("torch", purpose="Export")
    return {torch.ops.aten.adaptive_max_pool2d.default: adaptive_max_pool}


def adaptive_max_pool(source: Any, output_size: Sequence[int]) -> tuple[Any, Any]:
    """The largest value of each of `output_size` rows and columns of windows.

    The exporter has it for sizes that divide the map only. Window i of n over m rows begins at row
    i m / n, rounded down, and ends before row (i + 1) m / n, rounded up. The largest value of a
    window is the largest of its rows' largest ones.

    Returns:
        The map, twice: the places of the values, which the exporter wants to have, are not
        computed. A network that reads them is not equal to torch's, which is looked at next.
    """
    operators = require("onnxscript", purpose="Export").opset20

    def along(axis: int) -> Any:
        return operators.Constant(value_ints=[axis])

    values = source
    for axis, count in zip((-2, -1), output_size, strict=True):
        size = source.shape[axis]
        parts = []
        for index in range(count):
            first, end = index * size // count, -(-(index + 1) * size // count)
            window = operators.Slice(values, along(first), along(end), along(axis))
            parts.append(operators.ReduceMax(window, along(axis), keepdims=1))
        values = operators.Concat(*parts, axis=axis) if len(parts) > 1 else parts[0]
    return values, values
