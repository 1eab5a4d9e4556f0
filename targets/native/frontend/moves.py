"""Operators that move elements and compute nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..expressions import image_shape
from ..ir import ChannelSlice, Concat, Gather
from .importer import Importer, Rule, is_image, title_of

if TYPE_CHECKING:
    import onnx_ir as ir


def moved(importer: Importer, node: ir.Node, move: Callable[..., Any], fill: float = 0.0) -> None:
    """Let numpy move the numbers of the elements; -1 stands for `fill`."""
    shape = importer.shape(node.inputs[0])
    source = importer.tensor(node.inputs[0])
    order = np.arange(math.prod(shape), dtype=np.int32).reshape(shape)
    places = np.ascontiguousarray(move(order), np.int32)
    wanted = importer.shape(node.outputs[0])
    assert places.size == math.prod(wanted), (places.shape, wanted)
    out = importer.result(node)
    if np.array_equal(places.ravel(), order.ravel()):
        importer.tensors[node.outputs[0]] = importer.reshaped(node, source, out.shape)
        return
    importer.add(Gather(title_of(node), source, out, places.ravel(), fill))


def _reshape(importer: Importer, node: ir.Node) -> None:
    source = importer.tensor(node.inputs[0])
    shape = importer.shape(node.outputs[0])
    wanted = image_shape(shape) or (1, 1, math.prod(shape))
    importer.tensors[node.outputs[0]] = importer.reshaped(node, source, wanted)


def _transpose(importer: Importer, node: ir.Node) -> None:
    axes = importer.attribute(node, "perm")
    moved(importer, node, lambda order: order.transpose(axes))


def _expand(importer: Importer, node: ir.Node) -> None:
    shape = importer.shape(node.outputs[0])
    moved(importer, node, lambda order: np.broadcast_to(order, shape))


def _tile(importer: Importer, node: ir.Node) -> None:
    repeats = importer.constant(node, 1)
    assert repeats is not None
    moved(importer, node, lambda order: np.tile(order, repeats))


def _concat(importer: Importer, node: ir.Node) -> None:
    shape = importer.shape(node.outputs[0])
    axis = int(importer.attribute(node, "axis")) % len(shape)
    parts = [importer.tensor(value) for value in node.inputs]
    if is_image(shape) and axis == 1:
        importer.add(Concat(title_of(node), parts, importer.result(node)))
        return
    # One behind the other as single elements, and then to their places.
    flat = [importer.reshaped(node, part, (math.prod(part.shape), 1, 1)) for part in parts]
    total = sum(part.channels for part in flat)
    together = importer.new("together", (total, 1, 1))
    importer.add(Concat(title_of(node), flat, together))
    first, orders = 0, []
    for value, part in zip(node.inputs, flat, strict=True):
        order = np.arange(first, first + part.channels, dtype=np.int32)
        orders.append(order.reshape(importer.shape(value)))
        first += part.channels
    indices = np.concatenate(orders, axis)
    importer.add(Gather(title_of(node), together, importer.result(node), indices.ravel()))


def _split(importer: Importer, node: ir.Node) -> None:
    shape = importer.shape(node.inputs[0])
    axis = int(importer.attribute(node, "axis", 0)) % len(shape)
    source = importer.tensor(node.inputs[0])
    order = np.arange(math.prod(shape), dtype=np.int32).reshape(shape)
    first = 0
    for index, value in enumerate(node.outputs):
        size = importer.shape(value)[axis]
        out = importer.result(node, index)
        if is_image(shape) and axis == 1:
            importer.add(ChannelSlice(title_of(node), source, first, out))
        else:
            indices = np.take(order, range(first, first + size), axis)
            importer.add(Gather(title_of(node), source, out, indices.ravel()))
        first += size


def _slice(importer: Importer, node: ir.Node) -> None:
    shape = importer.shape(node.inputs[0])
    starts, ends, axes, steps = (importer.constant(node, index) for index in (1, 2, 3, 4))
    assert starts is not None
    assert ends is not None
    places = axes if axes is not None else range(len(starts))
    strides = steps if steps is not None else [1] * len(starts)
    cut = [slice(None)] * len(shape)
    for axis, start, end, step in zip(places, starts, ends, strides, strict=True):
        # ONNX cuts what lies outside, and an end before the first element is -size - 1 and less.
        last = int(end) if step > 0 or end >= -shape[axis] else None
        cut[int(axis) % len(shape)] = slice(int(start), last, int(step))
    order = np.arange(math.prod(shape), dtype=np.int32).reshape(shape)
    taken = order[tuple(cut)]
    first = int(taken.flat[0]) // math.prod(shape[2:])
    if is_image(shape) and np.array_equal(taken, order[:, first : first + taken.shape[1]]):
        source = importer.tensor(node.inputs[0])
        importer.add(ChannelSlice(title_of(node), source, first, importer.result(node)))
        return
    moved(importer, node, lambda _: taken)


def _pad(importer: Importer, node: ir.Node) -> None:
    pads, value, axes = (importer.constant(node, index) for index in (1, 2, 3))
    mode = importer.attribute(node, "mode", "constant")
    rank = len(importer.shape(node.inputs[0]))
    assert pads is not None
    named = [int(axis) % rank for axis in axes] if axes is not None else list(range(rank))
    widths = [(0, 0)] * rank
    for index, axis in enumerate(named):
        widths[axis] = (int(pads[index]), int(pads[index + len(named)]))
    inner = tuple(
        slice(max(0, -low), size - max(0, -high))
        for (low, high), size in zip(widths, importer.shape(node.inputs[0]), strict=True)
    )
    outer = [(max(0, low), max(0, high)) for low, high in widths]
    known = {"constant": "constant", "reflect": "reflect", "edge": "edge", "wrap": "wrap"}
    if mode not in known:
        raise importer.refusal(node, f"has the mode '{mode}'")
    extra = {"constant_values": -1} if mode == "constant" else {}

    def move(order: NDArray[np.int32]) -> NDArray[np.int32]:
        return np.pad(order[inner], outer, known[mode], **extra)  # type: ignore[call-overload,no-any-return]

    moved(importer, node, move, 0.0 if value is None or not value.size else float(value.flat[0]))


def _depth_to_space(importer: Importer, node: ir.Node) -> None:
    size = int(importer.attribute(node, "blocksize"))
    is_crd = importer.attribute(node, "mode", "DCR") == "CRD"

    def move(order: NDArray[np.int32]) -> NDArray[np.int32]:
        batch, channels, height, width = order.shape
        each = channels // size**2
        split = (each, size, size) if is_crd else (size, size, each)
        axes = (0, 1, 4, 2, 5, 3) if is_crd else (0, 3, 4, 1, 5, 2)
        blocks = order.reshape(batch, *split, height, width).transpose(axes)
        return blocks.reshape(batch, each, height * size, width * size)

    moved(importer, node, move)


def _space_to_depth(importer: Importer, node: ir.Node) -> None:
    size = int(importer.attribute(node, "blocksize"))

    def move(order: NDArray[np.int32]) -> NDArray[np.int32]:
        batch, channels, height, width = order.shape
        rows, columns = height // size, width // size
        blocks = order.reshape(batch, channels, rows, size, columns, size)
        return blocks.transpose(0, 3, 5, 1, 2, 4).reshape(batch, -1, rows, columns)

    moved(importer, node, move)


MOVE_RULES: dict[str, Rule] = {
    **dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze"), _reshape),
    "Transpose": _transpose,
    "Expand": _expand,
    "Tile": _tile,
    "Concat": _concat,
    "Split": _split,
    "Slice": _slice,
    "Pad": _pad,
    "DepthToSpace": _depth_to_space,
    "SpaceToDepth": _space_to_depth,
}
