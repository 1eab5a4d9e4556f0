"""Operators that give values other axes, cut them, join them and repeat them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeseg.formats.onnx import is_constant

from .translator import Rule, Translator

if TYPE_CHECKING:
    import onnx_ir as ir


def _reshape(net: Translator, node: ir.Node) -> None:
    """Reshape, Flatten, Squeeze and Unsqueeze: the result's sizes say it all."""
    source, result = node.inputs[0], node.outputs[0]
    before, after = net.shape(source), net.shape(result)
    if net.is_last(source) and len(after) > 2 and before[:2] == after[:2]:
        # Pixels in rows, or one after the other: the channels stay where they are.
        wanted = (after[0], *after[2:], after[1])
        net.give(result, net.tf.reshape(net.held(source), wanted), last=True)
    else:
        net.give(result, net.tf.reshape(net.plain(source), after))


def _transpose(net: Translator, node: ir.Node) -> None:
    source, result = node.inputs[0], node.outputs[0]
    rank = net.rank(source)
    order = net.attribute(node, "perm") or list(reversed(range(rank)))
    # Where an axis of ONNX is in the tensor that is held.
    places = [net.axis_of(axis, rank, net.is_last(source)) for axis in order]
    if rank > 2 and [places[0], *places[2:], places[1]] == list(range(rank)):
        net.give(result, net.held(source), last=True)
    else:
        net.give(result, net.turned(net.held(source), places))


def cut(net: Translator, tensor: Any, places: Sequence[range]) -> Any:
    """What lies at some places of each axis of a tensor.

    Args:
        places: One range an axis, not empty; steps may be negative.
    """
    if all(item == range(size) for item, size in zip(places, tensor.shape, strict=True)):
        return tensor
    rising = [item if item.step > 0 else item[::-1] for item in places]
    # The last place may be before the end by less than a step.
    result = net.tf.strided_slice(
        tensor,
        [item[0] for item in rising],
        [item[-1] + 1 for item in rising],
        [item.step for item in rising],
    )
    backwards = [axis for axis, item in enumerate(places) if item.step < 0]
    return net.tf.reverse(result, backwards) if backwards else result


def _cut_axes(net: Translator, source: ir.Value | None, wanted: dict[int, range]) -> Any:
    """What lies at some places, by axis of ONNX, in the layout that the value is held in."""
    shape, last = net.shape(source), net.is_last(source)
    tensor = net.held(source)
    places = [range(int(size)) for size in tensor.shape]
    for axis, item in wanted.items():
        places[net.axis_of(axis, len(shape), last)] = item
    return cut(net, tensor, places)


def _slice(net: Translator, node: ir.Node) -> None:
    source = node.inputs[0]
    shape = net.shape(source)
    starts, ends = net.integers(node, 1), net.integers(node, 2)
    axes = net.integers(node, 3, range(len(starts)))
    steps = net.integers(node, 4, [1] * len(starts))
    wanted = {}
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        size = shape[axis]
        # In ONNX an end before the first place is -size - 1 or less, which is so in Python, too.
        wanted[axis % len(shape)] = range(*slice(start, end, step).indices(size))
    if not all(wanted.values()):
        raise net.refusal("takes nothing of its input")
    net.give(node.outputs[0], _cut_axes(net, source, wanted), last=net.is_last(source))


def _split(net: Translator, node: ir.Node) -> None:
    source = node.inputs[0]
    rank = net.rank(source)
    axis = net.attribute(node, "axis", 0) % rank
    first = 0
    for result in node.outputs:
        size = net.shape(result)[axis]
        part = _cut_axes(net, source, {axis: range(first, first + size)})
        net.give(result, part, last=net.is_last(source))
        first += size


def _concat(net: Translator, node: ir.Node) -> None:
    rank = net.rank(node.outputs[0])
    tensors, last = net.operands(node.inputs)
    axis = net.axis_of(net.attribute(node, "axis"), rank, last)
    net.give(node.outputs[0], net.tf.concat(tensors, axis), last=last)


def _pad(net: Translator, node: ir.Node) -> None:
    source = node.inputs[0]
    rank, last = net.rank(source), net.is_last(source)
    widths = net.integers(node, 1)
    axes = net.integers(node, 3, range(rank))
    mode = net.attribute(node, "mode", "constant")
    value = net.content(node, 2)
    pairs = [(0, 0)] * rank
    for index, axis in enumerate(axes):
        place = net.axis_of(axis, rank, last)
        pairs[place] = (widths[index], widths[index + len(axes)])
    tensor = net.held(source)
    crops = [
        range(max(-before, 0), int(size) - max(-after, 0))
        for size, (before, after) in zip(tensor.shape, pairs, strict=True)
    ]
    tensor = cut(net, tensor, crops)
    pairs = [(max(before, 0), max(after, 0)) for before, after in pairs]
    number = 0.0 if value is None else float(value.ravel()[0])
    net.give(node.outputs[0], pad(net, tensor, pairs, mode=mode, number=number), last=last)


def pad(
    net: Translator,
    tensor: Any,
    pairs: Sequence[tuple[int, int]],
    *,
    mode: str = "constant",
    number: float = 0.0,
) -> Any:
    """A tensor with more before and after it.

    Args:
        pairs: How much, one pair an axis.
        mode: As ONNX has it: "constant", "edge", "reflect" or "wrap".
        number: Of mode "constant".
    """
    if not any(map(any, pairs)):
        return tensor
    if mode == "constant" and number == 0:
        return net.tf.pad(tensor, list(pairs))
    if mode == "constant":
        return net.tf.pad(tensor, list(pairs), constant_values=net.tf.cast(number, tensor.dtype))
    for axis, pair in enumerate(pairs):
        if any(pair):
            places = np.pad(np.arange(int(tensor.shape[axis]), dtype=np.int32), pair, mode=mode)  # type: ignore[call-overload]
            tensor = net.tf.gather(tensor, places, axis=axis)
    return tensor


def _expand(net: Translator, node: ir.Node) -> None:
    source, result = node.inputs[0], node.outputs[0]
    shape = net.shape(result)
    last = net.is_last(source) and net.rank(source) == len(shape)
    if last:
        shape = (shape[0], *shape[2:], shape[1])
    tensor = net.in_layout(source, last)
    if tensor.dtype == net.tf.bool:
        # There is no kernel that repeats truth values.
        tensor = net.tf.broadcast_to(net.tf.cast(tensor, net.tf.int32), shape)
        tensor = net.tf.not_equal(tensor, 0)
    else:
        tensor = net.tf.broadcast_to(tensor, shape)
    net.give(result, tensor, last=last)


def _tile(net: Translator, node: ir.Node) -> None:
    source, result = node.inputs[0], node.outputs[0]
    last = net.is_last(source)
    pairs = zip(net.shape(source), net.shape(result), strict=True)
    times = [after // before for before, after in pairs]
    if last:
        times = [times[0], *times[2:], times[1]]
    net.give(result, net.tf.tile(net.held(source), times), last=last)


def _depth_to_space(net: Translator, node: ir.Node) -> None:
    source = node.inputs[0]
    size = net.attribute(node, "blocksize")
    tensor = net.last(source)
    if net.attribute(node, "mode", "DCR") == "CRD":
        channels = net.shape(source)[1]
        order = np.arange(channels, dtype=np.int32).reshape(-1, size * size).T.ravel()
        tensor = net.tf.gather(tensor, order, axis=-1)
    net.give(node.outputs[0], net.tf.nn.depth_to_space(tensor, size), last=True)


def _space_to_depth(net: Translator, node: ir.Node) -> None:
    size = net.attribute(node, "blocksize")
    tensor = net.tf.nn.space_to_depth(net.last(node.inputs[0]), size)
    net.give(node.outputs[0], tensor, last=True)


def _trilu(net: Translator, node: ir.Node) -> None:
    source = node.inputs[0]
    offset = net.integers(node, 1, [0])[0]
    keeps_upper = net.attribute(node, "upper", 1)
    square = np.ones(net.shape(source)[-2:], np.float32)
    mask = np.triu(square, offset) if keeps_upper else np.tril(square, offset)
    tensor = net.plain(source)
    net.give(node.outputs[0], tensor * net.tf.cast(mask, tensor.dtype))


def is_zero(value: ir.Value | None) -> bool:
    """Whether a value is a constant of zeros."""
    return value is not None and is_constant(value) and not value.const_value.numpy().any()  # type: ignore[union-attr]


RULES: dict[str, Rule] = {
    "Concat": _concat,
    "DepthToSpace": _depth_to_space,
    "Expand": _expand,
    "Flatten": _reshape,
    "Pad": _pad,
    "Reshape": _reshape,
    "Slice": _slice,
    "SpaceToDepth": _space_to_depth,
    "Split": _split,
    "Squeeze": _reshape,
    "Tile": _tile,
    "Transpose": _transpose,
    "Trilu": _trilu,
    "Unsqueeze": _reshape,
}
