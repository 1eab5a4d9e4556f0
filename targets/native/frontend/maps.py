"""Operators that compute element by element, over channels or over the pixels of a channel."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from ..expressions import Call, Expression, Floats, Load, Scalar, Tensor
from ..ir import ChannelSums, Gather, GroupScale, Nest, Statement
from .importer import Importer, Rule, title_of

if TYPE_CHECKING:
    import onnx_ir as ir

UNARY = {
    "Abs": "abs",
    "Exp": "exp",
    "Erf": "erf",
    "Neg": "neg",
    "Reciprocal": "reciprocal",
    "Relu": "relu",
    "Sigmoid": "sigmoid",
    "Sqrt": "sqrt",
    "Tanh": "tanh",
    "Softplus": "softplus",
    "Mish": "mish",
    "HardSwish": "hard_swish",
    "Log": "log",
}
BINARY = {"Add": "add", "Sub": "sub", "Mul": "mul", "Div": "div"}
MANY = {"Sum": "add", "Max": "max", "Min": "min"}


def _unary(importer: Importer, node: ir.Node) -> None:
    importer.call(node, UNARY[node.op_type], _operands(importer, node)[0])


def _binary(importer: Importer, node: ir.Node) -> None:
    importer.call(node, BINARY[node.op_type], *_operands(importer, node))


def _many(importer: Importer, node: ir.Node) -> None:
    first, *others = _operands(importer, node)
    for other in others:
        first = Call(MANY[node.op_type], (first, other))
    importer.map(node, first)


def _operands(importer: Importer, node: ir.Node) -> list[Expression]:
    shape = importer.shape(node.outputs[0])
    return [importer.operand(value, shape, node) for value in node.inputs if value is not None]


def _identity(importer: Importer, node: ir.Node) -> None:
    importer.tensors[node.outputs[0]] = importer.tensor(node.inputs[0])


def _gelu(importer: Importer, node: ir.Node) -> None:
    is_tanh = importer.attribute(node, "approximate", "none") == "tanh"
    importer.call(node, "gelu_tanh" if is_tanh else "gelu", _operands(importer, node)[0])


def _clip(importer: Importer, node: ir.Node) -> None:
    value = _operands(importer, node)[0]
    for index, function in ((1, "max"), (2, "min")):
        limit = importer.constant(node, index)
        if limit is not None:
            value = Call(function, (value, Scalar(float(limit))))
    importer.map(node, value)


def _leaky_relu(importer: Importer, node: ir.Node) -> None:
    slope = Scalar(float(importer.attribute(node, "alpha", 0.01)))
    importer.call(node, "prelu", _operands(importer, node)[0], slope)


def _prelu(importer: Importer, node: ir.Node) -> None:
    importer.call(node, "prelu", *_operands(importer, node))


def _elu(importer: Importer, node: ir.Node) -> None:
    alpha = Scalar(float(importer.attribute(node, "alpha", 1.0)))
    importer.call(node, "elu", _operands(importer, node)[0], alpha)


def _hard_sigmoid(importer: Importer, node: ir.Node) -> None:
    slope = Scalar(float(importer.attribute(node, "alpha", 0.2)))
    offset = Scalar(float(importer.attribute(node, "beta", 0.5)))
    line = Call("add", (Call("mul", (_operands(importer, node)[0], slope)), offset))
    importer.call(node, "min", Call("max", (line, Scalar(0.0))), Scalar(1.0))


def _pow(importer: Importer, node: ir.Node) -> None:
    exponent = importer.constant(node, 1)
    assert exponent is not None
    value = importer.operand(node.inputs[0], importer.shape(node.outputs[0]), node)
    known = {2.0: ("mul", 2), 1.0: ("", 1), 0.5: ("sqrt", 1), -1.0: ("reciprocal", 1)}
    if exponent.size != 1 or float(exponent.flat[0]) not in known:
        raise importer.refusal(node, f"has the exponent {exponent}, and 2, 1, 0.5, -1 are known")
    function, count = known[float(exponent.flat[0])]
    importer.map(node, Call(function, (value,) * count) if function else value)


def _batch_norm(importer: Importer, node: ir.Node) -> None:
    gamma, beta, mean, variance = (
        np.asarray(importer.constant(node, index), np.float64) for index in (1, 2, 3, 4)
    )
    scale = gamma / np.sqrt(variance + importer.attribute(node, "epsilon", 1e-5))
    value = Load(importer.tensor(node.inputs[0]))
    importer.map(node, affine(value, scale, beta - mean * scale))


def affine(value: Expression, scale: Floats, shift: Floats) -> Expression:
    """value * scale + shift, by channel."""
    return Call("add", (Call("mul", (value, per_channel(scale))), per_channel(shift)))


def per_channel(values: Floats) -> Expression:
    content = np.ascontiguousarray(values, np.float32).reshape(-1, 1, 1)
    if (content == content[0]).all():
        return Scalar(float(content[0, 0, 0]))
    return Load(Tensor("constant", content.shape, content))


def _axes(importer: Importer, node: ir.Node) -> tuple[int, ...]:
    rank = len(importer.shape(node.inputs[0]))
    given = importer.constant(node, 1)
    axes = given if given is not None else importer.attribute(node, "axes", range(rank))
    return tuple(sorted(int(axis) % rank for axis in axes))


def _reduce(importer: Importer, node: ir.Node) -> None:
    """Over channels, or over all pixels of each channel."""
    kind = node.op_type.removeprefix("Reduce")
    axes = _axes(importer, node)
    source, shape = importer.tensor(node.inputs[0]), importer.shape(node.inputs[0])
    if axes == (1,) and len(shape) == 4:
        over_channels(importer, node, source, kind)
    elif axes == (2, 3) and len(shape) == 4 and kind in ("Mean", "Max", "Sum"):
        out = importer.result(node)
        made = importer.new(f"{source.name}_by_channel", (source.channels, 1, 1))
        importer.add(ChannelSums(title_of(node), source, made, "max" if kind == "Max" else "mean"))
        factor = Scalar(float(source.pixels) if kind == "Sum" else 1.0)
        done = Call("mul", (Load(made), factor))
        importer.tensors[node.outputs[0]] = importer.reshaped(node, made, out.shape)
        if kind == "Sum":
            importer.map(node, done, importer.result(node))
    elif kind in ("Mean", "Sum", "Max"):
        _reduce_axes(importer, node, source, axes, kind)
    else:
        raise importer.refusal(node, f"reduces axes {axes} of {shape}")


def _reduce_axes(
    importer: Importer, node: ir.Node, source: Tensor, axes: tuple[int, ...], kind: str
) -> None:
    """Any axes: they are moved to the channels first."""
    shape = importer.shape(node.inputs[0])
    kept = [axis for axis in range(len(shape)) if axis not in axes]
    count = math.prod(shape[axis] for axis in axes)
    order = np.arange(math.prod(shape), dtype=np.int32).reshape(shape).transpose(*axes, *kept)
    moved = importer.new(f"{source.name}_moved", (count, 1, order.size // count))
    importer.add(Gather(title_of(node), source, moved, order.ravel()))
    reduced = over_channels(
        importer, node, moved, kind, importer.new("reduced", (1, 1, order.size // count))
    )
    importer.tensors[node.outputs[0]] = importer.reshaped(
        node, reduced, importer.result(node).shape
    )


def over_channels(
    importer: Importer, node: ir.Node, source: Tensor, kind: str, out: Tensor | None = None
) -> Tensor:
    """Sum, mean or largest of the channels at each pixel."""
    if kind not in ("Mean", "Sum", "Max"):
        raise importer.refusal(node, "is none of ReduceMean, ReduceSum and ReduceMax")
    result = out or importer.result(node)
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


def _global_pool(importer: Importer, node: ir.Node) -> None:
    source, out = importer.tensor(node.inputs[0]), importer.result(node)
    kind = "max" if node.op_type == "GlobalMaxPool" else "mean"
    importer.add(ChannelSums(title_of(node), source, out, kind))


def _instance_norm(importer: Importer, node: ir.Node) -> None:
    """Also that of groups, which exporters reshape to (1, groups, all of a group)."""
    scale, shift = (np.asarray(importer.constant(node, index)) for index in (1, 2))
    value = node.inputs[0]
    assert value is not None
    shape = importer.shape(value)
    image = value
    producer = value.producer()
    if len(shape) == 3 and producer is not None and producer.op_type == "Reshape":
        (before,) = (one for one in producer.inputs[:1] if one is not None)
        if len(importer.shape(before)) == 4:
            image = before
    source = importer.tensor(image)
    groups = shape[1]
    each = source.channels // groups
    if source.channels % groups or (len(shape) == 3 and image is value):
        each, groups = 1, source.channels
    normed = _group_norm(
        importer,
        node,
        source,
        groups,
        np.repeat(scale, each),
        np.repeat(shift, each),
        importer.attribute(node, "epsilon", 1e-5),
    )
    importer.tensors[node.outputs[0]] = normed


def _group_normalization(importer: Importer, node: ir.Node) -> None:
    source = importer.tensor(node.inputs[0])
    groups = int(importer.attribute(node, "num_groups"))
    gamma, beta = (np.asarray(importer.constant(node, index)) for index in (1, 2))
    if gamma.size == groups != source.channels:
        gamma, beta = (np.repeat(one, source.channels // groups) for one in (gamma, beta))
    epsilon = importer.attribute(node, "epsilon", 1e-5)
    normed = _group_norm(importer, node, source, groups, gamma, beta, epsilon)
    importer.tensors[node.outputs[0]] = normed


def _group_norm(
    importer: Importer,
    node: ir.Node,
    source: Tensor,
    groups: int,
    gamma: Floats,
    beta: Floats,
    epsilon: float,
) -> Tensor:
    channels = source.channels
    sums = importer.new(f"{source.name}_sums", (2, channels, 1))
    scale, shift = (
        importer.new(f"{source.name}_{name}", (channels, 1, 1)) for name in ("scale", "shift")
    )
    title = title_of(node)
    importer.add(ChannelSums(title, source, sums, "moments"))
    signs = np.ones(channels, np.float32)
    parameters = (gamma.astype(np.float32), beta.astype(np.float32), signs, groups)
    importer.add(GroupScale(title, sums, *parameters, source.pixels, epsilon, scale, shift))
    out = importer.new(f"{node.outputs[0].name}", source.shape)
    importer.map(node, Call("add", (Call("mul", (Load(source), Load(scale))), Load(shift))), out)
    return out


def _layer_norm(importer: Importer, node: ir.Node) -> None:
    """Over the last axes, which are moved to the channels and back."""
    shape = importer.shape(node.inputs[0])
    axis = int(importer.attribute(node, "axis", -1)) % len(shape)
    count = math.prod(shape[axis:])
    rows = math.prod(shape[:axis])
    source = importer.tensor(node.inputs[0])
    indices = np.arange(count * rows, dtype=np.int32).reshape(rows, count)
    moved = importer.new("moved", (count, 1, rows))
    importer.add(Gather(title_of(node), source, moved, indices.T.ravel()))
    normed = importer.new("normed", moved.shape)
    gamma = np.asarray(importer.constant(node, 1), np.float32).ravel()
    beta = importer.constant(node, 2)
    shift = np.zeros(count, np.float32) if beta is None else np.asarray(beta, np.float32).ravel()
    epsilon = float(importer.attribute(node, "epsilon", 1e-5))
    step = Nest(title_of(node), [])
    mean, spread = (importer.new(name, (1, 1, rows)) for name in ("mean", "spread"))
    share = Scalar(1.0 / count)
    distance = Call("sub", (Load(moved), Call("mul", (Load(mean), share))))
    square = Call("mul", (distance, distance))
    variance = Call("add", (Call("mul", (Load(spread), share)), Scalar(epsilon)))
    scaled = Call("mul", (distance, Call("rsqrt", (variance,))))
    step.statements += [
        Statement(mean, Load(moved), count, "add", is_stored=False),
        Statement(spread, square, count, "add", is_stored=False),
        Statement(normed, affine(scaled, gamma, shift), count),
    ]
    importer.add(step)
    back = np.arange(count * rows, dtype=np.int32).reshape(count, rows).T.ravel()
    importer.add(Gather(title_of(node), normed, importer.result(node), back))


def _softmax(importer: Importer, node: ir.Node) -> None:
    shape = importer.shape(node.inputs[0])
    axis = int(importer.attribute(node, "axis", -1)) % len(shape)
    source = importer.tensor(node.inputs[0])
    if len(shape) == 4 and axis == 1:
        softmax_over_channels(importer, node, source, importer.result(node))
        return
    order = np.moveaxis(np.arange(math.prod(shape), dtype=np.int32).reshape(shape), axis, 0)
    moved = importer.new("moved", (shape[axis], 1, order.size // shape[axis]))
    importer.add(Gather(title_of(node), source, moved, order.ravel()))
    made = importer.new("softmax", moved.shape)
    softmax_over_channels(importer, node, moved, made)
    back = np.empty(order.size, np.int32)
    back[order.ravel()] = np.arange(order.size)
    importer.add(Gather(title_of(node), made, importer.result(node), back))


def softmax_over_channels(importer: Importer, node: ir.Node, source: Tensor, out: Tensor) -> None:
    pixels = (1, *source.shape[1:])
    largest, total = (importer.new(name, pixels) for name in ("largest", "total"))
    power = importer.new("power", source.shape)
    channels = source.channels
    raised = Call("exp", (Call("sub", (Load(source), Load(largest))),))
    importer.add(
        Nest(
            title_of(node),
            [
                Statement(largest, Load(source), channels, "max", is_stored=False),
                Statement(power, raised, channels),
                Statement(total, Load(power), channels, "add", is_stored=False),
                Statement(out, Call("div", (Load(power), Load(total))), channels),
            ],
        )
    )


MAP_RULES: dict[str, Rule] = {
    **dict.fromkeys(UNARY, _unary),
    **dict.fromkeys(BINARY, _binary),
    **dict.fromkeys(MANY, _many),
    "Identity": _identity,
    "Dropout": _identity,
    "Cast": _identity,
    "Gelu": _gelu,
    "Clip": _clip,
    "LeakyRelu": _leaky_relu,
    "PRelu": _prelu,
    "Elu": _elu,
    "HardSigmoid": _hard_sigmoid,
    "Pow": _pow,
    "BatchNormalization": _batch_norm,
    **dict.fromkeys(("ReduceMean", "ReduceSum", "ReduceMax"), _reduce),
    "GlobalAveragePool": _global_pool,
    "GlobalMaxPool": _global_pool,
    "InstanceNormalization": _instance_norm,
    "GroupNormalization": _group_normalization,
    "LayerNormalization": _layer_norm,
    "Softmax": _softmax,
}
