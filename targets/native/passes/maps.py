"""Maps are computed where they are read, and in the epilogues of convolutions."""

from __future__ import annotations

from dataclasses import replace

from ..expressions import Call, Expression, Load, calls, leaves, replace_leaf
from ..ir import Convolution, Nest, Program, Resize, Statement, Step

CHEAP = frozenset({"add", "sub", "mul", "neg", "relu", "max", "min"})
MOST_COPIED = 2  # calls of an expression that is computed again for each of its readers
LONGEST_EXPRESSION = 40  # calls


def inline_maps(program: Program) -> int:
    """Compute what a map makes where it is read, rather than store it."""
    total = 0
    while count := _inline_once(program):
        total += count
    return total


def _inline_once(program: Program) -> int:
    count = 0
    users = program.users()
    for nest in list(program.steps):
        if not isinstance(nest, Nest) or len(nest.statements) != 1:
            continue
        (statement,) = nest.statements
        readers = users.get(statement.out, [])
        if statement.reduction or statement.out is program.mask or not readers:
            continue
        if not all(isinstance(step, Nest) for step in readers):
            continue
        nests = [step for step in readers if isinstance(step, Nest)]
        if _is_inlined(statement, nests):
            for reader in nests:
                for other in reader.statements:
                    other.expression = replace_leaf(
                        other.expression, Load(statement.out), statement.expression
                    )
            program.steps.remove(nest)
            count += 1
            users = program.users()
    return count


def _is_inlined(statement: Statement, readers: list[Nest]) -> bool:
    places = [
        (other, sum(leaf == Load(statement.out) for leaf in leaves(other.expression)))
        for nest in readers
        for other in nest.statements
    ]
    uses = sum(number for _, number in places)
    for other, number in places:
        same = (
            other.channels == statement.channels and other.out.shape[1:] == statement.out.shape[1:]
        )
        if number and not same:
            return False
        longer = len(list(calls(other.expression)))
        if number * len(list(calls(statement.expression))) + longer > LONGEST_EXPRESSION:
            return False
    functions = list(calls(statement.expression))
    return uses == 1 or (len(functions) <= MOST_COPIED and set(functions) <= CHEAP)


def maps_into_epilogues(program: Program) -> int:
    """Let a convolution or a resize do on its results what the only map that reads them does."""
    count = 0
    for step in reversed(list(program.steps)):
        while _take_map(program, step):
            count += 1
    return count


def _take_map(program: Program, step: Step) -> bool:
    if not isinstance(step, Convolution | Resize) or step.out is program.mask:
        return False
    if isinstance(step, Convolution) and (step.statistics is not None or step.pooled):
        return False
    readers = program.users().get(step.out, [])
    if len(readers) != 1 or not isinstance(readers[0], Nest):
        return False
    nest = readers[0]
    if len(nest.statements) != 1:
        return False
    (statement,) = nest.statements
    if statement.reduction or statement.out.shape != step.out.shape:
        return False
    # What else it reads has been computed before the map, where the step goes now.
    step.epilogue = replace_leaf(statement.expression, Load(step.out), step.epilogue)
    step.out = statement.out
    program.steps.remove(step)
    program.steps[program.steps.index(nest)] = step
    return True


def rename_rsqrt(program: Program) -> int:
    """1 / sqrt(x) is one function."""
    count = 0

    def simplify(expression: Expression) -> Expression:
        nonlocal count
        if not isinstance(expression, Call):
            return expression
        arguments = tuple(simplify(one) for one in expression.arguments)
        inner = arguments[0]
        if (
            expression.function == "reciprocal"
            and isinstance(inner, Call)
            and inner.function == "sqrt"
        ):
            count += 1
            return Call("rsqrt", inner.arguments)
        return replace(expression, arguments=arguments)

    for step in program.steps:
        if isinstance(step, Nest):
            for statement in step.statements:
                statement.expression = simplify(statement.expression)
    return count
