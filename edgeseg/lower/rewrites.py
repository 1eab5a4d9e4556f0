"""Exact rewrites of an ONNX graph by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import UnknownNameError
from ..lazy import require
from .batch_norm import batch_norm_into_next, batch_norm_into_sum
from .concat import concat_of_planes, gate_after_concat, norms_after_concat
from .constants import fold_constants
from .depthwise import (
    box_by_depthwise,
    dense_stem,
    depthwise_after_concat,
    depthwise_of_copies,
    merge_parallel,
    stride_before_dilation,
)
from .graph import tidy
from .group_norm import affine_after_pooling, group_norm_by_channel
from .layer_norm import layer_norm_by_convolution, pointwise_before_norm
from .older_opset import resize_of_opset_17
from .pointwise import (
    concat_by_sum,
    dense_pointwise,
    merge_pointwise,
    pointwise_before_resize,
    pointwise_by_product,
    split_by_pointwise,
    sum_into_pointwise,
    thin_pointwise_by_product,
)
from .pooled_mean import mean_by_pooling
from .resize import nearest_by_shuffle, resize_by_matrices, resize_maps_by_matrices
from .softmax import softmax_by_sigmoid


def _fold_constants(model: Any) -> int:
    count = fold_constants(model)
    if count:
        tidy(model)
    return count


# In the order in which they are applied. Each takes an `onnx_ir.Model`, changes it in place, keeps
# the function that it computes, leaves it tidy, and returns how often it found something to do.
REWRITES: Mapping[str, Callable[[Any], int]] = {
    "fold-constants": _fold_constants,
    "group-norm-by-channel": group_norm_by_channel,
    "affine-after-pooling": affine_after_pooling,
    "mean-by-pooling": mean_by_pooling,
    "softmax-by-sigmoid": softmax_by_sigmoid,
    "box-by-depthwise": box_by_depthwise,
    "gate-after-concat": gate_after_concat,
    "dense-pointwise": dense_pointwise,
    "merge-parallel": merge_parallel,
    "batch-norm-into-sum": batch_norm_into_sum,
    "batch-norm-into-next": batch_norm_into_next,
    "dense-stem": dense_stem,
    "depthwise-after-concat": depthwise_after_concat,
    "depthwise-of-copies": depthwise_of_copies,
    "stride-before-dilation": stride_before_dilation,
    "norms-after-concat": norms_after_concat,
    "pointwise-before-norm": pointwise_before_norm,
    "layer-norm-by-convolution": layer_norm_by_convolution,
    "concat-by-sum": concat_by_sum,
    "pointwise-before-resize": pointwise_before_resize,
    "merge-pointwise": merge_pointwise,
    "split-by-pointwise": split_by_pointwise,
    "sum-into-pointwise": sum_into_pointwise,
    "nearest-by-shuffle": nearest_by_shuffle,
    "resize-by-matrices": resize_by_matrices,
    "resize-maps-by-matrices": resize_maps_by_matrices,
    "pointwise-by-product": pointwise_by_product,
    "thin-pointwise-by-product": thin_pointwise_by_product,
    "concat-of-planes": concat_of_planes,
    "resize-of-opset-17": resize_of_opset_17,
}

# Those whose convolutions compute means and variances, which rounding would spoil.
STATISTICS = frozenset(
    {
        "group-norm-by-channel",
        "mean-by-pooling",
        "norms-after-concat",
        "pointwise-before-norm",
        "layer-norm-by-convolution",
    }
)


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
    path.parent.mkdir(parents=True, exist_ok=True)
    ir.save(model, path)
    return counts
