"""Removes what nothing reads."""

from __future__ import annotations

from ..expressions import loads
from ..ir import Nest, Program, Step


def drop_dead(program: Program) -> int:
    """Remove steps that nothing reads."""
    wanted = {program.mask}
    kept: list[Step] = []
    for step in reversed(program.steps):
        if any(tensor in wanted for tensor in step.writes()):
            wanted.update(step.reads())
            kept.append(step)
    count = len(program.steps) - len(kept)
    program.steps[:] = reversed(kept)
    return count


def drop_unread(program: Program) -> int:
    """Remove statements that were computed again elsewhere."""
    count = 0
    for nest in [step for step in program.steps if isinstance(step, Nest)]:
        wanted = {leaf for one in nest.statements for leaf in loads(one.expression)}
        kept = [one for one in nest.statements if one.is_stored or one.out in wanted]
        count += len(nest.statements) - len(kept)
        nest.statements = kept
    return count
