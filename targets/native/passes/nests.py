"""Nests over the same pixels become one."""

from __future__ import annotations

from ..expressions import Tensor
from ..ir import Nest, Program


def join_nests(program: Program) -> int:
    """Let nests over the same pixels run as one, so that what they share stays in the cache."""
    count = 0
    position = 0
    while position < len(program.steps):
        first = program.steps[position]
        if isinstance(first, Nest) and first.shape != (1, 1):
            while (other := _joinable(program, position)) is not None:
                program.steps.remove(other)
                first.statements += other.statements
                count += 1
        position += 1
    return count


def _joinable(program: Program, position: int) -> Nest | None:
    """The next nest over the same pixels that needs nothing of the steps in between."""
    first = program.steps[position]
    assert isinstance(first, Nest)
    made: set[Tensor] = set()
    for step in program.steps[position + 1 :]:
        if isinstance(step, Nest) and step.shape == first.shape:
            related = set(step.reads()) & set(first.writes())
            if related and not set(step.reads()) & made:
                return step
        made.update(step.writes())
    return None


def keep_in_registers(program: Program) -> int:
    """Do not store values of one channel that only their own nest reads."""
    count = 0
    users = program.users()
    for nest in program.steps:
        if not isinstance(nest, Nest):
            continue
        for statement in nest.statements:
            readers = [step for step in users.get(statement.out, []) if step is not nest]
            if statement.out.channels == 1 and not readers and statement.out is not program.mask:
                count += statement.is_stored
                statement.is_stored = False
    return count
