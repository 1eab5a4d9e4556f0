"""Maps weighted by one attention map each, then concatenated."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .editing import (
    Editor,
    both_ways,
    channels_of,
    concatenated,
    made_by,
    maps_of_one_size,
    rewrite_each,
)
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
        gated = [found for found in map(_gated, parts) if found is not None]
        if [found.position for found in gated] != list(range(len(parts))):
            return None
        gates, adds = gated[0].gates, gated[0].adds
        if any(found.gates is not gates or found.adds != adds for found in gated):
            return None
        maps = [found.x for found in gated]
        if channels_of(gates) != len(parts) or not maps_of_one_size(maps):
            return None
        sizes = [x.shape[1] for x in maps]
        spread = pointwise(np.repeat(np.eye(len(parts)), sizes, axis=0))
        factors = edit.convolution(gates, spread, np.ones(sum(sizes)) if adds else None)
        return edit("Mul", edit("Concat", *maps, axis=1), factors)

    return rewrite_each(model, rewrite)


@dataclass(frozen=True)
class _Gated:
    """x * gates[position], or with `adds` x + x * gates[position]."""

    x: Any
    gates: Any
    position: int
    adds: bool


def _gated(value: Any) -> _Gated | None:
    for x, product in both_ways(made_by(value, "Add")):
        inner = _gated_product(product)
        if inner is not None and inner.x is x:
            return replace(inner, adds=True)
    return _gated_product(value)


def _gated_product(value: Any) -> _Gated | None:
    for x, gate in both_ways(made_by(value, "Mul")):
        window = sliced_channels(gate)
        if window is not None and window[2] == window[1] + 1:
            return _Gated(x, window[0], window[1], adds=False)
    return None
