"""Bilinear resizing as matrix products."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..lazy import require
from ..onnx_graph import constant_of, is_constant
from .patterns import apply_rule


def interpolation_matrix(old: int, new: int, *, align_corners: bool) -> NDArray[np.float32]:
    """Weights (new, old) of linear interpolation along one axis, as ONNX's Resize defines it.

    Args:
        align_corners: The first and last samples keep their places; otherwise pixels are areas
            ("half_pixel").
    """
    places = np.arange(new, dtype=np.float64)
    if align_corners:
        places *= (old - 1) / (new - 1) if new > 1 else 0
    else:
        places = np.clip((places + 0.5) * old / new - 0.5, 0, old - 1)
    left = np.minimum(np.floor(places).astype(int), max(old - 2, 0))
    share = places - left
    matrix = np.zeros((new, old))
    rows = np.arange(new)
    matrix[rows, left] += 1 - share
    matrix[rows, np.minimum(left + 1, old - 1)] += share
    return matrix.astype(np.float32)


def resize_by_matrices(model: Any) -> int:
    """Write bilinear resizing of a one-channel map x as R x C with constant matrices.

    Runtimes that keep channels last vectorise resizing over channels; that of one channel takes
    several times as long as the two products.

    Args:
        model: An `onnx_ir.Model`, changed in place.

    Returns:
        How many operators were rewritten.
    """
    return _by_matrices(model, most_channels=1)


def resize_maps_by_matrices(model: Any) -> int:
    """As `resize_by_matrices`, of maps with any number of channels.

    For runtimes that keep channels first, as ONNX Runtime does.

    Args:
        model: An `onnx_ir.Model`, changed in place.

    Returns:
        How many operators were rewritten.
    """
    return _by_matrices(model, most_channels=None)


def _by_matrices(model: Any, most_channels: int | None) -> int:
    ir = require("onnx_ir", purpose="Lowering")

    def pattern(op: Any, x: Any, sizes: Any) -> Any:
        return op.Resize(x, None, None, sizes, _allow_other_attributes=True, _outputs=["resized"])

    def fits(context: Any, x: Any, sizes: Any, resized: Any) -> bool:
        attributes = resized.producer().attributes
        return (
            is_constant(sizes)
            and x.shape is not None
            and len(x.shape) == 4
            and (most_channels is None or x.shape[1] <= most_channels)
            and attributes.get_string("mode", "nearest") == "linear"
            and attributes.get_string("coordinate_transformation_mode", "half_pixel")
            in ("align_corners", "half_pixel", "pytorch_half_pixel")
            and not attributes.get_int("antialias", 0)
        )

    def rewrite(op: Any, x: Any, sizes: Any, resized: Any) -> Any:
        attributes = resized.producer().attributes
        mode = attributes.get_string("coordinate_transformation_mode", "half_pixel")
        corners = mode == "align_corners"
        height, width = constant_of(sizes).tolist()[2:]
        rows = interpolation_matrix(x.shape[2], height, align_corners=corners)
        columns = interpolation_matrix(x.shape[3], width, align_corners=corners).T.copy()
        left = op.initializer(ir.tensor(rows), f"{resized.name}_rows")
        right = op.initializer(ir.tensor(columns), f"{resized.name}_columns")
        return op.MatMul(left, op.MatMul(x, right))

    return apply_rule(model, pattern, rewrite, fits)
