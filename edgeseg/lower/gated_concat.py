"""Maps weighted by one attention map each, then concatenated."""

from __future__ import annotations

from typing import Any

import numpy as np

from .editing import Editor, both_ways, channels_of, concatenated, made_by, rewrite_each
from .layer_norm import pointwise
from .selection import sliced_channels


def gate_after_concat(model: Any) -> int:
    """Weight maps after their concatenation instead of one by one before it.

    [x1 + x1 a1; ...; xn + xn an], a_i channel i of a map a, is [x1; ...; xn] * (E a + 1), and
    without the sums [..] * E a: E spreads each attention map over the channels of its x, a 1x1
    convolution with ones. 5 n operators become two.

    Args:
        model: An `onnx_ir.Model`, changed in place.

    Returns:
        How many concatenations were rewritten.
    """

    def rewrite(edit: Editor, node: Any) -> Any | None:
        parts = concatenated(node.outputs[0])
        if parts is None or len(parts) < 2:
            return None
        gated = [_gated(part) for part in parts]
        first = gated[0]
        if first is None:
            return None
        _, gates, _, adds = first
        sizes = []
        for index, found in enumerate(gated):
            if found is None or found[1] is not gates or found[2] != index or found[3] != adds:
                return None
            size = channels_of(found[0])
            if size is None:
                return None
            sizes.append(size)
        if channels_of(gates) != len(parts):
            return None
        plain = [found[0] for found in gated if found is not None]
        spread = pointwise(np.repeat(np.eye(len(parts)), sizes, axis=0))
        factors = edit.convolution(gates, spread, np.ones(sum(sizes)) if adds else None)
        return edit("Mul", _joined(edit, plain), factors)

    return rewrite_each(model, rewrite)


def _joined(edit: Editor, parts: list[Any]) -> Any:
    """The concatenation of the parts: one that is there, or a new one."""
    for use in parts[0].uses():
        found = use.node
        if found.op_type == "Concat" and concatenated(found.outputs[0]) == parts:
            return found.outputs[0]
    return edit("Concat", *parts, axis=1)


def _gated(value: Any) -> tuple[Any, Any, int, bool] | None:
    """(x, a, i, adds) of x + x * a_i, or of x * a_i."""
    add = made_by(value, "Add")
    if add is not None:
        for x, product in both_ways(add):
            inner = _gated(product) if made_by(product, "Mul") is not None else None
            if inner is not None and inner[0] is x:
                return (*inner[:3], True)
        return None
    for x, gate in both_ways(made_by(value, "Mul")):
        window = sliced_channels(gate)
        if window is not None and window[2] == window[1] + 1:
            return x, window[0], window[1], False
    return None
