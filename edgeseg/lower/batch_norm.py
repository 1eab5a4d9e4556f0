"""Folding of BatchNorm layers that the exporter leaves in the graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..formats.onnx import constant_of, input_of, is_constant
from .graph import (
    Editor,
    convolution_of,
    is_read_once,
    made_by,
    pointwise_of,
    rewrite_each,
    summands,
)
from .rewrite import as_rewrite

if TYPE_CHECKING:
    import onnx_ir as ir

DEFAULT_EPSILON = 1e-5  # of ONNX's BatchNormalization


@as_rewrite("batch-norm-into-sum")
def batch_norm_into_sum(model: ir.Model) -> int:
    """Fold a BatchNorm into the convolutions whose sum it normalises.

    s (a + b) + t = s a + (s b + t): the outputs of each convolution are scaled, and one bias takes
    the shift. Exporters fold a BatchNorm after a single convolution, but not after a sum.

    Returns:
        How many layers were folded.
    """

    def rewrite(edit: Editor, node: ir.Node) -> ir.Value | None:
        norm = fixed_batch_norm_of(node.outputs[0])
        if norm is None or not is_read_once(norm.source):
            return None
        parts = list(summands(norm.source, also_shared=False))
        found = [convolution_of(part) for part in parts if is_read_once(part)]
        sums = [part for part in found if part is not None and len(part.weight) == norm.scale.size]
        if len(sums) < len(parts):
            return None
        scaled: list[Any] = []
        for part in sums:
            bias = part.bias * norm.scale + (0 if scaled else norm.shift)
            weight = part.weight * norm.scale[:, None, None, None]
            scaled.append(edit.convolution(part.source, weight, bias, **part.attributes))
        return edit.sum(scaled)

    return rewrite_each(model, rewrite)


@as_rewrite("batch-norm-into-next")
def batch_norm_into_next(model: ir.Model) -> int:
    """Fold a BatchNorm into the 1x1 convolution after it: W (s x + t) + b = (W s) x + (W t + b).

    Returns:
        How many layers were folded.
    """

    def rewrite(edit: Editor, node: ir.Node) -> ir.Value | None:
        found = pointwise_of(node.outputs[0])
        if found is None:
            return None
        norm = fixed_batch_norm_of(found.source)
        if norm is None or not is_read_once(found.source):
            return None
        weight = found.weight * norm.scale[None, :, None, None]
        bias = found.bias + found.weight[:, :, 0, 0] @ norm.shift
        return edit.convolution(norm.source, weight, bias)

    return rewrite_each(model, rewrite)


@dataclass(frozen=True)
class FixedBatchNorm:
    """y = scale x + shift by channel.

    Attributes:
        source: x.
        scale, shift: (C,), float64.
    """

    source: ir.Value
    scale: NDArray[np.float64]
    shift: NDArray[np.float64]


def fixed_batch_norm_of(value: ir.Value | None) -> FixedBatchNorm | None:
    """The BatchNorm with constant statistics that computes a value, or None."""
    node = made_by(value, "BatchNormalization")
    if node is None or not all(map(is_constant, node.inputs[1:])):
        return None
    if node.attributes.get_int("training_mode", 0):
        return None
    gain, offset, mean, variance = (
        constant_of(item).astype(np.float64) for item in node.inputs[1:]
    )
    scale = gain / np.sqrt(variance + node.attributes.get_float("epsilon", DEFAULT_EPSILON))
    return FixedBatchNorm(input_of(node), scale, offset - mean * scale)
