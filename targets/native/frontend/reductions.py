"""Operators that reduce axes: sums, means, largest values and their places."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from ..expressions import Call, Expression, Load, Scalar, Tensor
from ..ir import ChannelSums, Nest, Statement
from .importer import Importer, Rule, axes_first, is_image, title_of

if TYPE_CHECKING:
    import onnx_ir as ir

Change: TypeAlias = Callable[[Expression], Expression]


def _same(value: Expression) -> Expression:
    return value


def _square(value: Expression) -> Expression:
    return Call("mul", (value, value))


def _called(function: str) -> Change:
    return lambda value: Call(function, (value,))


# What is done to the elements, how they are reduced, and what is done to the result.
KINDS: dict[str, tuple[Change, str, Change]] = {
    "Mean": (_same, "Mean", _same),
    "Sum": (_same, "Sum", _same),
    "Max": (_same, "Max", _same),
    "Min": (_called("neg"), "Max", _called("neg")),
    "L1": (_called("abs"), "Sum", _same),
    "L2": (_square, "Sum", _called("sqrt")),
    "SumSquare": (_square, "Sum", _same),
    "LogSum": (_same, "Sum", _called("log")),
}


def _axes(importer: Importer, node: ir.Node) -> tuple[int, ...]:
    rank = len(importer.shape(node.inputs[0]))
    given = importer.constant(node, 1)
    axes = given if given is not None else importer.attribute(node, "axes", range(rank))
    return tuple(sorted(int(axis) % rank for axis in axes))


def _reduce(importer: Importer, node: ir.Node) -> None:
    before, kind, after = KINDS[node.op_type.removeprefix("Reduce")]
    axes, shape = _axes(importer, node), importer.shape(node.inputs[0])
    source = _changed(importer, node, importer.tensor(node.inputs[0]), before)
    if is_image(shape) and axes == (2, 3):
        made = importer.new(f"{source.name}_by_channel", (source.channels, 1, 1))
        importer.add(ChannelSums(title_of(node), source, made, "max" if kind == "Max" else "mean"))
        if kind == "Sum":
            count = Scalar(float(source.pixels))
            made = _changed(importer, node, made, lambda mean: Call("mul", (mean, count)))
    else:
        made = over_channels(importer, node, axes_first(importer, node, source, shape, axes), kind)
    _give(importer, node, _changed(importer, node, made, after))


def _changed(importer: Importer, node: ir.Node, source: Tensor, change: Change) -> Tensor:
    expression = change(Load(source))
    if expression == Load(source):
        return source
    out = importer.new(f"{source.name}_changed", source.shape)
    importer.map(node, expression, out)
    return out


def _give(importer: Importer, node: ir.Node, made: Tensor) -> None:
    shape = importer.result(node).shape
    importer.tensors[node.outputs[0]] = importer.reshaped(node, made, shape)


def over_channels(importer: Importer, node: ir.Node, source: Tensor, kind: str) -> Tensor:
    """Sum, mean or largest of the channels at each pixel."""
    result = importer.new(f"{source.name}_reduced", (1, *source.shape[1:]))
    step = Nest(title_of(node), [])
    reduced = result if kind != "Mean" else importer.new(f"{result.name}_sum", result.shape)
    step.statements.append(
        Statement(reduced, Load(source), source.channels, "max" if kind == "Max" else "add")
    )
    if kind == "Mean":
        mean = Call("mul", (Load(reduced), Scalar(1.0 / source.channels)))
        step.statements.append(Statement(result, mean, 1))
    importer.add(step)
    return result


def _log_of_powers(importer: Importer, node: ir.Node) -> None:
    """ReduceLogSumExp: the largest is taken out, so that no power overflows."""
    shape = importer.shape(node.inputs[0])
    source = importer.tensor(node.inputs[0])
    moved = axes_first(importer, node, source, shape, _axes(importer, node))
    largest, total, out = (
        importer.new(f"{source.name}_{name}", (1, *moved.shape[1:]))
        for name in ("largest", "total", "log")
    )
    power = Call("exp", (Call("sub", (Load(moved), Load(largest))),))
    logarithm = Call("add", (Load(largest), Call("log", (Load(total),))))
    statements = [
        Statement(largest, Load(moved), moved.channels, "max", is_stored=False),
        Statement(total, power, moved.channels, "add", is_stored=False),
        Statement(out, logarithm, 1),
    ]
    importer.add(Nest(title_of(node), statements))
    _give(importer, node, out)


def _place_of_largest(importer: Importer, node: ir.Node) -> None:
    """ArgMax and ArgMin: the first place, as a float."""
    if importer.attribute(node, "select_last_index", 0):
        raise importer.refusal(node, "asks for the last of several largest values")
    shape = importer.shape(node.inputs[0])
    axis = int(importer.attribute(node, "axis", 0)) % len(shape)
    source = importer.tensor(node.inputs[0])
    moved = axes_first(importer, node, source, shape, (axis,))
    count = moved.channels
    value: Expression = Load(moved)
    if node.op_type == "ArgMin":
        value = Call("neg", (value,))
    places = np.arange(count, dtype=np.float32).reshape(-1, 1, 1)
    largest, first, out = (
        importer.new(f"{source.name}_{name}", (1, *moved.shape[1:]))
        for name in ("largest", "first", "place")
    )
    back = Call("neg", (Load(Tensor("places", places.shape, places)),))
    there = Call("select", (Call("at_least", (value, Load(largest))), back, Scalar(-float(count))))
    statements = [
        Statement(largest, value, count, "max", is_stored=False),
        Statement(first, there, count, "max", is_stored=False),
        Statement(out, Call("neg", (Load(first),)), 1),
    ]
    importer.add(Nest(title_of(node), statements))
    _give(importer, node, out)


def _global_pool(importer: Importer, node: ir.Node) -> None:
    shape = importer.shape(node.inputs[0])
    source = importer.tensor(node.inputs[0])
    rows = math.prod(shape[:2])
    if not is_image(shape):
        source = importer.reshaped(node, source, (rows, 1, math.prod(shape[2:])))
    out = importer.new(f"{source.name}_by_channel", (rows, 1, 1))
    kind = "max" if node.op_type == "GlobalMaxPool" else "mean"
    importer.add(ChannelSums(title_of(node), source, out, kind))
    _give(importer, node, out)


REDUCTION_RULES: dict[str, Rule] = {
    **{f"Reduce{kind}": _reduce for kind in KINDS},
    "ReduceLogSumExp": _log_of_powers,
    **dict.fromkeys(("ArgMax", "ArgMin"), _place_of_largest),
    **dict.fromkeys(("GlobalAveragePool", "GlobalMaxPool"), _global_pool),
}
