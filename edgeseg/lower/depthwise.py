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

STEM_CHANNELS = 4  # largest number of channels of an image
LARGEST_KERNEL = 5  # size for which runtimes have depthwise kernels


@as_rewrite("box-by-depthwise")
def box_by_depthwise(model: ir.Model) -> int:
    """Write average pooling that counts its padding as a depthwise convolution of equal weights.

    Only poolings that `merge_parallel` can merge with a convolution are rewritten: on its own a
    pooling is faster than a convolution.

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
    """Whether `merge_parallel` can merge the pooling with a convolution of the same map.

    The two are added directly, or after the map itself or other poolings of it, which merge too.
    """
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

    Depthwise kernels of different sizes or dilations are added about their common centre if the
    sum spans at most 5x5 pixels, and at most twice as many pixels as both kernels have weights.
    The sum of a map and its convolution becomes a convolution whose weight at the centre is larger
    by one.

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
    """Weight of x + conv x; None if the map changes its size or the kernel has no centre."""
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
    """Drop every other pixel before a convolution of stride 2 and even dilation.

    Such a convolution reads only even rows and columns: on these it is a convolution of stride 1
    and half the dilation. A 1x1 convolution before it then computes only these pixels. TFLite has
    no convolution with both stride and dilation, and would compute four times as much.

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
    """Merge a 1x1 convolution of an image and the depthwise one after it into a dense convolution.

    K_o (p_o . x) = (K_o p_o) x. The arithmetic grows from 12 to 27 products a pixel for three
    colours and a 3x3 kernel, so that only images of up to four channels are rewritten; but the map
    between the two, which is as large as the image, is never written. If the second convolution
    pads, the first must have no bias, which would not be zero outside the map.

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
    """Write a concatenation of depthwise convolutions as a sum of convolutions of all channels.

    [D_1 x_1; ...; D_n x_n] = sum over kernels k of D'_k [x_1; ...; x_n], where D'_k has the weights
    of the parts with a kernel of that size, dilation and stride, and zeros for the other parts. It
    is more arithmetic, but vectors of channels are full and nothing is copied, as runtimes add
    within the convolutions. The parts may be sums, also running sums.

    Returns:
        How many concatenations were rewritten.
    """
    return _convolve_after(model, _concatenation)


@as_rewrite("depthwise-of-copies", layout="channels-last")
def depthwise_of_copies(model: ir.Model) -> int:
    """Like `depthwise_after_concat`, if all parts convolve the same 1x1 convolution of a map.

    The 1x1 convolution then computes its channels once for each part. OpenVINO copies slowly and
    gains a little; other runtimes lose by the additional arithmetic.

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
    """The depthwise convolutions of one map that are added up to a value; None for other values."""
    terms = []
    for part in summands(value, also_shared=True):
        found = convolution_of(part)
        if found is None or not found.is_depthwise or found.weight[0].size == 1:
            return None
        terms.append(found)
    return terms if len({term.source for term in terms}) == 1 else None


def _concatenation(edit: Editor, sources: list[Any]) -> Any | None:
    """The concatenation of different maps."""
    return edit("Concat", *sources, axis=1) if len(set(sources)) == len(sources) else None


def _copies(edit: Editor, sources: list[Any]) -> Any | None:
    """A map repeated for each part, if a 1x1 convolution computes it."""
    first = pointwise_of(sources[0])
    if len(set(sources)) > 1 or first is None:
        return None
    copies = len(sources)
    return edit.convolution(
        first.source, np.tile(first.weight, (copies, 1, 1, 1)), np.tile(first.bias, copies)
    )
