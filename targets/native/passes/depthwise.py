"""Depthwise convolutions that are added up become one."""

from __future__ import annotations

import numpy as np

from ..expressions import Call, Expression, Floats, Load, Sum, Tensor, leaves, replace_leaf
from ..ir import Convolution, Program, Step, Window


def merge_depthwise(program: Program) -> int:
    """Make one depthwise convolution of several that are added up, and of what they look at.

    The larger kernel has places that are zero in every channel, which kernels leave out.
    """
    count = 0
    changed = True
    while changed:
        changed = False
        producers, users = program.producers(), program.users()
        for step in program.steps:
            if isinstance(step, Convolution) and _take_addend(program, step, producers, users):
                changed = True
                count += 1
                break
    return count


def _take_addend(
    program: Program,
    step: Convolution,
    producers: dict[Tensor, Step],
    users: dict[Tensor, list[Step]],
) -> bool:
    if not step.is_depthwise or step.statistics is not None:
        return False
    if sum(leaf == Sum() for leaf in leaves(step.epilogue)) != 1:
        return False
    total, terms = _addends(step.epilogue)
    for term in terms:
        kernel = _kernel_of(step, term, producers, users) if isinstance(term, Load) else None
        if kernel is None:
            continue
        weight, bias, window, other = kernel
        step.weight, step.window = _united([(step.weight, step.window), (weight, window)])
        step.bias = step.bias + bias
        rest: Expression = Sum()
        for one in terms:
            if one not in (term, Sum()):
                rest = Call("add", (rest, one))
        step.epilogue = replace_leaf(step.epilogue, total, rest)
        if other is not None:
            program.steps.remove(other)
        return True
    return False


def _addends(expression: Expression) -> tuple[Expression, list[Expression]]:
    """The largest sum that `Sum` is a term of, and its terms."""
    if isinstance(expression, Call) and expression.function == "add":
        terms = _terms(expression)
        if Sum() in terms:
            return expression, terms
    if isinstance(expression, Call):
        for argument in expression.arguments:
            total, terms = _addends(argument)
            if Sum() in terms:
                return total, terms
    return expression, [expression] if expression == Sum() else []


def _terms(expression: Expression) -> list[Expression]:
    if isinstance(expression, Call) and expression.function == "add":
        return [term for argument in expression.arguments for term in _terms(argument)]
    return [expression]


def _kernel_of(
    step: Convolution, term: Load, producers: dict[Tensor, Step], users: dict[Tensor, list[Step]]
) -> tuple[Floats, Floats, Window, Convolution | None] | None:
    """Weight, bias and window of a term that is made of the same input as a depthwise `step`."""
    if term.tensor is step.source:
        if step.window.stride != (1, 1) or step.source.shape != step.out.shape:
            return None
        return _identity(step), np.zeros_like(step.bias), Window((1, 1)), None
    added = producers.get(term.tensor)
    if (
        not isinstance(added, Convolution)
        or not added.is_depthwise
        or added.source is not step.source
        or added.epilogue != Sum()
        or added.statistics is not None
        or added.window.stride != step.window.stride
        or len(added.bias) != len(step.bias)
        or users[added.out] != [step]
    ):
        return None
    return added.weight, added.bias, added.window, added


def _identity(step: Convolution) -> Floats:
    return np.ones((len(step.bias), 1, 1, 1), np.float32)


def _united(kernels: list[tuple[Floats, Window]]) -> tuple[Floats, Window]:
    """The sum of kernels, without dilation."""
    places = [
        [
            [np.arange(window.kernel[axis]) * window.dilation[axis] - window.before[axis]]
            for axis in (0, 1)
        ]
        for _, window in kernels
    ]
    low = [min(int(one[axis][0].min()) for one in places) for axis in (0, 1)]
    high = [max(int(one[axis][0].max()) for one in places) for axis in (0, 1)]
    size = (high[0] - low[0] + 1, high[1] - low[1] + 1)
    total = np.zeros((len(kernels[0][0]), 1, *size), np.float32)
    for (weight, _), one in zip(kernels, places, strict=True):
        rows, columns = one[0][0] - low[0], one[1][0] - low[1]
        total[:, :, rows[:, None], columns] += weight
    stride = kernels[0][1].stride
    return total, Window(size, stride, before=(-low[0], -low[1]))
