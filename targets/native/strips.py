"""Chooses steps that run on some rows at a time, so that what they share is small."""

from __future__ import annotations

from collections.abc import Iterator

from .expressions import Tensor, loads
from .ir import (
    ChannelSlice,
    Concat,
    Convolution,
    Nest,
    Pack,
    Program,
    Resize,
    Rows,
    Step,
    Strips,
)

CACHE = 49_152  # bytes of what is shared: it stays in the first cache
SMALL = 65_536  # bytes; whole tensors below stay in a cache anyway
MOST_ROWS = 16
LARGE = 1_000_000  # bytes of a tensor that no cache of a core holds
WORK_OF_BYTE = 0.5  # products that may be computed again to save one byte of such
SECOND_CACHE = 400_000  # bytes of what is shared where rows are computed again
MOST_HALO = 64  # rows; what is read around what it is part of would ask for ever more
MOST_STEPS = 24


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
    best = None
    run = _Run(readers)
    for end in range(start, len(steps)):
        if not run.add(steps[end]):
            break
        strips = run.strips()
        if strips is not None:
            best = strips, end + 1
        elif end - start > MOST_STEPS:
            break
    return best


class _Run:
    """Neighbouring steps that may share strips.

    Args:
        readers: See `_readers`.
    """

    def __init__(self, readers: dict[Tensor, set[Step] | None]) -> None:
        self.readers = readers
        self.steps: list[Step] = []
        self.made: set[Tensor] = set()
        self.is_shared = False
        self.is_over = False
        # Concatenations and slices are one piece of memory with what they are made of.
        self.piece: dict[Tensor, Tensor] = {}

    def root(self, tensor: Tensor) -> Tensor:
        while tensor in self.piece:
            tensor = self.piece[tensor]
        return tensor

    def add(self, step: Step) -> bool:
        """Whether it can run in strips with those before it."""
        if isinstance(step, Concat | ChannelSlice):
            for tensor in step.reads():
                if self.root(tensor) is not self.root(step.out):
                    self.piece[self.root(tensor)] = self.root(step.out)
            if any(tensor in self.made for tensor in step.reads()):
                self.made.add(step.out)
            return True
        is_moved = isinstance(step, Resize) and step.source in self.made
        if self.is_over or rows_of(step) is None or is_moved:
            return False
        self.is_shared |= any(tensor in self.made for tensor in step.reads())
        self.steps.append(step)
        self.made.update(step.writes())
        self.is_over = isinstance(step, Convolution) and step.pooled
        return True

    def strips(self) -> Strips | None:
        """None where these steps cannot share strips, or should not."""
        if not self.is_shared:
            return None
        found = self._ranges()
        if found is None:
            return None
        ranges, held = found
        inner = {tensor: held[self.root(tensor)] for tensor in self._inner()}
        if not inner:
            return None
        for step in self.steps:
            is_inner = all(tensor in inner for tensor in step.writes())
            if not is_inner and (ranges[step].above or ranges[step].below):
                return None  # two strips would write the same rows
        rows = self._rows(inner, ranges)
        return Strips(self.steps[0].title, list(self.steps), rows, ranges, inner) if rows else None

    def _inner(self) -> list[Tensor]:
        """What only these steps read."""
        inside = set(self.steps)
        found = []
        for step in self.steps:
            for tensor in step.writes():
                users = self.readers[tensor]
                if users is not None and users <= inside and not getattr(step, "pooled", False):
                    found.append(tensor)
        return found

    def _ranges(self) -> tuple[dict[Step, Rows], dict[Tensor, Rows]] | None:
        """Rows of each step and of each piece of memory; None where no whole number relates them
        to those of the last step."""
        height = rows_of(self.steps[-1]) or 1
        held: dict[Tensor, Rows] = {}
        ranges: dict[Step, Rows] = {}
        for step in self.steps:
            scale, rest = divmod(rows_of(step) or 0, height)
            if rest or not scale:
                return None
            ranges[step] = Rows(scale)
        changed = True
        while changed:
            changed = False
            for step in reversed(self.steps):
                for tensor in step.writes():
                    ranges[step] = ranges[step].join(held.get(self.root(tensor), ranges[step]))
                for tensor, wanted in _wanted_rows(step, ranges[step]):
                    root = self.root(tensor)
                    now = held.get(root, wanted)
                    if tensor not in self.made or now.join(wanted) == held.get(root):
                        continue
                    if now.scale != wanted.scale or wanted.above + wanted.below > MOST_HALO:
                        return None
                    held[root] = now.join(wanted)
                    changed = True
        return ranges, held

    def _rows(self, inner: dict[Tensor, Rows], ranges: dict[Step, Rows]) -> int:
        """How many at once; 0 where strips are of no use."""
        height = rows_of(self.steps[-1]) or 1
        total = sum(_row_bytes(tensor) * held.scale for tensor, held in inner.items())
        whole = [t for step in self.steps for t in step.writes() if t not in inner]
        total += sum(map(_row_bytes, whole))
        if total * height < SMALL:
            return 0
        is_wide = any(one.above or one.below for one in inner.values())
        most = [rows for rows in (32, 16, 8, 4) if height % rows == 0] if is_wide else []
        for rows in most:
            if self._live(inner, rows) <= SECOND_CACHE and self._is_worth(inner, ranges, rows):
                return rows
        if is_wide:
            return 0
        rows = MOST_ROWS
        while rows >= 2 and (height % rows or self._live(inner, rows) > CACHE):
            rows //= 2
        if rows < 2:
            rows = 2 if height % 2 == 0 and self._live(inner, 2) <= 4 * CACHE else 0
        return rows

    def _is_worth(self, inner: dict[Tensor, Rows], ranges: dict[Step, Rows], rows: int) -> bool:
        """Whether what stays in the cache saves more than is computed again."""
        saved, again = 0, 0.0
        for step in self.steps:
            one = ranges[step]
            again += _work(step) * (one.above + one.below) / (rows * one.scale)
            for tensor in step.writes():
                held = inner.get(tensor, Rows())
                size = 4 * tensor.channels * tensor.pixels
                if held.above + held.below and size > LARGE:
                    saved += 2 * size  # it would be written and read
        return again <= WORK_OF_BYTE * saved

    def _live(self, inner: dict[Tensor, Rows], rows: int) -> int:
        """Bytes of what is inside, where most of it is needed at once."""
        place = {step: index for index, step in enumerate(self.steps)}
        live = [0] * len(self.steps)
        for index, step in enumerate(self.steps):
            for tensor in step.writes():
                if tensor in inner:
                    users = self.readers[tensor] or set()
                    last = max((place[user] for user in users), default=index)
                    for when in range(index, last + 1):
                        live[when] += _row_bytes(tensor) * inner[tensor].count(rows)
        return max(live)


def _work(step: Step) -> int:
    """About how many products a step takes, or what takes as long."""
    if isinstance(step, Convolution):
        return int(step.weight.size * step.out.pixels * (4 if step.pooled else 1))
    return 8 * sum(tensor.channels * tensor.pixels for tensor in step.writes())


def _row_bytes(tensor: Tensor) -> int:
    return 4 * tensor.channels * (tensor.width + 16)


def _wanted_rows(step: Step, rows: Rows) -> Iterator[tuple[Tensor, Rows]]:
    """Rows of tensors that must be there when a step computes `rows`."""
    at_point = step.reads()
    if isinstance(step, Convolution):
        yield step.source, rows.around(step.window)
        at_point = loads(step.epilogue)
    for tensor in (*at_point, *step.writes()):
        yield tensor, rows
