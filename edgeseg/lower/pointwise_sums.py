"""Sums of 1x1 convolutions that are split, or added to what they read."""

from __future__ import annotations

from typing import Any

import numpy as np

from .editing import (
    Convolution,
    Editor,
    channels_of,
    is_read_once,
    pointwise_of,
    replace_value,
    rewrite_each,
    summands,
)
from .patterns import tidy


def split_by_pointwise(model: Any) -> int:
    """Write the parts of a split sum of 1x1 convolutions as sums of their own.

    The rows of W that make a part make it alone. Nothing is copied, and runtimes add sums up inside
    the convolutions.

    Args:
        model: An `onnx_ir.Model`, changed in place.

    Returns:
        How many splits were rewritten.
    """
    count = 0
    for node in list(model.graph):
        if node.op_type != "Split" or node.domain or node.attributes.get_int("axis", 0) != 1:
            continue
        terms = _pointwise_terms(node.inputs[0])
        sizes = [channels_of(part) for part in node.outputs]
        if terms is None or None in sizes:
            continue
        channels = sum(size or 0 for size in sizes)
        if any(len(term.weight) != channels for term in terms):
            continue  # one of them is the same for all channels
        edit = Editor(model, node)
        start = 0
        for part, size in zip(node.outputs, sizes, strict=True):
            rows = slice(start, start + (size or 0))
            start = rows.stop
            products = [
                edit.convolution(term.source, term.weight[rows], term.bias[rows]) for term in terms
            ]
            replace_value(part, edit.sum(products))
        count += 1
    if count:
        tidy(model)
    return count


def sum_into_pointwise(model: Any) -> int:
    """Add the identity to a 1x1 convolution that is added to what it reads.

    x + (W x + b) = (W + 1) x + b, also where further terms are added.

    Args:
        model: An `onnx_ir.Model`, changed in place.

    Returns:
        How many sums were rewritten.
    """

    def rewrite(edit: Editor, node: Any) -> Any | None:
        if node.op_type != "Add":
            return None
        terms = list(summands(node.outputs[0], also_shared=False))
        for term in terms:
            found = pointwise_of(term)
            if found is None or not is_read_once(term) or found.source not in terms:
                continue
            outputs, inputs = found.weight.shape[:2]
            if outputs != inputs or channels_of(found.source) is None:
                continue
            terms.remove(term)
            terms.remove(found.source)
            weight = found.weight + np.eye(outputs)[:, :, None, None]
            return edit.sum([*terms, edit.convolution(found.source, weight, found.bias)])
        return None

    return rewrite_each(model, rewrite)


def _pointwise_terms(value: Any) -> list[Convolution] | None:
    """The 1x1 convolutions whose sum a value is, if nobody else reads that or one of them."""
    if not is_read_once(value):
        return None
    terms = []
    for term in summands(value, also_shared=False):
        found = pointwise_of(term)
        if found is None or not is_read_once(term):
            return None
        terms.append(found)
    return terms
