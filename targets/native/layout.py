"""Where values lie in memory.

A channel is a plane of rows. Rows that a window reads beyond have zeros behind them, which are also
before the next row; the planes of a tensor have rows of zeros between them. Concatenations and
slices of channels are places in a larger tensor, so that nothing is copied.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from .expressions import Load, Tensor
from .ir import (
    ChannelSlice,
    Concat,
    Convolution,
    Nest,
    Pack,
    Pool,
    Program,
    Statement,
    Step,
    Strips,
    Window,
    steps_of,
)
from .strips import in_strips, is_virtual

LINE = 16  # floats of a cache line
ROW = 8  # rows with zeros behind them are multiples of this many floats
CODE_OFFSET = 128  # codes are stored without a sign
Time: TypeAlias = tuple[int, int]  # step, and step within its strips
END = 1 << 30  # behind all steps of strips
GUARD = 64  # floats before and behind everything, which whole vectors may read


@dataclass(eq=False)
class Storage:
    """Planes of one size, one behind the other.

    Attributes:
        halo: Pixels around the image that hold zeros.
        is_strip: Whether it holds some rows of the image only, those that are computed.
        scale, above: Of a strip from row `base` on, the first row is `base * scale - above`.
        fill: What the halo holds; of codes, those of zero.
        offset: In the arena, in floats, of what comes first: the zeros above the first plane.
    """

    channels: int
    height: int
    width: int
    halo: int = 0
    is_strip: bool = False
    scale: int = 1
    above: int = 0
    fill: int = 0
    offset: int = 0

    @property
    def pitch(self) -> int:
        """Floats from a row to the next."""
        if self.halo == 0 and self.width % ROW == 0:
            return self.width
        return _up(self.width + self.halo, LINE if self.width >= LINE else ROW)

    @property
    def plane(self) -> int:
        """Floats from a channel to the next.

        An odd number of cache lines: planes a multiple of 4096 bytes apart would share their
        places in the cache.
        """
        lines = _up((self.height + self.halo) * self.pitch, LINE) // LINE
        return (lines | 1) * LINE if lines > 1 else LINE

    @property
    def first(self) -> int:
        """Where the first pixel is, in the arena."""
        return self.offset + self.halo * self.pitch + _up(self.halo, LINE)

    @property
    def size(self) -> int:
        before = self.halo * self.pitch + _up(self.halo, LINE)
        return _up(before + self.channels * self.plane + self.halo * self.pitch + LINE, LINE)


@dataclass(frozen=True)
class View:
    """A tensor's place: some channels of a storage."""

    storage: Storage
    channel: int = 0


@dataclass(eq=False)
class Layout:
    """Places of all computed tensors, and the steps that are left.

    Attributes:
        pieces: Views that a tensor is made of, which differ from one for what only nests read.
        size: Of the arena, in floats.
        strip_size: Of the arena of strips; each thread has one.
    """

    pieces: dict[Tensor, list[tuple[View, int]]]
    steps: list[Step]
    size: int
    strip_size: int

    def view(self, tensor: Tensor) -> View:
        ((view, _),) = self.pieces[tensor]
        return view

    def storages(self, tensor: Tensor) -> list[Storage]:
        return [view.storage for view, _ in self.pieces[tensor]]


def plan_layout(program: Program, *, has_strips: bool = True) -> Layout:
    """Choose a place for everything."""
    steps = _copy_what_cannot_be_placed(program)
    if has_strips:
        steps = in_strips(program, steps)
    pieces = _place(program, steps)
    for step in [inner for outer in steps for inner in steps_of(outer)]:
        if isinstance(step, Pack):
            for view, _ in pieces[step.out]:
                view.storage.fill = filling(step.zero)
    kept = [step for step in steps if not isinstance(step, Concat | ChannelSlice)]
    _choose_halos(kept, pieces)
    return Layout(pieces, kept, *_plan_arenas(program, kept, pieces))


def filling(zero: int) -> int:
    """Four times the code of zero, as a signed word."""
    byte = zero + CODE_OFFSET
    return int.from_bytes(bytes([byte] * 4), "little", signed=True)


def _copy_what_cannot_be_placed(program: Program) -> list[Step]:
    """Put copies before the concatenations of what has its place elsewhere already."""
    users = program.users()
    producers = program.producers()
    placed: set[Tensor] = set()
    steps: list[Step] = []
    for step in program.steps:
        if isinstance(step, Concat) and not is_virtual(step, users, program):
            for index, part in enumerate(step.parts):
                producer = producers.get(part)
                if (
                    part in placed
                    or producer is None
                    or isinstance(producer, ChannelSlice | Concat)
                ):
                    copied = Tensor(f"{part.name}_copied", part.shape)
                    copy = Statement(copied, Load(part), part.channels)
                    steps.append(Nest(f"copy for {step.title}", [copy]))
                    step.parts[index] = copied
                    part = copied
                placed.add(part)
        steps.append(step)
    return steps


def _place(program: Program, steps: list[Step]) -> dict[Tensor, list[tuple[View, int]]]:
    users: dict[Tensor, list[Step]] = {}
    for step in [inner for outer in steps for inner in steps_of(outer)]:
        for tensor in step.reads():
            users.setdefault(tensor, []).append(step)
    homes: dict[Tensor, tuple[Tensor, int]] = {}
    for step in steps:
        if isinstance(step, Concat) and not is_virtual(step, users, program):
            first = 0
            for part in step.parts:
                homes[part] = (step.out, first)
                first += part.channels
    pieces: dict[Tensor, list[tuple[View, int]]] = {}
    strips = {
        tensor: (rows, step.rows)
        for step in steps
        if isinstance(step, Strips)
        for tensor, rows in step.inner.items()
    }

    def find(tensor: Tensor) -> list[tuple[View, int]]:
        if tensor not in pieces:
            if tensor in homes:
                outer, first = homes[tensor]
                ((view, _),) = find(outer)
                found = View(view.storage, view.channel + first)
            elif tensor in strips:
                rows, count = strips[tensor]
                shape = (tensor.channels, rows.count(count), tensor.width)
                strip = Storage(*shape, is_strip=True, scale=rows.scale, above=rows.above)
                found = View(strip)
            else:
                found = View(Storage(*tensor.shape))
            pieces[tensor] = [(found, tensor.channels)]
        return pieces[tensor]

    find(program.image)
    for step in steps:
        if isinstance(step, ChannelSlice):
            pieces[step.out] = _cut(find(step.source), step.first, step.out.channels)
        elif isinstance(step, Concat) and is_virtual(step, users, program):
            pieces[step.out] = [piece for part in step.parts for piece in find(part)]
        else:
            for tensor in step.writes():
                find(tensor)
    _keep_whole_beside_whole(pieces)
    return pieces


def _keep_whole_beside_whole(pieces: dict[Tensor, list[tuple[View, int]]]) -> None:
    """What is read as one with whole images must lie as they do: no strip of it alone is kept."""
    changed = True
    while changed:
        changed = False
        for tensor, parts in pieces.items():
            strips = [view.storage for view, _ in parts if view.storage.is_strip]
            if 0 < len(strips) < len(parts):
                changed = True
                for storage in strips:
                    storage.height, storage.is_strip = tensor.height, False


def _cut(pieces: list[tuple[View, int]], first: int, count: int) -> list[tuple[View, int]]:
    cut = []
    for view, channels in pieces:
        low, high = max(first, 0), min(first + count, channels)
        if low < high:
            cut.append((View(view.storage, view.channel + low), high - low))
        first -= channels
    return cut


def _choose_halos(steps: Iterable[Step], pieces: dict[Tensor, list[tuple[View, int]]]) -> None:
    for step in [inner for outer in steps for inner in steps_of(outer)]:
        if isinstance(step, Convolution | Pool):
            window: Window = step.window
            full = step.out.shape
            if isinstance(step, Convolution) and step.pooled:
                full = (full[0], full[1] * 2, full[2] * 2)
            for view, _ in pieces[step.source]:
                reach = window.reach(full, step.source.shape)
                view.storage.halo = max(view.storage.halo, reach)
    # One offset of a pixel must hold for all parts of what nests read in parts.
    changed = True
    while changed:
        changed = False
        for parts in pieces.values():
            largest = max(view.storage.halo for view, _ in parts)
            for view, _ in parts:
                changed |= view.storage.halo != largest
                view.storage.halo = largest


def _plan_arenas(
    program: Program, steps: list[Step], pieces: dict[Tensor, list[tuple[View, int]]]
) -> tuple[int, int]:
    """Give each storage its offset; returns the sizes of the arenas of whole images and strips."""
    first: dict[Storage, Time] = {}
    last: dict[Storage, Time] = {}

    def touch(tensor: Tensor, when: int, inner: int = 0) -> None:
        if tensor.constant is None:
            for view, _ in pieces[tensor]:
                storage = view.storage
                # Of strips, what a step needs no more makes room for the next one's, but for
                # what must have its zeros again in the next strip.
                makes_room = storage.is_strip and not storage.halo
                first.setdefault(storage, (when, inner if makes_room else 0))
                last[storage] = (when, inner if makes_room else END)

    touch(program.image, -1)
    for when, step in enumerate(steps):
        for index, inner in enumerate(steps_of(step)):
            for tensor in (*inner.reads(), *inner.writes()):
                if tensor in pieces:
                    touch(tensor, when, index)
    touch(program.mask, len(steps))
    whole = [storage for storage in first if not storage.is_strip]
    strips = [storage for storage in first if storage.is_strip]
    return _place_storages(whole, first, last), _place_storages(strips, first, last)


def _place_storages(
    storages: list[Storage], first: dict[Storage, Time], last: dict[Storage, Time]
) -> int:
    """Those that are never alive together share memory; returns how much all take."""
    placed: list[Storage] = []
    for storage in sorted(storages, key=lambda one: -one.size):
        busy = sorted(
            (other.offset, other.offset + other.size)
            for other in placed
            if first[other] <= last[storage] and first[storage] <= last[other]
        )
        offset = GUARD
        for start, end in busy:
            if offset + storage.size <= start:
                break
            offset = max(offset, end)
        storage.offset = offset
        placed.append(storage)
    end = max((one.offset + one.size for one in placed), default=0)
    return _up(end + GUARD, LINE) if placed else 0


def _up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple
