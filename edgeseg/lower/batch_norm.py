"""BatchNorm that no single convolution precedes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..onnx_graph import constant_of, is_constant
from .editing import Editor, convolution_of, made_by, only_reader, rewrite_each, summands

DEFAULT_EPSILON = 1e-5  # of ONNX's BatchNormalization


def batch_norm_into_sum(model: Any) -> int:
    """Fold a BatchNorm into the convolutions whose sum it normalises.

    s (a + b) + t = s a + (s b + t): each convolution's outputs are scaled, one bias takes the
    shift. Exporters fold a BatchNorm that follows one convolution; a sum stops them.

    Args:
        model: An `onnx_ir.Model`, changed in place.

    Returns:
        How many layers were folded.
    """

    def rewrite(edit: Editor, node: Any) -> Any | None:
        if node.op_type != "BatchNormalization" or not all(map(is_constant, node.inputs[1:])):
            return None
        if only_reader(node.inputs[0]) is None:
            return None
        parts = list(summands(node.inputs[0]))
        found = [convolution_of(part) for part in parts]
        if any(only_reader(part) is None for part in parts):
            return None
        scale, shift = _affine(node)
        total = None
        for index, part in enumerate(found):
            if part is None:
                return None
            bias = part.bias * scale
            if index == 0:
                bias = bias + shift
            weight = part.weight * scale[:, None, None, None]
            scaled = edit.convolution(part.source, weight, bias, **part.attributes)
            total = scaled if total is None else edit("Add", total, scaled)
        return total

    return rewrite_each(model, rewrite)


def batch_norm_into_next(model: Any) -> int:
    """Fold a BatchNorm into the 1x1 convolution behind it: W (s x + t) + b = (W s) x + (W t + b).

    Args:
        model: An `onnx_ir.Model`, changed in place.

    Returns:
        How many layers were folded.
    """

    def rewrite(edit: Editor, node: Any) -> Any | None:
        found = convolution_of(node.outputs[0])
        if found is None or not found.is_pointwise or found.group != 1:
            return None
        norm = made_by(found.source, "BatchNormalization")
        if norm is None or not all(map(is_constant, norm.inputs[1:])):
            return None
        if only_reader(found.source) is None:
            return None
        scale, shift = _affine(norm)
        weight = found.weight * scale[None, :, None, None]
        bias = found.bias + found.weight[:, :, 0, 0] @ shift
        return edit.convolution(norm.inputs[0], weight, bias)

    return rewrite_each(model, rewrite)


def _affine(node: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(scale, shift), (C,) each, of a BatchNorm with constant statistics."""
    gain, offset, mean, variance = (
        constant_of(value).astype(np.float64) for value in node.inputs[1:]
    )
    scale = gain / np.sqrt(variance + node.attributes.get_float("epsilon", DEFAULT_EPSILON))
    return scale, offset - mean * scale
