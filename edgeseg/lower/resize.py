"""Bilinear resizing as matrix products."""

from __future__ import annotations

from typing import Any

import numpy as np

from .editing import Editor, made_by, rewrite_each
from .resizing import Resizing, resizing_of

FLOAT = 1  # as ONNX numbers the types of elements


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
    def rewrite(edit: Editor, node: Any) -> Any | None:
        resizing = resizing_of(node.outputs[0])
        if resizing is None or resizing.mode != "linear" or resizing.coordinates == "asymmetric":
            return None
        if most_channels is not None and resizing.source.shape[1] > most_channels:
            return None
        if makes_matrix(node):
            return None
        rows, columns = (
            _matrix(edit, resizing, old, new)
            for old, new in zip(resizing.before, resizing.after, strict=True)
        )
        columns = edit("Transpose", columns, perm=[0, 1, 3, 2])
        return edit("MatMul", rows, edit("MatMul", resizing.source, columns))

    return rewrite_each(model, rewrite)


def makes_matrix(node: Any) -> bool:
    """Whether a Resize makes one of the matrices of this file, which no input reaches."""
    unsqueezing = made_by(node.inputs[0], "Unsqueeze")
    return unsqueezing is not None and made_by(unsqueezing.inputs[0], "EyeLike") is not None


def _matrix(edit: Editor, resizing: Resizing, old: int, new: int) -> Any:
    """The matrix (1, 1, new, old) of a resizing along one axis: what it makes of the identity.

    It is left to the runtime, which computes it when it loads the graph: as a constant it would be
    more bytes than the weights of a small network.
    """
    square = edit("EyeLike", edit("ConstantOfShape", np.array([old, old])), dtype=FLOAT)
    identity = edit("Unsqueeze", square, np.array([0, 1]))
    sizes = np.array([1, 1, new, old])
    return edit("Resize", identity, None, None, sizes, **resizing.node.attributes)
