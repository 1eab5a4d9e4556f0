"""Norms and softmax."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from ..expressions import Call, Expression, Floats, Load, Scalar, Tensor
from ..ir import ChannelSums, GroupScale, Nest, Statement
from .importer import Importer, Rule, axes_back, axes_first, is_image, title_of

if TYPE_CHECKING:
    import onnx_ir as ir


def _batch_norm(importer: Importer, node: ir.Node) -> None:
    gamma, beta, mean, variance = (
        np.asarray(importer.constant(node, index), np.float64) for index in (1, 2, 3, 4)
    )
    scale = gamma / np.sqrt(variance + importer.attribute(node, "epsilon", 1e-5))
    shape = importer.shape(node.inputs[0])
    ones = (1,) * (len(shape) - 2)  # channels are the second axis
    factor, addend = (
        importer.constant_operand(np.asarray(one, np.float32).reshape(-1, *ones), shape)
        for one in (scale, beta - mean * scale)
    )
    value = importer.operand(node.inputs[0], shape, node)
    importer.map(node, Call("add", (Call("mul", (value, factor)), addend)))


def affine(value: Expression, scale: Floats, shift: Floats) -> Expression:
    """value * scale + shift, by channel."""
    return Call("add", (Call("mul", (value, per_channel(scale))), per_channel(shift)))


def per_channel(values: Floats) -> Expression:
    content = np.ascontiguousarray(values, np.float32).reshape(-1, 1, 1)
    if (content == content[0]).all():
        return Scalar(float(content[0, 0, 0]))
    return Load(Tensor("constant", content.shape, content))


def _instance_norm(importer: Importer, node: ir.Node) -> None:
    """Also that of groups, which exporters reshape to (1, groups, all of a group)."""
    scale, shift = (np.asarray(importer.constant(node, index)) for index in (1, 2))
    value = node.inputs[0]
    assert value is not None
    shape = importer.shape(value)
    groups, source = shape[1], None
    producer = value.producer()
    if len(shape) == 3 and producer is not None and producer.op_type == "Reshape":
        before = importer.shape(producer.inputs[0])
        if is_image(before) and before[1] % groups == 0:
            source = importer.tensor(producer.inputs[0])
    if source is None:
        source = _by_channel(importer, node)
    each = source.channels // groups
    parameters = np.repeat(scale, each), np.repeat(shift, each)
    epsilon = importer.attribute(node, "epsilon", 1e-5)
    normed = _group_norm(importer, node, source, groups, *parameters, epsilon)
    importer.tensors[node.outputs[0]] = normed


def _by_channel(importer: Importer, node: ir.Node) -> Tensor:
    """The input as an image; what has other axes than two lies in one row."""
    shape, source = importer.shape(node.inputs[0]), importer.tensor(node.inputs[0])
    if shape[0] != 1:
        raise importer.refusal(node, f"has a batch of {shape[0]}, and images come one by one")
    if is_image(shape):
        return source
    return importer.reshaped(node, source, (shape[1], 1, math.prod(shape[2:])))


def _group_normalization(importer: Importer, node: ir.Node) -> None:
    source = _by_channel(importer, node)
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
    if len(node.outputs) > 1 and any(one.uses() for one in node.outputs[1:]):
        raise importer.refusal(node, "gives the mean too")
    shape = importer.shape(node.inputs[0])
    axes = tuple(range(int(importer.attribute(node, "axis", -1)) % len(shape), len(shape)))
    moved = axes_first(importer, node, importer.tensor(node.inputs[0]), shape, axes)
    count, pixels = moved.channels, (1, *moved.shape[1:])
    normed = importer.new("normed", moved.shape)
    gamma = np.asarray(importer.constant(node, 1), np.float32).ravel()
    beta = importer.constant(node, 2)
    shift = np.zeros(count, np.float32) if beta is None else np.asarray(beta, np.float32).ravel()
    epsilon = float(importer.attribute(node, "epsilon", 1e-5))
    step = Nest(title_of(node), [])
    mean, spread = (importer.new(name, pixels) for name in ("mean", "spread"))
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
    axes_back(importer, node, normed, shape, axes)


def _softmax(importer: Importer, node: ir.Node) -> None:
    shape = importer.shape(node.inputs[0])
    axes = (int(importer.attribute(node, "axis", -1)) % len(shape),)
    moved = axes_first(importer, node, importer.tensor(node.inputs[0]), shape, axes)
    made = importer.new(str(node.outputs[0].name), moved.shape)
    over = softmax_over_channels if node.op_type == "Softmax" else _log_softmax_over_channels
    over(importer, node, moved, made)
    axes_back(importer, node, made, shape, axes)


def _log_softmax_over_channels(
    importer: Importer, node: ir.Node, source: Tensor, out: Tensor
) -> None:
    pixels = (1, *source.shape[1:])
    largest, total = (importer.new(name, pixels) for name in ("largest", "total"))
    distance = Call("sub", (Load(source), Load(largest)))
    statements = [
        Statement(largest, Load(source), source.channels, "max", is_stored=False),
        Statement(total, Call("exp", (distance,)), source.channels, "add", is_stored=False),
        Statement(out, Call("sub", (distance, Call("log", (Load(total),)))), source.channels),
    ]
    importer.add(Nest(title_of(node), statements))


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


NORM_RULES: dict[str, Rule] = {
    "BatchNormalization": _batch_norm,
    "InstanceNormalization": _instance_norm,
    "GroupNormalization": _group_normalization,
    "LayerNormalization": _layer_norm,
    **dict.fromkeys(("Softmax", "LogSoftmax"), _softmax),
}
