"""LayerNorms of groups of channels, side by side."""

from __future__ import annotations

from typing import Any

import numpy as np

from .editing import Editor, concatenated, is_read_once, rewrite_each
from .layer_norm import ChannelNorm, by_channel, channel_norm_of, pointwise
from .selection import Selection, select


def norms_after_concat(model: Any) -> int:
    """Normalise groups of channels side by side instead of one group after the other.

    [LN x_1; ...; LN x_n], each x_i made of channels of a few maps r, is c * (E s) + b with
    c = P [r], one 1x1 convolution that picks the channels and takes their mean off,
    s = 1 / sqrt(V c^2 + eps) with the groups' means V, and E, which spreads the n deviations over
    the channels and multiplies by the weights. All splits and concatenations in front are gone.

    Args:
        model: An `onnx_ir.Model`, changed in place.

    Returns:
        How many concatenations were rewritten.
    """

    def rewrite(edit: Editor, node: Any) -> Any | None:
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
