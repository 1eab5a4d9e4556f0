"""The channels of maps that a value consists of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..formats.onnx import constant_of, is_constant
from .graph import Editor, channels_of, concatenated, made_by

if TYPE_CHECKING:
    import onnx_ir as ir


@dataclass(frozen=True)
class Selection:
    """A value as channels of other maps.

    Attributes:
        roots: Maps of one size.
        matrix: (channels of the value, channels of all roots), of zeros and ones: the value is
            matrix x [roots].
    """

    roots: tuple[Any, ...]
    matrix: NDArray[np.float64]

    def joined(self, edit: Editor) -> Any:
        """The concatenation of the roots."""
        return self.roots[0] if len(self.roots) == 1 else edit("Concat", *self.roots, axis=1)


def select(values: Sequence[Any]) -> Selection | None:
    """Trace values through splits, slices and concatenations of channels to their roots.

    Returns:
        The concatenation of the values as a selection; None if a size is unknown.
    """
    channels: list[tuple[Any, int]] = []
    for value in values:
        found = _channels(value)
        if found is None:
            return None
        channels.extend(found)
    roots = list(dict.fromkeys(root for root, _ in channels))
    sizes = [channels_of(root) or 0 for root in roots]
    starts = dict(zip(roots, np.cumsum([0, *sizes[:-1]]).tolist(), strict=True))
    matrix = np.zeros((len(channels), sum(sizes)))
    for row, (root, index) in enumerate(channels):
        matrix[row, starts[root] + index] = 1
    return Selection(tuple(roots), matrix)


def _channels(value: ir.Value) -> list[tuple[Any, int]] | None:
    """(root, channel) of each channel of a value."""
    parts = concatenated(value)
    if parts is not None:
        found: list[tuple[Any, int]] = []
        for part in parts:
            inner = _channels(part)
            if inner is None:
                return None
            found.extend(inner)
        return found
    window = sliced_channels(value)
    if window is not None:
        source, start, end = window
        inner = _channels(source)
        return None if inner is None else inner[start:end]
    size = channels_of(value)
    return None if size is None else [(value, index) for index in range(size)]


def sliced_channels(value: ir.Value) -> tuple[Any, int, int] | None:
    """(x, start, end) if a value consists of the channels start..end-1 of x, or None."""
    split = made_by(value, "Split")
    if split is not None and split.attributes.get_int("axis", 0) in (1, -3):
        sizes = [channels_of(part) for part in split.outputs]
        if None in sizes:
            return None
        position = next(index for index, part in enumerate(split.outputs) if part is value)
        ends = np.cumsum([size or 0 for size in sizes]).tolist()
        return split.inputs[0], ends[position] - (sizes[position] or 0), ends[position]
    node = made_by(value, "Slice")
    if node is None or len(node.inputs) < 4 or not all(map(is_constant, node.inputs[1:])):
        return None
    starts, ends, axes = (constant_of(item).ravel().tolist() for item in node.inputs[1:4])
    steps = constant_of(node.inputs[4]).ravel().tolist() if len(node.inputs) > 4 else [1]
    size = channels_of(node.inputs[0])
    if axes not in ([1], [-3]) or steps != [1] or size is None:
        return None
    start, end, _ = slice(starts[0], ends[0]).indices(size)
    return node.inputs[0], start, end
