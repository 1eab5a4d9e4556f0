"""Means over the whole map."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .graph import Editor, channels_of, rewrite_each, size_of
from .rewrite import as_rewrite

if TYPE_CHECKING:
    import onnx_ir as ir

LARGEST_WINDOW = 16
LEAST_PIXELS = 1024  # the mean of a smaller map costs nothing


@as_rewrite("mean-by-pooling", layout="channels-last", moves_statistics=True)
def mean_by_pooling(model: ir.Model) -> int:
    """Take the mean over a large map in two steps, of which the first is an average pooling.

    Runtimes have no fast kernel for a reduction over all pixels of few channels; the kernel of a
    pooling is vectorised, and leaves 256 times fewer values. Exact, as the window divides the map.

    Returns:
        How many means were rewritten.
    """

    def rewrite(edit: Editor, node: ir.Node) -> ir.Value | None:
        if node.op_type != "GlobalAveragePool" or channels_of(node.inputs[0]) is None:
            return None
        height, width = size_of(node.inputs[0])
        window = [_window(height), _window(width)]
        if height * width < LEAST_PIXELS or window == [1, 1]:
            return None
        small = edit("AveragePool", node.inputs[0], kernel_shape=window, strides=window)
        return edit("GlobalAveragePool", small)

    return rewrite_each(model, rewrite)


def _window(size: int) -> int:
    return max(step for step in range(1, LARGEST_WINDOW + 1) if size % step == 0)
