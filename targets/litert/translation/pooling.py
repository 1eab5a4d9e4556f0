"""Pooling over windows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .maps import as_map, give_map, pads_of, size_of, spatial
from .moves import cut, pad
from .translator import Rule, Translator

if TYPE_CHECKING:
    import onnx_ir as ir

LOWEST = float(np.finfo(np.float32).min)


class Windows(NamedTuple):
    """What a pooling looks at; pairs are for rows and columns.

    Attributes:
        x: The map (N, H, W, C).
        pads: Before and after, as the operator states them.
        result: Size of the result.
    """

    x: Any
    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    pads: tuple[tuple[int, int], tuple[int, int]]
    result: tuple[int, int]

    @property
    def before(self) -> tuple[int, int]:
        return self.pads[0][0], self.pads[1][0]

    @property
    def after(self) -> list[int]:
        """Places past the end of the map that the last window reaches; negative if none."""
        return [
            (n - 1) * s + (k - 1) * d + 1 - first - size
            for n, s, k, d, first, size in zip(
                self.result, self.strides, self.kernel, self.dilations, self.before,
                size_of(self.x), strict=True,
            )
        ]  # fmt: skip


def _windows(net: Translator, node: ir.Node) -> Windows:
    x = as_map(net, node.inputs[0])
    kernel, strides, dilations = (
        spatial(net, node, name, 1) for name in ("kernel_shape", "strides", "dilations")
    )
    reach = ((kernel[0] - 1) * dilations[0] + 1, (kernel[1] - 1) * dilations[1] + 1)
    rows, columns = pads_of(net, node, size_of(x), reach, strides)
    pads = ((rows[0], rows[1]), (columns[0], columns[1]))
    result = net.shape(node.outputs[0])[2:]
    size = (1, result[0]) if len(result) == 1 else (result[0], result[1])
    return Windows(x, kernel, strides, dilations, pads, size)


def _padded(net: Translator, windows: Windows, number: float) -> Any:
    """The map with all that the windows see, and no more."""
    x, after = windows.x, windows.after
    rows, columns = (
        range(size + min(rest, 0)) for size, rest in zip(size_of(x), after, strict=True)
    )
    x = cut(net, x, [range(int(x.shape[0])), rows, columns, range(int(x.shape[3]))])
    pairs = [(first, max(rest, 0)) for first, rest in zip(windows.before, after, strict=True)]
    return pad(net, x, [(0, 0), *pairs, (0, 0)], number=number)


def _places(net: Translator, windows: Windows, padded: Any) -> Iterator[tuple[int, int, Any]]:
    """(row, column, map) of each place of the kernel: what it sees in all windows."""
    for row in range(windows.kernel[0]):
        for column in range(windows.kernel[1]):
            rows, columns = (
                range(at * d, at * d + (n - 1) * s + 1, s)
                for at, d, n, s in zip(
                    (row, column), windows.dilations, windows.result, windows.strides, strict=True
                )
            )
            sizes = [range(int(size)) for size in padded.shape]
            yield row, column, cut(net, padded, [sizes[0], rows, columns, sizes[3]])


def _max_pool(net: Translator, node: ir.Node) -> None:
    windows = _windows(net, node)
    padded = _padded(net, windows, LOWEST)
    if len(node.outputs) > 1 and node.outputs[1].uses():
        _max_with_places(net, node, windows, padded)
        return
    if windows.dilations == (1, 1):
        result = net.tf.nn.max_pool2d(padded, windows.kernel, windows.strides, "VALID")
    else:
        parts = [part for _, _, part in _places(net, windows, padded)]
        result = parts[0]
        for part in parts[1:]:
            result = net.tf.maximum(result, part)
    give_map(net, node.outputs[0], result)


def _max_with_places(net: Translator, node: ir.Node, windows: Windows, padded: Any) -> None:
    """Largest values, and where they are in the flat input, (N, C, H, W): the first of equals."""
    tf = net.tf
    count, channels = int(windows.x.shape[0]), int(windows.x.shape[3])
    height, width = size_of(windows.x)
    best: Any = None
    where: Any = None
    for row, column, part in _places(net, windows, padded):
        rows, columns = (
            np.arange(n, dtype=np.int32) * s + at * d - first
            for n, s, at, d, first in zip(
                windows.result, windows.strides, (row, column), windows.dilations, windows.before,
                strict=True,
            )
        )  # fmt: skip
        place = (rows[:, None] * width + columns)[None, :, :, None]
        place = np.broadcast_to(place, (1, *windows.result, channels)).astype(np.int32)
        if best is None:
            best, where = part, tf.constant(place)
            if count > 1:
                where = tf.tile(where, [count, 1, 1, 1])
        else:
            where = tf.where(part > best, tf.constant(place), where)
            best = tf.maximum(best, part)
    planes = np.arange(count * channels, dtype=np.int32).reshape(count, 1, 1, channels)
    give_map(net, node.outputs[0], best)
    give_map(net, node.outputs[1], where + planes * np.int32(height * width))


def _average_pool(net: Translator, node: ir.Node) -> None:
    """The mean over each window; what lies past the padding is never counted."""
    windows = _windows(net, node)
    padded = _padded(net, windows, 0.0)
    counts_pads = bool(net.attribute(node, "count_include_pad", 0))
    if windows.dilations == (1, 1):
        result = net.tf.nn.avg_pool2d(padded, windows.kernel, windows.strides, "VALID")
    else:
        parts = [part for _, _, part in _places(net, windows, padded)]
        result = sum(parts[1:], parts[0]) * (1 / len(parts))
    counted = [_counted(windows, axis, counts_pads) for axis in (0, 1)]
    numbers = counted[0][:, None] * counted[1]
    size = windows.kernel[0] * windows.kernel[1]
    if (numbers != size).any():
        result = result * (size / numbers).astype(np.float32)[None, :, :, None]
    give_map(net, node.outputs[0], result)


def _counted(windows: Windows, axis: int, counts_pads: bool) -> np.ndarray[Any, Any]:
    """How many places of each window count, along an axis."""
    size = size_of(windows.x)[axis]
    before, after = windows.pads[axis]
    starts = np.arange(windows.result[axis]) * windows.strides[axis] - before
    places = starts[:, None] + np.arange(windows.kernel[axis]) * windows.dilations[axis]
    first, last = (-before, size + after) if counts_pads else (0, size)
    counted: np.ndarray[Any, Any] = ((places >= first) & (places < last)).sum(1)
    return counted


def _global(net: Translator, node: ir.Node) -> None:
    """GlobalAveragePool and GlobalMaxPool."""
    reduce = net.tf.reduce_mean if node.op_type == "GlobalAveragePool" else net.tf.reduce_max
    tensor = net.last(node.inputs[0])
    axes = list(range(1, len(tensor.shape) - 1))
    net.give(node.outputs[0], reduce(tensor, axes, keepdims=True), last=True)


RULES: dict[str, Rule] = {
    "AveragePool": _average_pool,
    "GlobalAveragePool": _global,
    "GlobalMaxPool": _global,
    "MaxPool": _max_pool,
}
