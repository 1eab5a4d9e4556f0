"""Operators that compute element by element."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from .translator import Rule, Translator

if TYPE_CHECKING:
    import onnx_ir as ir

FLOAT_TYPES = frozenset({1, 10, 11, 16})  # ONNX's numbers of float, float16, double, bfloat16
BOOL_TYPE = 9
# Abramowitz and Stegun 1964, formula 7.1.26: the error is at most 1.5e-7. TFLite has no erf.
ERF_POLE = 0.3275911
ERF = (0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429)


def _softplus(tf: Any, x: Any) -> Any:
    # Of no large number is the exponential taken.
    return tf.nn.relu(x) + tf.math.log(1.0 + tf.exp(-tf.abs(x)))


def _erf(tf: Any, x: Any) -> Any:
    place = 1.0 / (1.0 + ERF_POLE * tf.abs(x))
    total = tf.zeros_like(x)
    for number in reversed(ERF):
        total = (total + number) * place
    return tf.sign(x) * (1.0 - total * tf.exp(-x * x))


UNARY: dict[str, Callable[[Any, Any], Any]] = {
    "Abs": lambda tf, x: tf.abs(x),
    "Ceil": lambda tf, x: tf.math.ceil(x),
    "Cos": lambda tf, x: tf.cos(x),
    "Dropout": lambda tf, x: x,
    "Erf": _erf,
    "Exp": lambda tf, x: tf.exp(x),
    "Floor": lambda tf, x: tf.floor(x),
    "HardSwish": lambda tf, x: x * tf.nn.relu6(x + 3.0) * (1 / 6),
    "Identity": lambda tf, x: x,
    "IsNaN": lambda tf, x: tf.not_equal(x, x),
    "Log": lambda tf, x: tf.math.log(x),
    "Mish": lambda tf, x: x * tf.tanh(_softplus(tf, x)),
    "Neg": lambda tf, x: -x,
    "Not": lambda tf, x: tf.logical_not(x),
    "Reciprocal": lambda tf, x: 1.0 / x,
    "Relu": lambda tf, x: tf.nn.relu(x),
    "Round": lambda tf, x: tf.round(x),
    "Sigmoid": lambda tf, x: tf.sigmoid(x),
    "Sign": lambda tf, x: tf.sign(x),
    "Sin": lambda tf, x: tf.sin(x),
    "Softplus": _softplus,
    "Softsign": lambda tf, x: x / (1.0 + tf.abs(x)),
    "Sqrt": lambda tf, x: tf.sqrt(x),
    "Tan": lambda tf, x: tf.sin(x) / tf.cos(x),
    "Tanh": lambda tf, x: tf.tanh(x),
}
BINARY: dict[str, Callable[[Any, Any, Any], Any]] = {
    "Add": lambda tf, x, y: x + y,
    "And": lambda tf, x, y: tf.logical_and(x, y),
    "Div": lambda tf, x, y: x / y,
    "Equal": lambda tf, x, y: tf.equal(x, y),
    "Greater": lambda tf, x, y: tf.greater(x, y),
    "GreaterOrEqual": lambda tf, x, y: tf.greater_equal(x, y),
    "Less": lambda tf, x, y: tf.less(x, y),
    "LessOrEqual": lambda tf, x, y: tf.less_equal(x, y),
    "Max": lambda tf, x, y: tf.maximum(x, y),
    "Min": lambda tf, x, y: tf.minimum(x, y),
    "Mul": lambda tf, x, y: x * y,
    "Or": lambda tf, x, y: tf.logical_or(x, y),
    "Sub": lambda tf, x, y: x - y,
    "Sum": lambda tf, x, y: x + y,
    "Xor": lambda tf, x, y: tf.not_equal(x, y),
}


def _unary(function: Callable[[Any, Any], Any]) -> Rule:
    def rule(net: Translator, node: ir.Node) -> None:
        source = node.inputs[0]
        result = function(net.tf, net.held(source))
        net.give(node.outputs[0], result, last=net.is_last(source))

    return rule


def _binary(function: Callable[[Any, Any, Any], Any]) -> Rule:
    """The first two inputs, that with the third, and so on."""

    def rule(net: Translator, node: ir.Node) -> None:
        tensors, last = net.operands(node.inputs)
        result = tensors[0]
        for tensor in tensors[1:]:
            result = function(net.tf, result, tensor)
        net.give(node.outputs[0], result, last=last)

    return rule


def _divide(net: Translator, node: ir.Node) -> None:
    (x, y), last = net.operands(node.inputs)
    if x.dtype.is_integer:
        # ONNX cuts off, TensorFlow rounds down.
        quotient = net.tf.sign(x) * net.tf.sign(y) * (net.tf.abs(x) // net.tf.abs(y))
    else:
        quotient = x / y
    net.give(node.outputs[0], quotient, last=last)


def _power(net: Translator, node: ir.Node) -> None:
    (x, y), last = net.operands(node.inputs)
    if y.dtype != x.dtype:
        y = net.tf.cast(y, x.dtype)
    exponent = net.tf.get_static_value(y)
    is_square = exponent is not None and exponent.size == 1 and exponent.ravel()[0] == 2
    # The power of a negative number goes by logarithms in some kernels.
    net.give(node.outputs[0], x * x if is_square else net.tf.pow(x, y), last=last)


def _modulo(net: Translator, node: ir.Node) -> None:
    (x, y), last = net.operands(node.inputs)
    rest = net.tf.math.floormod(x, y)
    if net.attribute(node, "fmod", 0):
        rest = net.tf.sign(x) * net.tf.math.floormod(net.tf.abs(x), net.tf.abs(y))
    net.give(node.outputs[0], rest, last=last)


def _where(net: Translator, node: ir.Node) -> None:
    tensors, last = net.operands(node.inputs)
    net.give(node.outputs[0], net.tf.where(*tensors), last=last)


def _mean(net: Translator, node: ir.Node) -> None:
    tensors, last = net.operands(node.inputs)
    net.give(node.outputs[0], sum(tensors[1:], tensors[0]) / float(len(tensors)), last=last)


def _clip(net: Translator, node: ir.Node) -> None:
    x = net.held(node.inputs[0])
    least, most = (net.content(node, index) for index in (1, 2))
    if least is not None and most is not None and (float(least), float(most)) == (0.0, 6.0):
        x = net.tf.nn.relu6(x)
    else:
        if least is not None:
            x = net.tf.maximum(x, net.tf.cast(least, x.dtype))
        if most is not None:
            x = net.tf.minimum(x, net.tf.cast(most, x.dtype))
    net.give(node.outputs[0], x, last=net.is_last(node.inputs[0]))


def _cast(net: Translator, node: ir.Node) -> None:
    tf, x = net.tf, net.held(node.inputs[0])
    kind = int(net.attribute(node, "to"))
    wanted = tf.float32 if kind in FLOAT_TYPES else tf.bool if kind == BOOL_TYPE else tf.int32
    if wanted == tf.bool and x.dtype != tf.bool:
        result = tf.not_equal(x, tf.cast(0, x.dtype))
    else:
        result = x if wanted == x.dtype else tf.cast(x, wanted)
    net.give(node.outputs[0], result, last=net.is_last(node.inputs[0]))


def _leaky(net: Translator, node: ir.Node) -> None:
    x = net.held(node.inputs[0])
    result = net.tf.nn.leaky_relu(x, net.attribute(node, "alpha", 0.01))
    net.give(node.outputs[0], result, last=net.is_last(node.inputs[0]))


def _prelu(net: Translator, node: ir.Node) -> None:
    (x, slope), last = net.operands(node.inputs[:2])
    net.give(node.outputs[0], net.tf.nn.relu(x) - slope * net.tf.nn.relu(-x), last=last)


def _elu(net: Translator, node: ir.Node) -> None:
    """Elu, and Selu and Celu, which are scaled ones."""
    kind = node.op_type
    alpha = net.attribute(node, "alpha", 1.67326319217681884765625 if kind == "Selu" else 1.0)
    gain = net.attribute(node, "gamma", 1.05070102214813232421875) if kind == "Selu" else 1.0
    stretch = alpha if kind == "Celu" else 1.0
    tf, x = net.tf, net.held(node.inputs[0])
    below = tf.nn.elu(-tf.nn.relu(-x) / stretch) if kind == "Celu" else tf.nn.elu(-tf.nn.relu(-x))
    if alpha == 1.0 and kind == "Elu":
        result = tf.nn.elu(x)
    else:
        result = gain * (tf.nn.relu(x) + alpha * below)
    net.give(node.outputs[0], result, last=net.is_last(node.inputs[0]))


def _gelu(net: Translator, node: ir.Node) -> None:
    is_rough = net.attribute(node, "approximate", "none") == "tanh"
    x = net.held(node.inputs[0])
    if is_rough or net.fuses_gelu:
        result = net.tf.nn.gelu(x, approximate=is_rough)
    else:
        result = x * (0.5 + 0.5 * _erf(net.tf, x * 0.5**0.5))
    net.give(node.outputs[0], result, last=net.is_last(node.inputs[0]))


def _hard_sigmoid(net: Translator, node: ir.Node) -> None:
    alpha, beta = net.attribute(node, "alpha", 0.2), net.attribute(node, "beta", 0.5)
    tf, x = net.tf, net.held(node.inputs[0])
    if np.isclose(alpha, 1 / 6) and beta == 0.5:
        result = tf.nn.relu6(x + 3.0) * (1 / 6)
    else:
        result = tf.minimum(tf.nn.relu(x * alpha + beta), 1.0)
    net.give(node.outputs[0], result, last=net.is_last(node.inputs[0]))


def _thresholded(net: Translator, node: ir.Node) -> None:
    tf, x = net.tf, net.held(node.inputs[0])
    result = tf.where(x > net.attribute(node, "alpha", 1.0), x, tf.zeros_like(x))
    net.give(node.outputs[0], result, last=net.is_last(node.inputs[0]))


RULES: dict[str, Rule] = {
    **{kind: _unary(function) for kind, function in UNARY.items()},
    **{kind: _binary(function) for kind, function in BINARY.items()},
    "Cast": _cast,
    "Celu": _elu,
    "Clip": _clip,
    "Div": _divide,
    "Elu": _elu,
    "Gelu": _gelu,
    "HardSigmoid": _hard_sigmoid,
    "LeakyRelu": _leaky,
    "Mean": _mean,
    "Mod": _modulo,
    "Pow": _power,
    "PRelu": _prelu,
    "Selu": _elu,
    "ThresholdedRelu": _thresholded,
    "Where": _where,
}
