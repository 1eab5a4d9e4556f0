"""Operators that compute element by element."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..expressions import Call, Expression, Scalar
from .importer import Importer, Rule

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
    "Floor": "floor",
    "Round": "round",
    "Sign": "sign",
}
# What is true is one, and what is not is zero.
BINARY = {
    "Add": "add",
    "Sub": "sub",
    "Mul": "mul",
    "Div": "div",
    "Greater": "greater",
    "GreaterOrEqual": "at_least",
    "Equal": "equal",
    "And": "mul",
    "Or": "max",
    "Where": "select",
}
SWAPPED = {"Less": "greater", "LessOrEqual": "at_least"}
LARGEST_POWER = 8  # that is computed by products
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


def _swapped(importer: Importer, node: ir.Node) -> None:
    first, second = _operands(importer, node)
    importer.call(node, SWAPPED[node.op_type], second, first)


def _not(importer: Importer, node: ir.Node) -> None:
    importer.map(node, _negated(_operands(importer, node)[0]))


def _negated(claim: Expression) -> Expression:
    return Call("sub", (Scalar(1.0), claim))


def _xor(importer: Importer, node: ir.Node) -> None:
    importer.map(node, _negated(Call("equal", tuple(_operands(importer, node)))))


def _is_nan(importer: Importer, node: ir.Node) -> None:
    (value,) = _operands(importer, node)
    importer.map(node, _negated(Call("equal", (value, value))))


def _ceil(importer: Importer, node: ir.Node) -> None:
    (value,) = _operands(importer, node)
    importer.call(node, "neg", Call("floor", (Call("neg", (value,)),)))


def _cast(importer: Importer, node: ir.Node) -> None:
    """All is computed in floats: those become integers without their fraction."""
    given, wanted = (value.dtype for value in (*node.inputs, *node.outputs) if value is not None)
    if given is None or wanted is None or not given.is_floating_point():
        return _identity(importer, node)
    (value,) = _operands(importer, node)
    if wanted.name == "BOOL":
        importer.map(node, _negated(Call("equal", (value, Scalar(0.0)))))
    elif wanted.is_integer():
        whole = Call("floor", (Call("abs", (value,)),))
        importer.call(node, "mul", Call("sign", (value,)), whole)
    else:
        _identity(importer, node)
    return None


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


def _selu(importer: Importer, node: ir.Node) -> None:
    alpha = Scalar(float(importer.attribute(node, "alpha", 1.67326319217681884765625)))
    gamma = Scalar(float(importer.attribute(node, "gamma", 1.05070102214813232421875)))
    importer.call(node, "mul", Call("elu", (_operands(importer, node)[0], alpha)), gamma)


def _celu(importer: Importer, node: ir.Node) -> None:
    alpha = float(importer.attribute(node, "alpha", 1.0))
    small = Call("mul", (_operands(importer, node)[0], Scalar(1.0 / alpha)))
    importer.call(node, "mul", Call("elu", (small, Scalar(1.0))), Scalar(alpha))


def _thresholded_relu(importer: Importer, node: ir.Node) -> None:
    (value,) = _operands(importer, node)
    limit = Scalar(float(importer.attribute(node, "alpha", 1.0)))
    importer.call(node, "select", Call("greater", (value, limit)), value, Scalar(0.0))


def _shrink(importer: Importer, node: ir.Node) -> None:
    (value,) = _operands(importer, node)
    limit = float(importer.attribute(node, "lambd", 0.5))
    bias = Scalar(float(importer.attribute(node, "bias", 0.0)))
    above, below = (
        Call("greater", pair) for pair in ((value, Scalar(limit)), (Scalar(-limit), value))
    )
    low = Call("select", (below, Call("add", (value, bias)), Scalar(0.0)))
    importer.call(node, "select", above, Call("sub", (value, bias)), low)


def _softsign(importer: Importer, node: ir.Node) -> None:
    (value,) = _operands(importer, node)
    importer.call(node, "div", value, Call("add", (Call("abs", (value,)), Scalar(1.0))))


def _pow(importer: Importer, node: ir.Node) -> None:
    value, power = _operands(importer, node)
    importer.map(node, _power(value, power))


def _power(value: Expression, power: Expression) -> Expression:
    if not isinstance(power, Scalar):
        return Call("pow", (value, power))
    if power.value == 0.5:
        return Call("sqrt", (value,))
    count = abs(power.value)
    if count not in range(1, LARGEST_POWER + 1):
        if count % 2 not in (0, 1):
            return Call("pow", (value, power))
        made = Call("pow", (Call("abs", (value,)), power))
        return Call("mul", (Call("sign", (value,)), made)) if count % 2 else made
    product = value
    for _ in range(1, int(count)):
        product = Call("mul", (product, value))
    return product if power.value > 0 else Call("reciprocal", (product,))


MAP_RULES: dict[str, Rule] = {
    **dict.fromkeys(UNARY, _unary),
    **dict.fromkeys(BINARY, _binary),
    **dict.fromkeys(SWAPPED, _swapped),
    **dict.fromkeys(MANY, _many),
    "Identity": _identity,
    "Dropout": _identity,
    "Cast": _cast,
    "Not": _not,
    "Xor": _xor,
    "IsNaN": _is_nan,
    "Ceil": _ceil,
    "Gelu": _gelu,
    "Clip": _clip,
    "LeakyRelu": _leaky_relu,
    "PRelu": _prelu,
    "Elu": _elu,
    "Selu": _selu,
    "Celu": _celu,
    "ThresholdedRelu": _thresholded_relu,
    "Shrink": _shrink,
    "Softsign": _softsign,
    "HardSigmoid": _hard_sigmoid,
    "Pow": _pow,
}
