"""Exact rewrites of an ONNX graph, by name and in the order in which they are applied."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from ..errors import UnknownNameError
from ..lazy import require
from ..registry import Registry
from .rewrite import Layout, Rewrite

BUILT_IN = {
    "fold-constants": "edgeseg.lower.constants:fold_stored_constants",
    "group-norm-by-channel": "edgeseg.lower.group_norm:group_norm_by_channel",
    "affine-after-pooling": "edgeseg.lower.group_norm:affine_after_pooling",
    "mean-by-pooling": "edgeseg.lower.pooled_mean:mean_by_pooling",
    "softmax-by-sigmoid": "edgeseg.lower.activations:softmax_by_sigmoid",
    "box-by-depthwise": "edgeseg.lower.depthwise:box_by_depthwise",
    "gate-after-concat": "edgeseg.lower.concat:gate_after_concat",
    "dense-pointwise": "edgeseg.lower.pointwise:dense_pointwise",
    "merge-parallel": "edgeseg.lower.depthwise:merge_parallel",
    "batch-norm-into-sum": "edgeseg.lower.batch_norm:batch_norm_into_sum",
    "batch-norm-into-next": "edgeseg.lower.batch_norm:batch_norm_into_next",
    "dense-stem": "edgeseg.lower.depthwise:dense_stem",
    "depthwise-after-concat": "edgeseg.lower.depthwise:depthwise_after_concat",
    "depthwise-of-copies": "edgeseg.lower.depthwise:depthwise_of_copies",
    "stride-before-dilation": "edgeseg.lower.depthwise:stride_before_dilation",
    "norms-after-concat": "edgeseg.lower.concat:norms_after_concat",
    "pointwise-before-norm": "edgeseg.lower.layer_norm:pointwise_before_norm",
    "layer-norm-by-convolution": "edgeseg.lower.layer_norm:layer_norm_by_convolution",
    "concat-by-sum": "edgeseg.lower.pointwise:concat_by_sum",
    "pointwise-before-resize": "edgeseg.lower.pointwise:pointwise_before_resize",
    "merge-pointwise": "edgeseg.lower.pointwise:merge_pointwise",
    "split-by-pointwise": "edgeseg.lower.pointwise:split_by_pointwise",
    "sum-into-pointwise": "edgeseg.lower.pointwise:sum_into_pointwise",
    "nearest-by-shuffle": "edgeseg.lower.resize:nearest_by_shuffle",
    "resize-by-matrices": "edgeseg.lower.resize:resize_by_matrices",
    "resize-maps-by-matrices": "edgeseg.lower.resize:resize_maps_by_matrices",
    "pointwise-by-product": "edgeseg.lower.pointwise:pointwise_by_product",
    "thin-pointwise-by-product": "edgeseg.lower.pointwise:thin_pointwise_by_product",
    "prelu-by-depthwise": "edgeseg.lower.activations:prelu_by_depthwise",
    "concat-of-planes": "edgeseg.lower.concat:concat_of_planes",
    "resize-of-opset-17": "edgeseg.lower.older_opset:resize_of_opset_17",
}
LAST = "resize-of-opset-17"  # the others write operators of the newest opset
REWRITES = Registry("rewrite", BUILT_IN, "edgeseg.rewrites")


def rewrite_names() -> tuple[str, ...]:
    """All names in the order of application; those of other packages come late."""
    return (*(name for name in REWRITES.names() if name != LAST), LAST)


def find_rewrite(name: str) -> Rewrite:
    """The rewrite of that name.

    Raises:
        UnknownNameError: No such rewrite.
    """
    rewrite: Rewrite = REWRITES.find(name)
    return rewrite


def rewrites_for(layout: Layout, *, without: Collection[str] = ()) -> tuple[str, ...]:
    """Built-in rewrites that kernels of a memory layout gain from, in the order of application.

    Rewrites of other packages are not among them: a runtime lists those that it wants by name,
    and `--precision auto` tries all.

    Args:
        layout: "channels-last" or "channels-first"; rewrites for any layout are included.
        without: Names to leave out.

    Raises:
        UnknownNameError: A name in `without` does not stand for a rewrite.
    """
    for name in without:
        if name not in BUILT_IN:
            raise UnknownNameError("rewrite", name, BUILT_IN)
    return tuple(
        name
        for name in BUILT_IN
        if name not in without and find_rewrite(name).layout in ("any", layout)
    )


def statistics_rewrites() -> frozenset[str]:
    """Rewrites whose convolutions compute means and variances, which rounding would spoil."""
    return frozenset(name for name in rewrite_names() if find_rewrite(name).moves_statistics)


def lower_graph(onnx_path: Path, names: Sequence[str], path: Path) -> dict[str, int]:
    """Apply rewrites to an ONNX file and write the result to `path`.

    Args:
        names: Names of rewrites, in any order; they are applied in that of `rewrite_names`.

    Returns:
        How many places each rewrite changed.

    Raises:
        UnknownNameError: No such rewrite.
    """
    ir = require("onnx_ir", purpose="Lowering")
    wanted = {name: find_rewrite(name) for name in names}
    model = ir.load(onnx_path)
    counts = {name: wanted[name](model) for name in rewrite_names() if name in wanted}
    path.parent.mkdir(parents=True, exist_ok=True)
    ir.save(model, path)
    return counts
