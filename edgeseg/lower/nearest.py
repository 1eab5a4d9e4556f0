"""Enlargement by repeating pixels."""

from __future__ import annotations

from typing import Any

import numpy as np

from .editing import Editor, channels_of, convolution_of, only_reader, rewrite_each


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
        if node.op_type != "Resize" or node.attributes.get_string("mode", "nearest") != "nearest":
            return None
        x, result = node.inputs[0], node.outputs[0]
        channels = channels_of(x)
        if channels is None or channels_of(result) != channels or not _repeats(node):
            return None
        if [2 * size for size in x.shape[2:]] != list(result.shape[2:]):
            return None
        found = convolution_of(x)
        if found is None or not found.is_pointwise or found.group != 1 or only_reader(x) is None:
            weight, bias, source = np.eye(channels)[:, :, None, None], np.zeros(channels), x
        else:
            weight, bias, source = found.weight, found.bias, found.source
        copies = edit.convolution(source, np.tile(weight, (4, 1, 1, 1)), np.tile(bias, 4))
        return edit("DepthToSpace", copies, blocksize=2, mode="DCR")

    return rewrite_each(model, rewrite)


def _repeats(node: Any) -> bool:
    """Whether pixel i of the result is pixel i // 2 of the source."""
    place = node.attributes.get_string("coordinate_transformation_mode", "half_pixel")
    rounding = node.attributes.get_string("nearest_mode", "round_prefer_floor")
    return (place == "asymmetric" and rounding == "floor") or (
        place in ("half_pixel", "pytorch_half_pixel") and rounding.startswith("round")
    )
