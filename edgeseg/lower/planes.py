"""Maps of one channel that are brought together."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..onnx_graph import fixed_shape
from .editing import Editor, rewrite_each


def concat_of_planes(model: Any) -> int:
    """Bring maps of one channel together as rows of (N, H W) in place of (N, 1, H, W).

    Both lie in memory alike. OpenVINO, which keeps channels last elsewhere, else interleaves the
    pixels of the maps one by one and puts them back for who reads the result: 1.2 ms for two maps
    of 512 x 512.

    Args:
        model: An `onnx_ir.Model`, changed in place.

    Returns:
        How many operators were rewritten.
    """

    def rewrite(edit: Editor, node: Any) -> Any | None:
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
