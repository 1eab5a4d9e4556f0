"""What is constant goes into weights."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..expressions import Call, Expression, Floats, Load, Scalar, Sum, leaves, replace_leaf
from ..ir import Convolution, Program


def scales_into_weights(program: Program) -> int:
    """Multiply weights by what the sums are multiplied by, of each channel or of all."""
    count = 0
    for step in program.steps:
        if isinstance(step, Convolution):
            while _take_scale(step):
                count += 1
    return count


def _take_scale(step: Convolution) -> bool:
    """Fold an operator that has the sums as its operand, if they are read nowhere else."""
    if sum(leaf == Sum() for leaf in leaves(step.epilogue)) != 1 or step.statistics is not None:
        return False
    call = _call_of_sum(step.epilogue)
    if call is None or call.function not in ("add", "sub", "mul"):
        return False
    first, second = call.arguments
    other = by_channel(second if first == Sum() else first, len(step.bias))
    if other is None:
        return False
    if call.function == "mul":
        step.weight = step.weight * other[:, None, None, None]
        step.bias = step.bias * other
        if step.codes is not None:
            scales = np.where(other == 0, np.float32(1), step.codes.weights * np.abs(other))
            step.codes = replace(step.codes, weights=scales)
    elif call.function == "add":
        step.bias = step.bias + other
    elif first == Sum():
        step.bias = step.bias - other
    else:
        step.weight, step.bias = -step.weight, other - step.bias
    step.epilogue = replace_leaf(step.epilogue, call, Sum())
    return True


def _call_of_sum(expression: Expression) -> Call | None:
    if not isinstance(expression, Call):
        return None
    if Sum() in expression.arguments:
        return expression
    for argument in expression.arguments:
        found = _call_of_sum(argument)
        if found is not None:
            return found
    return None


def by_channel(operand: Expression, channels: int) -> Floats | None:
    """Values of a constant operand, one for each channel."""
    if isinstance(operand, Scalar):
        return np.full(channels, operand.value, np.float32)
    content = operand.tensor.constant if isinstance(operand, Load) else None
    if content is None or content.shape != (channels, 1, 1):
        return None
    return content.reshape(-1)
