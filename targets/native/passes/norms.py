"""Group norms: what is multiplied goes into them, and their sums and pools into convolutions."""

from __future__ import annotations

import numpy as np

from ..expressions import Call, Expression, Load, Sum, Tensor, loads
from ..ir import ChannelSums, Convolution, GroupScale, Nest, Pool, Program, Statement, Step, Window
from .weights import by_channel

MOST_THREADS = 8
HALVES = Window((2, 2), (2, 2))


def factors_into_norms(program: Program) -> int:
    """Fold what a group norm's result is multiplied by, or what is added, into the norm."""
    count = 0
    users, producers = program.users(), program.producers()
    for nest in [step for step in program.steps if isinstance(step, Nest)]:
        found = _scaled(nest)
        norm = producers.get(found[1]) if found else None
        while isinstance(norm, GroupScale) and _take_factor(program, nest, norm, users):
            count += 1
    return count


def _take_factor(
    program: Program, nest: Nest, norm: GroupScale, users: dict[Tensor, list[Step]]
) -> bool:
    out = nest.statements[0].out
    readers = users.get(out, [])
    if len(readers) != 1 or not isinstance(readers[0], Nest) or out is program.mask:
        return False
    reader = readers[0]
    if len(reader.statements) != 1 or not isinstance(reader.statements[0].expression, Call):
        return False
    call = reader.statements[0].expression
    if call.function not in ("mul", "add") or Load(out) not in call.arguments:
        return False
    other = by_channel(call.arguments[call.arguments[0] == Load(out)], out.channels)
    if other is None:
        return False
    if call.function == "mul":
        norm.gamma, norm.beta = norm.gamma * other, norm.beta * other
    else:
        norm.beta = norm.beta + other
    nest.statements[0].out = reader.statements[0].out
    program.steps.remove(reader)
    return True


def pool_before_scale(program: Program) -> int:
    """Let the largest values be taken before a group norm, whose pass then has a quarter to do.

    A norm with a negative factor turns the largest into the smallest: the convolution's channel
    changes its sign instead, and `GroupScale` knows it.
    """
    count = 0
    users, producers = program.users(), program.producers()
    for pool in [step for step in program.steps if isinstance(step, Pool)]:
        nest = producers.get(pool.source)
        found = _scaled(nest) if isinstance(nest, Nest) else None
        if found is None or users[pool.source] != [pool]:
            continue
        source, scale, shift = found
        norm, convolution = producers.get(scale), producers.get(source)
        if not isinstance(norm, GroupScale) or not isinstance(convolution, Convolution):
            continue
        others = [step for step in users[source] if step is not nest]
        if len(others) != 1 or not isinstance(others[0], ChannelSums):
            continue
        signs = np.where(norm.gamma < 0, np.float32(-1), np.float32(1))
        convolution.weight = convolution.weight * signs[:, None, None, None]
        convolution.bias = convolution.bias * signs
        norm.signs = norm.signs * signs
        pooled = Tensor(f"{source.name}_pooled", pool.out.shape)
        scaled = _affine(Load(pooled), scale, shift)
        early = Pool(pool.title, source, pool.window, pooled)
        late = Nest(pool.title, [Statement(pool.out, scaled, pool.out.channels)])
        assert isinstance(nest, Nest)
        program.steps[program.steps.index(pool)] = late
        program.steps[program.steps.index(nest)] = early
        count += 1
    return count


def _affine(value: Expression, scale: Tensor, shift: Tensor) -> Expression:
    return Call("add", (Call("mul", (value, Load(scale))), Load(shift)))


def _scaled(nest: Nest) -> tuple[Tensor, Tensor, Tensor] | None:
    """x, a and b of a nest that computes x * a + b."""
    if len(nest.statements) != 1:
        return None
    tensors = loads(nest.statements[0].expression)
    if len(tensors) != 3 or nest.statements[0].expression != _affine(
        Load(tensors[0]), tensors[1], tensors[2]
    ):
        return None
    return tensors[0], tensors[1], tensors[2]


def sums_into_convolutions(program: Program) -> int:
    """Let a convolution add up its results as it makes them."""
    count = 0
    producers = program.producers()
    for step in [one for one in program.steps if isinstance(one, ChannelSums)]:
        convolution = producers.get(step.source)
        if (
            step.kind == "moments"
            and isinstance(convolution, Convolution)
            and convolution.epilogue == Sum()
            and convolution.statistics is None
        ):
            # Each thread sums up its own rows.
            partial = Tensor(step.out.name, (2 * MOST_THREADS, *step.out.shape[1:]))
            for norm in program.users().get(step.out, []):
                assert isinstance(norm, GroupScale)
                norm.sums = partial
            convolution.statistics = partial
            program.steps.remove(step)
            count += 1
    return count


def pools_into_convolutions(program: Program) -> int:
    """Let a convolution keep the largest of each 2x2 of its results."""
    count = 0
    users, producers = program.users(), program.producers()
    for pool in [one for one in program.steps if isinstance(one, Pool)]:
        convolution = producers.get(pool.source)
        height, width = pool.source.shape[1:]
        if (
            pool.window == HALVES
            and isinstance(convolution, Convolution)
            and not convolution.is_depthwise
            and convolution.groups == 1
            and users[pool.source] == [pool]
            and pool.source is not program.mask
            and height % 2 == 0
            and width % 16 == 0
        ):
            convolution.pooled = True
            convolution.out = pool.out
            program.steps.remove(pool)
            count += 1
    return count
