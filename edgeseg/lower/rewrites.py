"""Exact rewrites of an ONNX graph by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import UnknownNameError
from ..lazy import require
from .constants import fold_constants
from .group_norm import affine_after_pooling, group_norm_by_channel
from .layer_norm import layer_norm_by_convolution
from .patterns import tidy
from .resize import resize_by_matrices

# In the order in which they are applied. Each takes an `onnx_ir.Model`, changes it in place, keeps
# the function that it computes, and returns how often it found something to do.
REWRITES: Mapping[str, Callable[[Any], int]] = {
    "fold-constants": fold_constants,
    "group-norm-by-channel": group_norm_by_channel,
    "affine-after-pooling": affine_after_pooling,
    "resize-by-matrices": resize_by_matrices,
    "layer-norm-by-convolution": layer_norm_by_convolution,
}


def lower_graph(onnx_path: Path, names: Sequence[str], path: Path) -> dict[str, int]:
    """Apply some rewrites to an ONNX file and write the result to `path`.

    Args:
        names: Keys of `REWRITES`; they are applied in the order of that table.

    Returns:
        How often each did something.

    Raises:
        UnknownNameError: No such rewrite.
    """
    ir = require("onnx_ir", purpose="Lowering")
    for name in names:
        if name not in REWRITES:
            raise UnknownNameError("rewrite", name, REWRITES)
    model = ir.load(onnx_path)
    counts = {}
    for name, rewrite in REWRITES.items():
        if name in names:
            counts[name] = rewrite(model)
            if counts[name]:
                tidy(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    ir.save(model, path)
    return counts
