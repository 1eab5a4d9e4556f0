"""GridSample: maps looked up between their pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .translator import Rule, Translator

if TYPE_CHECKING:
    import onnx_ir as ir


def _grid_sample(net: Translator, node: ir.Node) -> None:
    """Sums of at most four gathered pixels, with weights that are zero outside the map."""
    tf = net.tf
    mode = net.attribute(node, "mode", "linear")
    padding = net.attribute(node, "padding_mode", "zeros")
    if mode not in ("linear", "bilinear", "nearest") or padding not in ("zeros", "border"):
        raise net.refusal(f"samples with mode '{mode}' and padding '{padding}'")
    x, grid = net.last(node.inputs[0]), net.plain(node.inputs[1])
    count, height, width, channels = (int(size) for size in x.shape)
    if len(grid.shape) != 4 or count != 1:
        raise net.refusal("samples volumes or several images")
    corners = bool(net.attribute(node, "align_corners", 0))
    columns = _in_pixels(grid[..., 0], width, corners)
    rows = _in_pixels(grid[..., 1], height, corners)
    if padding == "border":
        columns = tf.minimum(tf.maximum(columns, 0.0), float(width - 1))
        rows = tf.minimum(tf.maximum(rows, 0.0), float(height - 1))
    flat = tf.reshape(x, [height * width, channels])
    if mode == "nearest":
        total = _pixels(tf, flat, tf.round(rows), tf.round(columns), height, width)
    else:
        top, left = tf.floor(rows), tf.floor(columns)
        down, right = (tf.expand_dims(part, -1) for part in (rows - top, columns - left))
        total = sum(
            _pixels(tf, flat, top + row, left + column, height, width)
            * (down if row else 1.0 - down)
            * (right if column else 1.0 - right)
            for row in (0, 1)
            for column in (0, 1)
        )
    net.give(node.outputs[0], total, last=True)


def _in_pixels(place: Any, size: int, corners: bool) -> Any:
    """Places in -1..1 as numbers of pixels."""
    return (place + 1.0) * ((size - 1) / 2) if corners else (place + 1.0) * (size / 2) - 0.5


def _pixels(tf: Any, flat: Any, rows: Any, columns: Any, height: int, width: int) -> Any:
    """Pixels (N, H, W, C) at whole places; zeros outside the map."""
    inside_rows = tf.minimum(tf.maximum(rows, 0.0), float(height - 1))
    inside_columns = tf.minimum(tf.maximum(columns, 0.0), float(width - 1))
    is_inside = tf.logical_and(tf.equal(rows, inside_rows), tf.equal(columns, inside_columns))
    places = tf.cast(inside_rows * float(width) + inside_columns, tf.int32)
    found = tf.gather(flat, places)
    return found * tf.expand_dims(tf.cast(is_inside, tf.float32), -1)


RULES: dict[str, Rule] = {"GridSample": _grid_sample}
