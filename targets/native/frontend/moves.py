"""Operators that move elements and compute nothing, and matrix products."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..expressions import Call, Load, Tensor, image_shape
from ..ir import ChannelSlice, Concat, Gather, MatrixProduct
from .importer import Importer, Rule, title_of

if TYPE_CHECKING:
    import onnx_ir as ir


def _moved(importer: Importer, node: ir.Node, move: Callable[..., Any], fill: float = 0.0) -> None:
    """Let numpy move the numbers of the elements; -1 stands for `fill`."""
    shape = importer.shape(node.inputs[0])
    source = importer.tensor(node.inputs[0])
    order = np.arange(math.prod(shape), dtype=np.int32).reshape(shape)
    moved = np.ascontiguousarray(move(order), np.int32)
    wanted = importer.shape(node.outputs[0])
    assert moved.size == math.prod(wanted), (moved.shape, wanted)
    out = importer.result(node)
    if np.array_equal(moved.ravel(), order.ravel()):
        importer.tensors[node.outputs[0]] = importer.reshaped(node, source, out.shape)
        return
    importer.add(Gather(title_of(node), source, out, moved.ravel(), fill))


def _reshape(importer: Importer, node: ir.Node) -> None:
    source = importer.tensor(node.inputs[0])
    shape = importer.shape(node.outputs[0])
    wanted = image_shape(shape) or (1, 1, math.prod(shape))
    importer.tensors[node.outputs[0]] = importer.reshaped(node, source, wanted)


def _transpose(importer: Importer, node: ir.Node) -> None:
    axes = importer.attribute(node, "perm")
    _moved(importer, node, lambda order: order.transpose(axes))


def _expand(importer: Importer, node: ir.Node) -> None:
    shape = importer.shape(node.outputs[0])
    _moved(importer, node, lambda order: np.broadcast_to(order, shape))


def _tile(importer: Importer, node: ir.Node) -> None:
    repeats = importer.constant(node, 1)
    assert repeats is not None
    _moved(importer, node, lambda order: np.tile(order, repeats))


def _concat(importer: Importer, node: ir.Node) -> None:
    rank = len(importer.shape(node.outputs[0]))
    axis = int(importer.attribute(node, "axis")) % rank
    parts = [importer.tensor(value) for value in node.inputs]
    if rank == 4 and axis == 1:
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
        if len(shape) == 4 and axis == 1:
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
    if len(shape) == 4 and np.array_equal(taken, order[:, first : first + taken.shape[1]]):
        source = importer.tensor(node.inputs[0])
        importer.add(ChannelSlice(title_of(node), source, first, importer.result(node)))
        return
    _moved(importer, node, lambda _: taken)


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

    _moved(importer, node, move, 0.0 if value is None or not value.size else float(value.flat[0]))


def _depth_to_space(importer: Importer, node: ir.Node) -> None:
    size = int(importer.attribute(node, "blocksize"))
    is_crd = importer.attribute(node, "mode", "DCR") == "CRD"

    def move(order: NDArray[np.int32]) -> NDArray[np.int32]:
        _, channels, height, width = order.shape
        each = channels // size**2
        if is_crd:
            blocks = order.reshape(1, each, size, size, height, width).transpose(0, 1, 4, 2, 5, 3)
        else:
            blocks = order.reshape(1, size, size, each, height, width).transpose(0, 3, 4, 1, 5, 2)
        return blocks.reshape(1, each, height * size, width * size)

    _moved(importer, node, move)


def _space_to_depth(importer: Importer, node: ir.Node) -> None:
    size = int(importer.attribute(node, "blocksize"))

    def move(order: NDArray[np.int32]) -> NDArray[np.int32]:
        _, channels, height, width = order.shape
        blocks = order.reshape(1, channels, height // size, size, width // size, size)
        return blocks.transpose(0, 3, 5, 1, 2, 4).reshape(
            1, channels * size**2, height // size, width // size
        )

    _moved(importer, node, move)


def _gather(importer: Importer, node: ir.Node) -> None:
    indices = importer.constant(node, 1)
    assert indices is not None
    axis = int(importer.attribute(node, "axis", 0))
    _moved(importer, node, lambda order: np.take(order, indices, axis))


def _product(importer: Importer, node: ir.Node) -> None:
    """Matrices in the last two axes; a batch is an axis before, which the right one may lack."""
    left, right = (importer.tensor(value) for value in node.inputs)
    shapes = [importer.shape(value) for value in node.inputs]
    rows, inner = shapes[0][-2:]
    columns = shapes[1][-1]
    batch = math.prod(shapes[0][:-2])
    others = math.prod(shapes[1][:-2])
    if others not in (1, batch):
        raise importer.refusal(node, f"multiplies {shapes[0]} by {shapes[1]}")
    out = importer.result(node)
    made = importer.new(f"{out.name}_product", (batch, rows, columns))
    sides = (
        importer.reshaped(node, left, (batch, rows, inner)),
        importer.reshaped(node, right, (others, inner, columns)),
    )
    importer.add(MatrixProduct(title_of(node), *sides, made))
    importer.tensors[node.outputs[0]] = importer.reshaped(node, made, out.shape)


def _gemm(importer: Importer, node: ir.Node) -> None:
    factors = [importer.attribute(node, name, 1.0) for name in ("alpha", "beta")]
    if factors != [1.0, 1.0]:
        raise importer.refusal(node, f"has the factors {factors}")
    sides: list[Tensor] = []
    for index, name in enumerate(("transA", "transB")):
        tensor, shape = importer.tensor(node.inputs[index]), importer.shape(node.inputs[index])
        sides.append(importer.reshaped(node, tensor, (1, shape[0], shape[1])))
        if importer.attribute(node, name, 0):
            order = np.arange(math.prod(shape), dtype=np.int32).reshape(shape).T
            turned = importer.new(f"{tensor.name}_turned", (1, shape[1], shape[0]))
            importer.add(Gather(title_of(node), sides.pop(), turned, order.ravel()))
            sides.append(turned)
    shape = importer.shape(node.outputs[0])
    made = importer.new("product", (1, shape[0], shape[1]))
    importer.add(MatrixProduct(title_of(node), sides[0], sides[1], made))
    if len(node.inputs) > 2:
        importer.map(node, Call("add", (Load(made), importer.operand(node.inputs[2], shape, node))))
    else:
        importer.tensors[node.outputs[0]] = made


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
    "Gather": _gather,
    "MatMul": _product,
    "Gemm": _gemm,
}
