"""Operators that put several values together along axes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .translator import Rule, Translator

if TYPE_CHECKING:
    import onnx_ir as ir

Reduction = Callable[[Any, Any, list[int]], Any]

KINDS: dict[str, Reduction] = {
    "ReduceL1": lambda tf, x, axes: tf.reduce_sum(tf.abs(x), axes, keepdims=True),
    "ReduceL2": lambda tf, x, axes: tf.sqrt(tf.reduce_sum(x * x, axes, keepdims=True)),
    "ReduceLogSum": lambda tf, x, axes: tf.math.log(tf.reduce_sum(x, axes, keepdims=True)),
    "ReduceMax": lambda tf, x, axes: tf.reduce_max(x, axes, keepdims=True),
    "ReduceMean": lambda tf, x, axes: tf.reduce_mean(x, axes, keepdims=True),
    "ReduceMin": lambda tf, x, axes: tf.reduce_min(x, axes, keepdims=True),
    "ReduceProd": lambda tf, x, axes: tf.reduce_prod(x, axes, keepdims=True),
    "ReduceSum": lambda tf, x, axes: tf.reduce_sum(x, axes, keepdims=True),
    "ReduceSumSquare": lambda tf, x, axes: tf.reduce_sum(x * x, axes, keepdims=True),
}


def _log_sum_exp(tf: Any, x: Any, axes: list[int]) -> Any:
    most = tf.reduce_max(x, axes, keepdims=True)
    return most + tf.math.log(tf.reduce_sum(tf.exp(x - most), axes, keepdims=True))


def _reduction(function: Reduction) -> Rule:
    def rule(net: Translator, node: ir.Node) -> None:
        source = node.inputs[0]
        axes = net.attribute(node, "axes") or net.integers(node, 1)
        rank, last = net.rank(source), net.is_last(source)
        if not axes:
            if net.attribute(node, "noop_with_empty_axes", 0):
                net.give(node.outputs[0], net.held(source), last=last)
                return
            axes = list(range(rank))
        places = sorted(net.axis_of(axis, rank, last) for axis in axes)
        reduced = function(net.tf, net.held(source), places)
        _give_without(net, node, reduced, [axis % rank for axis in axes], last=last)

    return rule


def _give_without(
    net: Translator, node: ir.Node, reduced: Any, axes: list[int], *, last: bool
) -> None:
    """Give a reduced tensor that has its axes of size 1 still, in the layout of the source."""
    if net.attribute(node, "keepdims", 1):
        net.give(node.outputs[0], reduced, last=last)
        return
    rank = len(reduced.shape)
    if last:
        # Axes of size 1 move for nothing; the others only if the channels stay.
        reduced = net.turned(reduced, [0, rank - 1, *range(1, rank - 1)])
    kept = [int(size) for axis, size in enumerate(reduced.shape) if axis not in axes]
    net.give(node.outputs[0], net.tf.reshape(reduced, kept))


def _place(net: Translator, node: ir.Node) -> None:
    """ArgMax and ArgMin; the first of equals."""
    tf, source = net.tf, node.inputs[0]
    rank, last = net.rank(source), net.is_last(source)
    axis = net.attribute(node, "axis", 0)
    find = tf.argmax if node.op_type == "ArgMax" else tf.argmin
    place = net.axis_of(axis, rank, last)
    found = find(net.held(source), axis=place, output_type=tf.int32)
    _give_without(net, node, tf.expand_dims(found, place), [axis % rank], last=last)


def _softmax(net: Translator, node: ir.Node) -> None:
    """Softmax and LogSoftmax."""
    tf, source = net.tf, node.inputs[0]
    rank = net.rank(source)
    axis = net.attribute(node, "axis", -1) % rank
    # The kernel works along the last axis.
    last = rank > 2 and axis == 1
    x = net.in_layout(source, last)
    place = net.axis_of(axis, rank, last)
    result = tf.nn.softmax(x, axis=place)
    if node.op_type == "LogSoftmax":
        result = tf.nn.log_softmax(x, axis=place)
    net.give(node.outputs[0], result, last=last)


def _running_sum(net: Translator, node: ir.Node) -> None:
    """CumSum."""
    source = node.inputs[0]
    (axis,) = net.integers(node, 1)
    last = net.is_last(source)
    result = net.tf.cumsum(
        net.held(source),
        axis=net.axis_of(axis, net.rank(source), last),
        exclusive=bool(net.attribute(node, "exclusive", 0)),
        reverse=bool(net.attribute(node, "reverse", 0)),
    )
    net.give(node.outputs[0], result, last=last)


def _largest(net: Translator, node: ir.Node) -> None:
    """TopK."""
    source = node.inputs[0]
    rank = net.rank(source)
    axis = net.attribute(node, "axis", -1) % rank
    (count,) = net.integers(node, 1)
    order = [*(one for one in range(rank) if one != axis), axis]
    back = [order.index(one) for one in range(rank)]
    x = net.turned(net.plain(source), order)
    sign = 1 if net.attribute(node, "largest", 1) else -1
    values, places = net.tf.math.top_k(x if sign == 1 else -x, count)
    net.give(node.outputs[0], net.turned(values if sign == 1 else -values, back))
    net.give(node.outputs[1], net.turned(places, back))


RULES: dict[str, Rule] = {
    **{kind: _reduction(function) for kind, function in KINDS.items()},
    "ArgMax": _place,
    "ArgMin": _place,
    "CumSum": _running_sum,
    "LogSoftmax": _softmax,
    "ReduceLogSumExp": _reduction(_log_sum_exp),
    "Softmax": _softmax,
    "TopK": _largest,
}
