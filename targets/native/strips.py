"""Chooses steps that run on some rows at a time, so that what they share is small."""

from __future__ import annotations

from .expressions import Tensor
from .ir import ChannelSlice, Concat, Convolution, Nest, Pack, Program, Resize, Step, Strips

CACHE = 49_152  # bytes of what is shared: it stays in the first cache
SMALL = 65_536  # bytes; whole tensors below stay in a cache anyway
MOST_ROWS = 16


def in_strips(program: Program, steps: list[Step]) -> list[Step]:
    """The steps, with runs of them that can share strips put together."""
    readers = _readers(program, steps)
    made: list[Step] = []
    position = 0
    while position < len(steps):
        run = _longest_run(steps, position, readers)
        if run is None:
            made.append(steps[position])
            position += 1
            continue
        strips, end = run
        # Concatenations and slices are places only; where they stand does not matter.
        made += [step for step in steps[position:end] if isinstance(step, Concat | ChannelSlice)]
        made.append(strips)
        position = end
    return made


def is_virtual(step: Concat, users: dict[Tensor, list[Step]], program: Program) -> bool:
    """Whether only steps read it that can read its parts where they are."""
    readers = users.get(step.out, [])
    return (
        step.out is not program.mask
        and all(isinstance(reader, Nest | Pack) for reader in readers)
        and all(part.constant is None for part in step.parts)
    )


def _readers(program: Program, steps: list[Step]) -> dict[Tensor, set[Step] | None]:
    """Steps that read a tensor, also as part of another; None where it must lie in a whole one."""
    users: dict[Tensor, list[Step]] = {}
    for step in steps:
        for tensor in dict.fromkeys(step.reads()):
            users.setdefault(tensor, []).append(step)
    found: dict[Tensor, set[Step] | None] = {program.mask: None}

    def find(tensor: Tensor) -> set[Step] | None:
        if tensor not in found:
            total: set[Step] | None = set()
            for step in users.get(tensor, []):
                inner: set[Step] | None = {step}
                if isinstance(step, ChannelSlice):
                    inner = find(step.out)
                elif isinstance(step, Concat):
                    inner = find(step.out) if is_virtual(step, users, program) else None
                total = None if total is None or inner is None else total | inner
            found[tensor] = total
        return found[tensor]

    for step in steps:
        for tensor in step.writes():
            find(tensor)
    return found


def rows_of(step: Step) -> int | None:
    """Rows that a step computes one after the other; None for what cannot run in strips."""
    if isinstance(step, Nest):
        return step.shape[0]
    if isinstance(step, Resize | Pack):
        return step.out.height
    if isinstance(step, Convolution) and step.statistics is None:
        return step.out.height * (2 if step.pooled else 1)
    return None


def _longest_run(
    steps: list[Step], start: int, readers: dict[Tensor, set[Step] | None]
) -> tuple[Strips, int] | None:
    """The most steps from `start` on that share strips, and where they end."""
    height = rows_of(steps[start])
    if height is None:
        return None
    best = None
    run: list[Step] = []
    sources: dict[Tensor, set[Tensor]] = {}  # of concatenations and slices: what they are made of
    made: set[Tensor] = set()
    for end in range(start, len(steps)):
        step = steps[end]
        read = {part for tensor in step.reads() for part in sources.get(tensor, {tensor})}
        if isinstance(step, Concat | ChannelSlice):
            sources[step.out] = read
            continue
        is_point = isinstance(step, Nest | Pack) or (
            isinstance(step, Convolution) and step.window.is_point
        )
        if rows_of(step) != height or (read & made and not is_point):
            break
        run.append(step)
        made.update(step.writes())
        strips = _strips(run, height, readers)
        if strips is not None:
            best = strips, end + 1
        if isinstance(step, Convolution) and step.pooled:
            break
    return best


def _strips(run: list[Step], height: int, readers: dict[Tensor, set[Step] | None]) -> Strips | None:
    """None where nothing is shared, or too much for a cache."""
    inside = set(run)
    inner = []
    for step in run:
        for tensor in step.writes():
            users = readers[tensor]
            if users is not None and users <= inside and not getattr(step, "pooled", False):
                inner.append(tensor)
    row = sum(4 * tensor.channels * (tensor.width + 16) for tensor in inner)
    if not inner or row * height < SMALL:
        return None
    rows = MOST_ROWS
    while rows >= 2 and (height % rows or row * rows > CACHE):
        rows //= 2
    if rows < 2:
        rows = 2 if height % 2 == 0 and row * 2 <= 4 * CACHE else 0
    return Strips(run[0].title, list(run), rows, frozenset(inner)) if rows else None
