"""Rewrites of 1x1 convolutions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..formats.onnx import input_of
from .graph import (
    Convolution,
    Editor,
    channels_of,
    concatenated,
    convolution_of,
    is_read_once,
    pointwise_of,
    replace_value,
    rewrite_each,
    size_of,
    summands,
    tidy,
)
from .resize import resizing_of
from .rewrite import as_rewrite

if TYPE_CHECKING:
    import onnx_ir as ir

THIN_CHANNELS = 4
LEAST_PIXELS = 64  # of a map; a matrix product does not pay for smaller ones
DENSE_CHANNELS = 64  # with at most 64, a dense product is as cheap as the groups one by one


@as_rewrite("dense-pointwise", layout="channels-last")
def dense_pointwise(model: ir.Model) -> int:
    """Write grouped 1x1 convolutions of few channels as dense ones.

    Runtimes have fast kernels for dense and for depthwise convolutions, but not for a few groups.
    The dense matrix has zeros outside the groups.

    Returns:
        How many convolutions were rewritten.
    """

    def rewrite(edit: Editor, node: ir.Node) -> ir.Value | None:
        found = convolution_of(node.outputs[0])
        if found is None or not found.is_pointwise or found.group == 1:
            return None
        weight = found.dense_weight()
        if max(weight.shape[:2]) > DENSE_CHANNELS:
            return None
        return edit.convolution(found.source, weight, found.bias)

    return rewrite_each(model, rewrite)


@as_rewrite("merge-pointwise")
def merge_pointwise(model: ir.Model) -> int:
    """Merge a 1x1 convolution into the convolution before it, if that is no more work.

    W2 (W1 x + b1) + b2 = (W2 W1) x + (W2 b1 + b2). The first convolution must be read by the second
    only, and have at least as many outputs.

    Returns:
        How many pairs were merged.
    """

    def rewrite(edit: Editor, node: ir.Node) -> ir.Value | None:
        second = pointwise_of(node.outputs[0])
        if second is None:
            return None
        first = convolution_of(second.source)
        if first is None or first.group != 1 or not is_read_once(second.source):
            return None
        matrix = second.weight[:, :, 0, 0]
        if matrix.shape[0] > matrix.shape[1]:
            return None
        weight = np.einsum("oi,ijhw->ojhw", matrix, first.weight)
        return edit.convolution(
            first.source, weight, matrix @ first.bias + second.bias, **first.attributes
        )

    return rewrite_each(model, rewrite)


@as_rewrite("concat-by-sum")
def concat_by_sum(model: ir.Model) -> int:
    """Write a 1x1 convolution of a concatenation as the sum of convolutions of its parts.

    W [a; b] = W_a a + W_b b. Nothing is copied, runtimes add within the convolutions, and a resized
    part can be convolved before it is resized (`pointwise_before_resize`). Convolutions that add
    channels stay as they are: adding many channels would take longer than copying few.

    Returns:
        How many convolutions were rewritten.
    """

    def rewrite(edit: Editor, node: ir.Node) -> ir.Value | None:
        found = pointwise_of(node.outputs[0])
        if found is None:
            return None
        parts = concatenated(found.source)
        if parts is None or not is_read_once(found.source):
            return None
        if found.adds_channels:
            return None
        sizes = [channels_of(part) for part in parts]
        if None in sizes:
            return None
        ends = np.cumsum([size or 0 for size in sizes])
        weights = np.split(found.weight, ends[:-1], axis=1)
        biases = [*[None] * (len(parts) - 1), found.bias]
        return edit.sum(map(edit.convolution, parts, weights, biases))

    return rewrite_each(model, rewrite)


@as_rewrite("pointwise-before-resize")
def pointwise_before_resize(model: ir.Model) -> int:
    """Apply a 1x1 convolution before an enlargement instead of after it, on fewer pixels.

    Interpolation treats all channels alike, and its weights sum to one: it commutes with a 1x1
    convolution, the bias included. Convolutions that add channels stay as they are.

    Returns:
        How many convolutions were moved.
    """

    def rewrite(edit: Editor, node: ir.Node) -> ir.Value | None:
        found = pointwise_of(node.outputs[0])
        if found is None:
            return None
        if found.adds_channels:
            return None
        resizing = resizing_of(found.source)
        if resizing is None or not is_read_once(found.source):
            return None
        pairs = zip(resizing.before, resizing.after, strict=True)
        if any(new < old for old, new in pairs):
            return None
        small = edit.convolution(resizing.source, found.weight, found.bias)
        inputs: list[ir.Value | NDArray[Any] | None] = list(resizing.node.inputs[1:])
        if len(inputs) > 2 and inputs[2] is not None:
            inputs[2] = np.array([1, len(found.weight), *resizing.after], np.int64)
        return edit("Resize", small, *inputs, **resizing.node.attributes)

    return rewrite_each(model, rewrite)


@as_rewrite("pointwise-by-product", layout="channels-first")
def pointwise_by_product(model: ir.Model) -> int:
    """Write 1x1 convolutions as matrix products W (O, I) x X (I, H W).

    ONNX Runtime computes convolutions in blocks of 16 channels, and copies maps into that layout
    and back; a matrix product takes maps in the layout that they have.

    Returns:
        How many convolutions were rewritten.
    """
    return _by_product(model, most_channels=None)


@as_rewrite("thin-pointwise-by-product", layout="channels-first")
def thin_pointwise_by_product(model: ir.Model) -> int:
    """Like `pointwise_by_product`, only for convolutions with up to four inputs or outputs.

    Other layers gain from blocks of channels; the head of one class does not.

    Returns:
        How many convolutions were rewritten.
    """
    return _by_product(model, most_channels=THIN_CHANNELS)


def _by_product(model: ir.Model, most_channels: int | None) -> int:
    def rewrite(edit: Editor, node: ir.Node) -> ir.Value | None:
        found = pointwise_of(node.outputs[0])
        if found is None:
            return None
        outputs, inputs = found.weight.shape[:2]
        if most_channels is not None and min(outputs, inputs) > most_channels:
            return None
        if channels_of(found.source) is None:
            return None
        height, width = size_of(found.source)
        if height * width < LEAST_PIXELS:
            return None
        matrix = found.weight[:, :, 0, 0].astype(np.float32)
        flat = edit("Reshape", found.source, np.array([1, inputs, height * width], np.int64))
        product = edit("MatMul", matrix, flat)
        if np.any(found.bias):
            product = edit("Add", product, found.bias.astype(np.float32)[None, :, None])
        return edit("Reshape", product, np.array([1, outputs, height, width], np.int64))

    return rewrite_each(model, rewrite)


@as_rewrite("split-by-pointwise")
def split_by_pointwise(model: ir.Model) -> int:
    """Compute each part of a split sum of 1x1 convolutions by itself.

    The rows of W that belong to a part compute that part alone. Nothing is copied, and runtimes add
    within the convolutions.

    Returns:
        How many splits were rewritten.
    """
    count = 0
    for node in list(model.graph):
        if node.op_type != "Split" or node.domain or node.attributes.get_int("axis", 0) != 1:
            continue
        terms = _pointwise_terms(input_of(node))
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


@as_rewrite("sum-into-pointwise")
def sum_into_pointwise(model: ir.Model) -> int:
    """Add the identity to a 1x1 convolution whose output is added to its input.

    x + (W x + b) = (W + 1) x + b, also if further terms are added.

    Returns:
        How many sums were rewritten.
    """

    def rewrite(edit: Editor, node: ir.Node) -> ir.Value | None:
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


def _pointwise_terms(value: ir.Value) -> list[Convolution] | None:
    """The 1x1 convolutions that are added up to a value, if nothing else reads it or them."""
    if not is_read_once(value):
        return None
    terms = []
    for term in summands(value, also_shared=False):
        found = pointwise_of(term)
        if found is None or not is_read_once(term):
            return None
        terms.append(found)
    return terms
