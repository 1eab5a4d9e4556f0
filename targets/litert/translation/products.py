"""Matrix products and norms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .translator import Rule, Translator

if TYPE_CHECKING:
    import onnx_ir as ir


def _product(net: Translator, node: ir.Node) -> None:
    tf = net.tf
    x, y = net.plain(node.inputs[0]), net.plain(node.inputs[1])
    shape = net.shape(node.outputs[0])
    if len(x.shape) == 1:
        x = tf.expand_dims(x, 0)
    if len(y.shape) == 1:
        y = tf.expand_dims(y, 1)
    net.give(node.outputs[0], tf.reshape(tf.matmul(x, y), shape))


def _general_product(net: Translator, node: ir.Node) -> None:
    """Gemm."""
    x, y = net.plain(node.inputs[0]), net.plain(node.inputs[1])
    result = net.tf.matmul(
        x,
        y,
        transpose_a=bool(net.attribute(node, "transA", 0)),
        transpose_b=bool(net.attribute(node, "transB", 0)),
    )
    alpha, beta = net.attribute(node, "alpha", 1.0), net.attribute(node, "beta", 1.0)
    result = result if alpha == 1 else result * alpha
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        bias = net.plain(node.inputs[2])
        result = result + (bias if beta == 1 else bias * beta)
    net.give(node.outputs[0], result)


def _einstein(net: Translator, node: ir.Node) -> None:
    equation = net.attribute(node, "equation").replace(" ", "")
    result = net.tf.einsum(equation, *[net.plain(value) for value in node.inputs])
    net.give(node.outputs[0], result)


def _batch_norm(net: Translator, node: ir.Node) -> None:
    tf, source = net.tf, node.inputs[0]
    scale, shift, mean, variance = (net.plain(value) for value in node.inputs[1:5])
    factor = scale / tf.sqrt(variance + net.attribute(node, "epsilon", 1e-5))
    if net.rank(source) < 3:
        net.give(node.outputs[0], (net.plain(source) - mean) * factor + shift)
        return
    net.give(node.outputs[0], (net.last(source) - mean) * factor + shift, last=True)


def _normed(net: Translator, x: Any, axes: list[int], epsilon: float) -> Any:
    tf = net.tf
    centred = x - tf.reduce_mean(x, axes, keepdims=True)
    variance = tf.reduce_mean(centred * centred, axes, keepdims=True)
    return centred * tf.math.rsqrt(variance + epsilon)


def _instance_norm(net: Translator, node: ir.Node) -> None:
    x = net.last(node.inputs[0])
    scale, shift = net.plain(node.inputs[1]), net.plain(node.inputs[2])
    axes = list(range(1, len(x.shape) - 1))
    normed = _normed(net, x, axes, net.attribute(node, "epsilon", 1e-5))
    net.give(node.outputs[0], normed * scale + shift, last=True)


def _group_norm(net: Translator, node: ir.Node) -> None:
    source = node.inputs[0]
    groups, shape = net.attribute(node, "num_groups"), net.shape(source)
    x = net.last(source)
    grouped = net.tf.reshape(x, [shape[0], -1, groups, shape[1] // groups])
    normed = _normed(net, grouped, [1, 3], net.attribute(node, "epsilon", 1e-5))
    # Up to opset 20 there is one scale a group.
    scale, shift = net.plain(node.inputs[1]), net.plain(node.inputs[2])
    if int(scale.shape[0]) == groups != shape[1]:
        scale, shift = (net.tf.repeat(one, shape[1] // groups) for one in (scale, shift))
    result = net.tf.reshape(normed, x.shape) * scale + shift
    net.give(node.outputs[0], result, last=True)


def _layer_norm(net: Translator, node: ir.Node) -> None:
    """LayerNormalization and RMSNormalization."""
    x = net.plain(node.inputs[0])
    rank = len(x.shape)
    axes = list(range(net.attribute(node, "axis", -1) % rank, rank))
    epsilon = net.attribute(node, "epsilon", 1e-5)
    if node.op_type == "LayerNormalization":
        result = _normed(net, x, axes, epsilon)
    else:
        squares = net.tf.reduce_mean(x * x, axes, keepdims=True)
        result = x * net.tf.math.rsqrt(squares + epsilon)
    result = result * net.plain(node.inputs[1])
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        result = result + net.plain(node.inputs[2])
    net.give(node.outputs[0], result)


def _length_norm(net: Translator, node: ir.Node) -> None:
    """LpNormalization."""
    source = node.inputs[0]
    x = net.held(source)
    axis = net.axis_of(net.attribute(node, "axis", -1), net.rank(source), net.is_last(source))
    if net.attribute(node, "p", 2) == 1:
        length = net.tf.reduce_sum(net.tf.abs(x), axis, keepdims=True)
    else:
        length = net.tf.sqrt(net.tf.reduce_sum(x * x, axis, keepdims=True))
    net.give(node.outputs[0], x / length, last=net.is_last(source))


RULES: dict[str, Rule] = {
    "BatchNormalization": _batch_norm,
    "Einsum": _einstein,
    "Gemm": _general_product,
    "GroupNormalization": _group_norm,
    "InstanceNormalization": _instance_norm,
    "LayerNormalization": _layer_norm,
    "LpNormalization": _length_norm,
    "MatMul": _product,
    "RMSNormalization": _layer_norm,
}
