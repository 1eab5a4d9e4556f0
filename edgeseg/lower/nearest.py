"""Enlargement by repeating pixels."""

from __future__ import annotations

from typing import Any

import numpy as np

from .editing import Editor, is_read_once, pointwise_of, rewrite_each
from .resizing import Resizing, resizing_of


def nearest_by_shuffle(model: Any) -> int:
    """Write nearest-neighbour enlargement to twice the size as four copies of each channel, laid
    out as the four pixels (DepthToSpace).

    A 1x1 convolution in front gives the copies. XNNPACK has no kernel for nearest-neighbour
    resizing, which cuts TFLite's graph in parts; it has one for this.

    Args:
        model: An `onnx_ir.Model`, changed in place.

    Returns:
        How many operators were rewritten.
    """

    def rewrite(edit: Editor, node: Any) -> Any | None:
        resizing = resizing_of(node.outputs[0])
        if resizing is None or not _doubles(resizing):
            return None
        x = resizing.source
        channels = x.shape[1]
        found = pointwise_of(x)
        if found is None or not is_read_once(x):
            weight, bias, source = np.eye(channels)[:, :, None, None], np.zeros(channels), x
        else:
            weight, bias, source = found.weight, found.bias, found.source
        copies = edit.convolution(source, np.tile(weight, (4, 1, 1, 1)), np.tile(bias, 4))
        return edit("DepthToSpace", copies, blocksize=2, mode="DCR")

    return rewrite_each(model, rewrite)


def _doubles(resizing: Resizing) -> bool:
    """Whether pixel i of the result is pixel i // 2 of the source."""
    place, rounding = resizing.coordinates, resizing.rounding
    repeats = (place == "asymmetric" and rounding == "floor") or (
        place in ("half_pixel", "pytorch_half_pixel") and rounding.startswith("round")
    )
    doubled = tuple(2 * size for size in resizing.before)
    return resizing.mode == "nearest" and repeats and resizing.after == doubled
