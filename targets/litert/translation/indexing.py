"""Operators that look values up at computed places, and put them there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeseg.formats.onnx import constant_of, is_constant

from .moves import is_zero
from .translator import Rule, Translator, narrowed

if TYPE_CHECKING:
    import onnx_ir as ir


def _places(net: Translator, value: ir.Value | None, size: int | NDArray[Any]) -> Any:
    """Indices without negative ones, which count from the end.

    Args:
        size: Of the axis; one number for each place of the indices' last axis if there are several.
    """
    size = np.asarray(size, np.int32)
    if is_constant(value):
        content = narrowed(constant_of(value))
        return net.tf.constant(np.where(content < 0, content + size, content).astype(np.int32))
    found = net.plain(value)
    return net.tf.where(found < 0, found + size, found)


def _gather(net: Translator, node: ir.Node) -> None:
    source, wanted = node.inputs[0], node.inputs[1]
    shape = net.shape(source)
    axis = net.attribute(node, "axis", 0) % len(shape)
    # With one index or a list, the other axes stay where they are.
    last = net.is_last(source) and net.rank(wanted) == 1
    places = _places(net, wanted, shape[axis])
    place = net.axis_of(axis, len(shape), last)
    net.give(
        node.outputs[0], net.tf.gather(net.in_layout(source, last), places, axis=place), last=last
    )


def _flat_places(net: Translator, node: ir.Node, places: ir.Value | None) -> Any:
    """Where in the flat input an operator with one index an element reads or writes."""
    shape, size = net.shape(node.inputs[0]), net.shape(places)
    axis = net.attribute(node, "axis", 0) % len(shape)
    steps = np.cumprod([1, *shape[:0:-1]])[::-1]
    own = np.indices(size, dtype=np.int64)
    base = sum(own[one] * steps[one] for one in range(len(shape)) if one != axis)
    base = np.broadcast_to(np.asarray(base, np.int32), size)
    return base + _places(net, places, shape[axis]) * np.int32(steps[axis])


def _gather_elements(net: Translator, node: ir.Node) -> None:
    places = _flat_places(net, node, node.inputs[1])
    flat = net.tf.reshape(net.plain(node.inputs[0]), [-1])
    net.give(node.outputs[0], net.tf.gather(flat, places))


def _scatter_elements(net: Translator, node: ir.Node) -> None:
    places = _flat_places(net, node, node.inputs[1])
    count = int(np.prod(net.shape(node.inputs[2])))
    flat = net.tf.reshape(places, [count, 1])
    updates = net.tf.reshape(net.plain(node.inputs[2]), [count])
    size = [int(np.prod(net.shape(node.inputs[0])))]
    _give_scattered(net, node, flat, updates, size)


def _gather_nd(net: Translator, node: ir.Node) -> None:
    outer = net.attribute(node, "batch_dims", 0)
    depth = net.shape(node.inputs[1])[-1]
    sizes = np.array(net.shape(node.inputs[0])[outer : outer + depth])
    places = _places(net, node.inputs[1], sizes)
    result = net.tf.gather_nd(net.plain(node.inputs[0]), places, batch_dims=outer)
    net.give(node.outputs[0], result)


def _scatter_nd(net: Translator, node: ir.Node) -> None:
    shape = net.shape(node.inputs[0])
    depth = net.shape(node.inputs[1])[-1]
    places = _places(net, node.inputs[1], np.array(shape[:depth]))
    updates = net.plain(node.inputs[2])
    # One list of places, each for a flat rest.
    sizes, rest = list(shape[:depth]), int(np.prod(shape[depth:]))
    count = int(np.prod(places.shape[:-1]))
    flat = net.tf.reshape(places, [count, depth])
    _give_scattered(net, node, flat, net.tf.reshape(updates, [count, rest]), [*sizes, rest])


def _give_scattered(net: Translator, node: ir.Node, places: Any, updates: Any, size: Any) -> None:
    """Values at places of a tensor of zeros, over or added to the first input.

    Where a place comes twice, TFLite adds up, and ONNX lets the last one stay: the comparison
    with the graph tells.
    """
    tf, source, shape = net.tf, node.inputs[0], net.shape(node.outputs[0])
    reduction = net.attribute(node, "reduction", "none")
    if reduction not in ("none", "add"):
        raise net.refusal(f"puts values together by '{reduction}'")
    scattered = tf.reshape(tf.scatter_nd(places, updates, size), shape)
    if not is_zero(source):
        base = net.plain(source)
        if reduction == "add":
            scattered = base + scattered
        else:
            ones = tf.scatter_nd(places, tf.ones_like(updates), size)
            scattered = tf.where(tf.reshape(ones, shape) > 0, scattered, base)
    net.give(node.outputs[0], scattered)


def _one_hot(net: Translator, node: ir.Node) -> None:
    (depth,) = net.integers(node, 1)
    values = net.content(node, 2)
    assert values is not None
    places = net.plain(node.inputs[0])
    places = net.tf.cast(net.tf.where(places < 0, places + depth, places), net.tf.int32)
    off, on = narrowed(values)
    axis = net.attribute(node, "axis", -1)
    net.give(node.outputs[0], net.tf.one_hot(places, depth, on, off, axis=axis))


RULES: dict[str, Rule] = {
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "GatherND": _gather_nd,
    "OneHot": _one_hot,
    "ScatterElements": _scatter_elements,
    "ScatterND": _scatter_nd,
}
