"""Rewrites of concatenations."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..formats.onnx import fixed_shape
from .graph import (
    Editor,
    both_ways,
    channels_of,
    concatenated,
    is_read_once,
    made_by,
    maps_of_one_size,
    rewrite_each,
)
from .layer_norm import ChannelNorm, by_channel, channel_norm_of, pointwise
from .matching import Selection, select, sliced_channels
from .rewrite import as_rewrite

if TYPE_CHECKING:
    import onnx_ir as ir


@as_rewrite("gate-after-concat", layout="channels-last")
def gate_after_concat(model: ir.Model) -> int:
    """Multiply maps by attention after their concatenation instead of one by one before it.

    [x1 + x1 a1; ...; xn + xn an], where a_i is channel i of a map a, equals
    [x1; ...; xn] * (E a + 1); without the sums it equals [x1; ...; xn] * E a. E is a 1x1
    convolution with ones, which spreads each attention map over the channels of its x. 5 n
    operators become two.

    Returns:
        How many concatenations were rewritten.
    """

    def rewrite(edit: Editor, node: ir.Node) -> ir.Value | None:
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
        sizes = [channels_of(x) or 0 for x in maps]
        spread = pointwise(np.repeat(np.eye(len(parts)), sizes, axis=0))
        factors = edit.convolution(gates, spread, np.ones(sum(sizes)) if adds else None)
        return edit("Mul", edit("Concat", *maps, axis=1), factors)

    return rewrite_each(model, rewrite)


@dataclass(frozen=True)
class _Gated:
    """x * gates[position], or with `adds` x + x * gates[position]."""

    x: ir.Value
    gates: ir.Value
    position: int
    adds: bool


def _gated(value: ir.Value) -> _Gated | None:
    for x, product in both_ways(made_by(value, "Add")):
        inner = _gated_product(product)
        if inner is not None and inner.x is x:
            return replace(inner, adds=True)
    return _gated_product(value)


def _gated_product(value: ir.Value) -> _Gated | None:
    for x, gate in both_ways(made_by(value, "Mul")):
        window = sliced_channels(gate)
        if window is not None and window[2] == window[1] + 1:
            return _Gated(x, window[0], window[1], adds=False)
    return None


@as_rewrite("norms-after-concat", moves_statistics=True)
def norms_after_concat(model: ir.Model) -> int:
    """Normalise groups of channels side by side instead of one group after the other.

    [LN x_1; ...; LN x_n], where each x_i consists of channels of a few maps r, equals
    c * (E s) + b. c = P [r] is a 1x1 convolution that picks the channels and subtracts their mean,
    s = 1 / sqrt(V c^2 + eps) has the mean over each group in V, and E spreads the n inverse
    deviations over the channels and multiplies by the weights. The splits and concatenations
    before the norms are no longer needed.

    Returns:
        How many concatenations were rewritten.
    """

    def rewrite(edit: Editor, node: ir.Node) -> ir.Value | None:
        parts = concatenated(node.outputs[0])
        if parts is None or len(parts) < 2:
            return None
        norms = []
        for part in parts:
            norm = channel_norm_of(part) if is_read_once(part) else None
            if norm is None:
                return None
            norms.append(norm)
        if len({norm.epsilon for norm in norms}) != 1:
            return None
        choice = select([norm.source for norm in norms])
        return None if choice is None else _side_by_side(edit, norms, choice)

    return rewrite_each(model, rewrite)


def _side_by_side(edit: Editor, norms: list[ChannelNorm], choice: Selection) -> Any:
    sizes = [norm.weight.size for norm in norms]
    groups = np.repeat(np.eye(len(norms)), sizes, axis=0)  # (channels, groups)
    means = (groups / np.sum(groups, axis=0)).T
    centring = (np.eye(sum(sizes)) - groups @ means) @ choice.matrix
    centred = edit.convolution(choice.joined(edit), pointwise(centring))
    floor = np.full(len(norms), norms[0].epsilon)
    variance = edit.convolution(edit("Mul", centred, centred), pointwise(means), floor)
    inverse = edit("Reciprocal", edit("Sqrt", variance))
    weight = np.concatenate([norm.weight for norm in norms])
    factors = edit.convolution(inverse, pointwise(groups * weight[:, None]))
    bias = np.concatenate([norm.bias for norm in norms])
    return edit("Add", edit("Mul", centred, factors), by_channel(bias))


@as_rewrite("concat-of-planes", layout="channels-last")
def concat_of_planes(model: ir.Model) -> int:
    """Concatenate maps of one channel as rows (N, H W) instead of maps (N, 1, H, W).

    Both have the same memory layout. OpenVINO, which keeps channels last, would interleave the
    pixels of the maps one by one and take them apart for the next operator: 1.2 ms for two maps of
    512 x 512.

    Returns:
        How many operators were rewritten.
    """

    def rewrite(edit: Editor, node: ir.Node) -> ir.Value | None:
        if node.op_type != "Concat" or node.attributes.get_int("axis", 0) not in (1, -3):
            return None
        shapes = {fixed_shape(value) for value in node.inputs}
        if len(node.inputs) < 2 or len(shapes) != 1:
            return None
        shape = shapes.pop()
        if shape is None or len(shape) != 4 or shape[1] != 1:
            return None
        batch, _, height, width = shape
        row = np.array((batch, height * width), np.int64)
        rows = [edit("Reshape", value, row) for value in node.inputs]
        together = edit("Concat", *rows, axis=1)
        return edit("Reshape", together, np.array((batch, len(rows), height, width), np.int64))

    return rewrite_each(model, rewrite)
