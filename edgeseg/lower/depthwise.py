"""Rewrites of depthwise convolutions."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..formats.onnx import input_of
from .graph import (
    Convolution,
    Editor,
    both_ways,
    channels_of,
    concatenated,
    convolution_of,
    integers,
    is_read_once,
    made_by,
    maps_of_one_size,
    pointwise_of,
    rewrite_each,
    summands,
)
from .rewrite import as_rewrite

if TYPE_CHECKING:
    import onnx_ir as ir

STEM_CHANNELS = 4  # of an image
LARGEST_KERNEL = 5  # that runtimes have depthwise kernels for


@as_rewrite("box-by-depthwise")
def box_by_depthwise(model: ir.Model) -> int:
    """Write average pooling whose padding counts as a depthwise convolution with equal weights.

    Only where `merge_parallel` can make one of it and of a convolution that it is added to: alone
    runtimes average faster than they convolve.

    Returns:
        How many poolings were rewritten.
    """

    def rewrite(edit: Editor, node: ir.Node) -> ir.Value | None:
        if node.op_type != "AveragePool":
            return None
        channels = channels_of(node.inputs[0])
        if channels is None:
            return None
        height, width = integers(node, "kernel_shape", ())
        pads = integers(node, "pads", (0, 0, 0, 0))
        counts = node.attributes.get_int("count_include_pad", 0) == 1 or not any(pads)
        ceils = node.attributes.get_int("ceil_mode", 0) == 1
        auto_pad = node.attributes.get_string("auto_pad", "NOTSET")
        if not counts or ceils or auto_pad != "NOTSET" or max(height, width) > LARGEST_KERNEL:
            return None
        box = Convolution(
            source=input_of(node),
            weight=np.full((channels, 1, height, width), 1 / (height * width)),
            bias=np.zeros(channels),
            group=channels,
            strides=integers(node, "strides", (1, 1)),
            dilations=integers(node, "dilations", (1, 1)),
            pads=pads,
        )
        if not _is_merged(box, node.outputs[0]):
            return None
        return edit.convolution(box.source, box.weight, **box.attributes)

    return rewrite_each(model, rewrite)


def _is_merged(box: Convolution, result: ir.Value) -> bool:
    """Whether the result is added to a convolution of the same map that `merge_parallel` lays over
    it, at once or after the map itself or other boxes of it, which merge too."""
    while is_read_once(result):
        (reader, index) = next(iter(result.uses()))
        if reader.op_type != "Add":
            return False
        other = input_of(reader, 1 - index)
        beside = convolution_of(other)
        if beside is not None and beside.source is box.source:
            return is_read_once(other) and _laid_over(box, beside) is not None
        pooling = made_by(other, "AveragePool")
        is_pooled = pooling is not None and pooling.inputs[0] is box.source
        if other is not box.source and not is_pooled:
            return False
        result = reader.outputs[0]
    return False


@as_rewrite("merge-parallel")
def merge_parallel(model: ir.Model) -> int:
    """Write the sum of two convolutions of one map as one convolution.

    Depthwise kernels of other sizes or dilations are laid over each other about one centre, where
    they span at most 5x5 pixels and no more than twice as many as both have weights. The sum of a
    map and its convolution is a convolution too, with one added at the centre.

    Returns:
        How many sums were merged.
    """

    def rewrite(edit: Editor, node: ir.Node) -> ir.Value | None:
        if node.op_type != "Add":
            return None
        for one, other in both_ways(node):
            left, right = convolution_of(one), convolution_of(other)
            if left is None or not is_read_once(one):
                continue
            if left.source is other:
                weight = _with_identity(left)
                if weight is None:
                    continue
                return edit.convolution(left.source, weight, left.bias, **left.attributes)
            if right is None or not is_read_once(other) or right.source is not left.source:
                continue
            merged = _laid_over(left, right)
            if merged is not None:
                weight, attributes = merged
                return edit.convolution(left.source, weight, left.bias + right.bias, **attributes)
        return None

    return rewrite_each(model, rewrite)


def _with_identity(found: Convolution) -> NDArray[np.float64] | None:
    """Weight of x + conv x; None where the map changes its size or the kernel has no centre."""
    outputs, inputs, height, width = found.weight.shape
    spans = [size // 2 * step for size, step in zip((height, width), found.dilations, strict=True)]
    if (
        outputs != inputs * found.group
        or found.strides != (1, 1)
        or height % 2 == 0
        or width % 2 == 0
        or found.pads != (spans[0], spans[1], spans[0], spans[1])
    ):
        return None
    weight = found.weight.copy()
    for row in range(outputs):
        weight[row, row % inputs, height // 2, width // 2] += 1
    return weight


def _laid_over(
    left: Convolution, right: Convolution
) -> tuple[NDArray[np.float64], dict[str, Any]] | None:
    """Weight and attributes of the sum of two convolutions of one map."""
    if left.group != right.group or left.strides != right.strides:
        return None
    if left.weight.shape[:2] != right.weight.shape[:2]:
        return None
    same = (
        left.weight.shape == right.weight.shape
        and left.dilations == right.dilations
        and left.pads == right.pads
    )
    if same:
        return left.weight + right.weight, left.attributes
    reach = (max(left.reach[0], right.reach[0]), max(left.reach[1], right.reach[1]))
    area = left.weight[0, 0].size + right.weight[0, 0].size
    if not left.is_depthwise or max(reach) > LARGEST_KERNEL or reach[0] * reach[1] > 2 * area:
        return None
    total = np.zeros((*left.weight.shape[:2], *reach))
    pads: set[tuple[int, ...]] = set()
    for part in (left, right):
        margins = [(whole - own) // 2 for whole, own in zip(reach, part.reach, strict=True)]
        if any((whole - own) % 2 for whole, own in zip(reach, part.reach, strict=True)):
            return None
        rows = slice(margins[0], margins[0] + part.reach[0], part.dilations[0])
        columns = slice(margins[1], margins[1] + part.reach[1], part.dilations[1])
        total[:, :, rows, columns] += part.weight
        pads.add(tuple(pad + margins[index % 2] for index, pad in enumerate(part.pads)))
    if len(pads) != 1:
        return None
    attributes = {**left.attributes, "dilations": [1, 1], "pads": list(pads.pop())}
    return total, attributes


@as_rewrite("stride-before-dilation")
def stride_before_dilation(model: ir.Model) -> int:
    """Leave out every other pixel before a convolution of stride 2 and even dilation.

    Such a convolution reads even rows and columns only: it is one of stride 1 and half the
    dilation on those. Where a 1x1 convolution gives its input, that computes them alone. TFLite
    has no convolution with both stride and dilation, and computes four times as much.

    Returns:
        How many convolutions were rewritten.
    """

    def rewrite(edit: Editor, node: ir.Node) -> ir.Value | None:
        found = convolution_of(node.outputs[0])
        if found is None or found.strides != (2, 2):
            return None
        first = pointwise_of(found.source)
        even = all(step % 2 == 0 for step in (*found.dilations, *found.pads))
        if not even or first is None:
            return None
        pixels = edit.convolution(first.source, first.weight, first.bias, strides=[2, 2])
        halved = {
            "strides": [1, 1],
            "dilations": [step // 2 for step in found.dilations],
            "pads": [step // 2 for step in found.pads],
        }
        attributes = {**found.attributes, **halved}
        return edit.convolution(pixels, found.weight, found.bias, **attributes)

    return rewrite_each(model, rewrite)


@as_rewrite("dense-stem")
def dense_stem(model: ir.Model) -> int:
    """Write a 1x1 convolution of an image and the depthwise one behind it as one dense convolution.

    K_o (p_o . x) = (K_o p_o) x. It is more arithmetic, 27 products instead of 12 for each pixel of
    three colours and a 3x3 kernel, and done for up to four inputs only; but the map between, as
    large as the image, is never written. The 1x1 convolution must have no bias if the other pads:
    it would not be zero outside.

    Returns:
        How many pairs were merged.
    """

    def rewrite(edit: Editor, node: ir.Node) -> ir.Value | None:
        second = convolution_of(node.outputs[0])
        if second is None or not second.is_depthwise or len(second.weight) == 1:
            return None
        first = pointwise_of(second.source)
        if first is None or not is_read_once(second.source):
            return None
        if first.weight.shape[1] > STEM_CHANNELS:
            return None
        if np.any(first.bias) and any(second.pads):
            return None
        weight = second.weight * first.weight[:, :, 0, 0][:, :, None, None]
        bias = second.bias + first.bias * second.weight.sum(axis=(1, 2, 3))
        return edit.convolution(first.source, weight, bias, **{**second.attributes, "group": 1})

    return rewrite_each(model, rewrite)


@as_rewrite("depthwise-after-concat", layout="channels-last")
def depthwise_after_concat(model: ir.Model) -> int:
    """Write a concatenation of depthwise convolutions as a sum of such over all channels.

    [D_1 x_1; ...; D_n x_n] = sum over kernels k of D'_k [x_1; ...; x_n], D'_k with the weights of
    the parts that have a kernel of that size, dilation and stride, and zeros for the others. It is
    more arithmetic, but vectors of channels are full and nothing is copied: runtimes add sums up
    inside the convolutions. Parts may be sums, also running ones.

    Returns:
        How many concatenations were rewritten.
    """
    return _convolve_after(model, _concatenation)


@as_rewrite("depthwise-of-copies", layout="channels-last")
def depthwise_of_copies(model: ir.Model) -> int:
    """As `depthwise_after_concat`, where all parts convolve one 1x1 convolution of a map.

    That gives its channels once for each part then. OpenVINO, which copies slowly, gains a little
    by it; runtimes that do not lose by the arithmetic.

    Returns:
        How many concatenations were rewritten.
    """
    return _convolve_after(model, _copies)


def _convolve_after(model: ir.Model, join: Callable[[Editor, list[Any]], Any | None]) -> int:
    def rewrite(edit: Editor, node: ir.Node) -> ir.Value | None:
        parts = concatenated(node.outputs[0])
        if parts is None or len(parts) < 2:
            return None
        terms = [_terms(part) for part in parts]
        found = [term for part in terms if part is not None for term in part]
        if None in terms or not found:
            return None
        sources = [part[0].source for part in terms if part is not None]
        sizes = [len(part[0].weight) for part in terms if part is not None]
        if any(channels_of(source) != size for source, size in zip(sources, sizes, strict=True)):
            return None
        if not maps_of_one_size(sources):
            return None
        joined = join(edit, sources)
        if joined is None:
            return None
        products = []
        for kernel in dict.fromkeys(_kernel(term) for term in found):
            weight = np.zeros((sum(sizes), 1, *kernel[0]))
            bias = np.zeros(sum(sizes))
            for part, end in zip(terms, np.cumsum(sizes).tolist(), strict=True):
                for term in part or ():
                    if _kernel(term) == kernel:
                        weight[end - len(term.weight) : end] += term.weight
                        bias[end - len(term.weight) : end] += term.bias
            _, strides, dilations, pads = kernel
            product = edit.convolution(
                joined,
                weight,
                bias,
                group=len(weight),
                strides=list(strides),
                dilations=list(dilations),
                pads=list(pads),
            )
            products.append(product)
        return edit.sum(products)

    return rewrite_each(model, rewrite)


def _kernel(term: Convolution) -> tuple[tuple[int, int], Any, Any, Any]:
    height, width = term.weight.shape[2:]
    return (height, width), term.strides, term.dilations, term.pads


def _terms(value: ir.Value) -> list[Convolution] | None:
    """Depthwise convolutions of one map whose sum a value is; None if it is anything else."""
    terms = []
    for part in summands(value, also_shared=True):
        found = convolution_of(part)
        if found is None or not found.is_depthwise or found.weight[0].size == 1:
            return None
        terms.append(found)
    return terms if len({term.source for term in terms}) == 1 else None


def _concatenation(edit: Editor, sources: list[Any]) -> Any | None:
    """Different maps as one."""
    return edit("Concat", *sources, axis=1) if len(set(sources)) == len(sources) else None


def _copies(edit: Editor, sources: list[Any]) -> Any | None:
    """One map as often as it is there, if a 1x1 convolution gives it."""
    first = pointwise_of(sources[0])
    if len(set(sources)) > 1 or first is None:
        return None
    copies = len(sources)
    return edit.convolution(
        first.source, np.tile(first.weight, (copies, 1, 1, 1)), np.tile(first.bias, copies)
    )
