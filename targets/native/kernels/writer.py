"""Text of the generated C, the weights that go with it, and addresses."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from ..expressions import Expression, Floats, Load, Scalar, Sum, Tensor
from ..functions import NAME, PARAMETER, marked
from ..ir import Rows
from ..layout import LINE, Layout, Storage

# Of every step: the arena, the weights, the thread's arena of strips; what is computed of rows,
# columns or channels; which of how many threads computes it.
ARGUMENTS = "float *m, const float *w, float *s, int from, int to, int part, int parts"
# Of a step in strips, in the place of the threads: the first row of the strip's last step.
STRIP_ARGUMENTS = "float *m, const float *w, float *s, int from, int to, int base"


@dataclass(frozen=True)
class Extent:
    """What can be shared out among threads.

    Attributes:
        size: Rows, columns or channels.
        granule: What a share is a multiple of.
    """

    size: int
    granule: int = 1


WHOLE = Extent(1)  # what one thread does alone


@dataclass(frozen=True)
class Machine:
    """What the kernels are shaped for.

    Attributes:
        lanes: Floats of the widest vector.
        registers: Vector registers.
        bytes: "unsigned" or "signed" where one instruction adds up four products of codes; then
            those of images are from 0 or from -128 on.
    """

    lanes: int
    registers: int
    bytes: str = ""


@dataclass(frozen=True)
class Span:
    """Part of a row that is computed at once.

    Attributes:
        vectors: How many, of `lanes` floats each.
        valid: Floats of the last vector that lie in the row.
    """

    start: int
    lanes: int
    vectors: int
    valid: int


def spans(width: int, most_lanes: int, most_vectors: int) -> list[tuple[Span, int]]:
    """Cover a row: each span with how often it follows upon itself."""
    found: list[tuple[Span, int]] = []
    start = 0
    whole = width // most_lanes
    for vectors in dict.fromkeys((most_vectors, whole % most_vectors)):
        count = (whole - start // most_lanes) // vectors if vectors else 0
        if count:
            found.append((Span(start, most_lanes, vectors, most_lanes), count))
            start += count * vectors * most_lanes
    while start < width:
        rest = width - start
        lanes = next(lanes for lanes in (16, 8, 4) if lanes <= max(rest, 4) or lanes == 4)
        if 4 < rest < 8:
            lanes = 8
        found.append((Span(start, lanes, 1, min(rest, lanes)), 1))
        start += lanes
    return found


def blocks(count: int, most: int) -> list[tuple[int, int]]:
    """Split a count evenly into as few parts of at most `most` as there can be: (size, times)."""
    parts = -(-count // most)
    small, larger = divmod(count, parts)
    return [
        (size, times) for size, times in ((small + 1, larger), (small, parts - larger)) if times
    ]


@dataclass
class Writer:
    """Collects lines.

    Attributes:
        layout: Where tensors are.
        weights: Constants, in floats, each at a multiple of a cache line.
        strip: Rows of what is written now, where that is a step of strips.
    """

    layout: Layout
    machine: Machine
    lines: list[str] = field(default_factory=list)
    depth: int = 0
    weights: list[Floats] = field(default_factory=list)
    weights_size: int = 0
    _constants: dict[Tensor, int] = field(default_factory=dict)
    _tables: dict[tuple[int, ...], str] = field(default_factory=dict)
    tables: list[str] = field(default_factory=list)
    strip: Rows | None = None

    def line(self, text: str) -> None:
        self.lines.append("    " * self.depth + text)

    def take(self) -> list[str]:
        """The lines, which are no longer here then."""
        taken, self.lines = self.lines, []
        return taken

    @contextmanager
    def block(self, head: str) -> Iterator[None]:
        self.line(f"{head} {{" if head else "{")
        self.depth += 1
        yield
        self.depth -= 1
        self.line("}")

    @contextmanager
    def step(self) -> Iterator[None]:
        """The function of a step."""
        arguments = STRIP_ARGUMENTS if self.strip else ARGUMENTS
        with self.block(f"STEP void {NAME}({PARAMETER}{arguments})"):
            others = ("base",) if self.strip else ("part", "parts")
            self.line(" ".join(f"(void){one};" for one in ("m", "w", "s", *others)))
            yield

    def loop(self, name: str, end: int, start: int = 0, step: int = 1) -> str:
        return f"for (int {name} = {start}; {name} < {end}; {name} += {step})"

    def add_weights(self, content: Floats) -> int:
        """Where it begins among the weights."""
        flat = np.ascontiguousarray(content, np.float32).ravel()
        padded = np.zeros(-(-flat.size // LINE) * LINE, np.float32)
        padded[: flat.size] = flat
        offset = self.weights_size
        self.weights.append(padded)
        self.weights_size += padded.size
        return offset

    def constant(self, tensor: Tensor) -> int:
        """Where a constant tensor lies among the weights."""
        if tensor not in self._constants:
            assert tensor.constant is not None
            self._constants[tensor] = self.add_weights(tensor.constant)
        return self._constants[tensor]

    def table(self, numbers: list[int] | tuple[int, ...]) -> str:
        """Name of an array of integers."""
        key = tuple(int(number) for number in numbers)
        if key not in self._tables:
            name = f"t{len(self._tables)}"
            self._tables[key] = name
            self.tables.append(f"static const int32_t {name}[] = {{{', '.join(map(str, key))}}};")
        return self._tables[key]

    def plane(self, tensor: Tensor, channel: str) -> str:
        """Address of the first pixel of a channel, relative to the arena or the weights."""
        if tensor.constant is not None:
            base = marked(self.constant(tensor))
            return f"w + {base} + ({channel}) * {tensor.pixels}"
        pieces = self.layout.pieces[tensor]
        if len(pieces) == 1:
            view = pieces[0][0]
            first = view.storage.first + view.channel * view.storage.plane
            arena = arena_of(view.storage)
            if tensor.channels == 1:
                return f"{arena} + {marked(first)}"
            return f"{arena} + {marked(first)} + ({channel}) * {view.storage.plane}"
        offsets = [
            view.storage.first + (view.channel + index) * view.storage.plane
            for view, count in pieces
            for index in range(count)
        ]
        base = f"{arena_of(pieces[0][0].storage)} + {marked(offsets[0])}"
        return f"{base} + {self.table([one - offsets[0] for one in offsets])}[{channel}]"

    def pitch(self, tensor: Tensor) -> int:
        """Floats from a row to the next."""
        if tensor.constant is not None:
            return tensor.width
        return self.layout.pieces[tensor][0][0].storage.pitch

    def row(self, tensor: Tensor, row: str = "y") -> str:
        """C of where a row of the image is stored: less far down where only a strip is."""
        if tensor.constant is not None or not self.storage(tensor).is_strip:
            return row
        storage = self.storage(tensor)
        return f"({row} - base * {storage.scale} + {storage.above})"

    def storage(self, tensor: Tensor) -> Storage:
        return self.layout.pieces[tensor][0][0].storage


@dataclass(frozen=True)
class Place:
    """Where an expression is computed.

    Attributes:
        channel: C expression of the channel.
        shape: Of the values of the nest or the convolution.
        offset: C expression of the pixel of a tensor, behind the first of its channel.
        variables: Register variables by tensor, and under None that of `Sum`.
    """

    channel: str
    shape: tuple[int, int, int]
    offset: Callable[[Tensor], str]
    variables: Mapping[Tensor | None, str]
    lanes: int


def value_of(writer: Writer, expression: Expression, place: Place) -> str:
    """C of a vector of values of neighbouring pixels."""
    lanes = place.lanes
    if isinstance(expression, Scalar):
        return f"splat{lanes}({number(expression.value)})"
    if isinstance(expression, Sum):
        return place.variables[None]
    if isinstance(expression, Load):
        tensor = expression.tensor
        if tensor in place.variables:
            return place.variables[tensor]
        channel = place.channel if tensor.channels > 1 else "0"
        address = writer.plane(tensor, channel)
        if tensor.pixels == 1 and place.shape[1:] != (1, 1):
            return f"splat{lanes}(*({address}))"
        return f"load{lanes}({address} + {place.offset(tensor)})"
    arguments = ", ".join(value_of(writer, one, place) for one in expression.arguments)
    return f"{expression.function}{lanes}({arguments})"


def number(value: float) -> str:
    """A C literal of the nearest float."""
    text = repr(float(np.float32(value)))
    if text in ("inf", "-inf", "nan"):
        return {
            "inf": "__builtin_inff()",
            "-inf": "-__builtin_inff()",
            "nan": '__builtin_nanf("")',
        }[text]
    return f"{text}f"


def masked(value: str, span: Span) -> str:
    """Zero for what lies behind the row."""
    if span.valid == span.lanes:
        return value
    bits = ", ".join("-1" if lane < span.valid else "0" for lane in range(span.lanes))
    return f"(F{span.lanes})((I{span.lanes}){value} & (I{span.lanes}){{{bits}}})"


def masked_words(value: str, span: Span, rest: int) -> str:
    """Another word for what lies behind the row."""
    if span.valid == span.lanes:
        return value
    bits = ", ".join("-1" if lane < span.valid else "0" for lane in range(span.lanes))
    mask = f"(I{span.lanes}){{{bits}}}"
    return f"({value} & {mask}) | ({rest} & ~{mask})"


def rows_loop(is_flat: bool) -> str:
    """The head of a loop over rows; of an image that is seen as one row, threads share columns."""
    if is_flat:
        return "for (int y = 0; y < 1; ++y)"
    return "for (int y = from; y < to; ++y)"


def arena_of(storage: Storage) -> str:
    """C variable of the arena where a storage lies."""
    return "s" if storage.is_strip else "m"


def clear_edges(writer: Writer, storage: Storage, height: int) -> None:
    """In a strip, write what windows read above and below the image.

    Args:
        height: Of the image.
    """
    fill = f"s + {marked(storage.first)}, {storage.channels}, {storage.plane}, {storage.pitch}"
    top = f"base * {storage.scale}"
    if storage.above:
        with writer.block(f"if ({top} < {storage.above})"):
            writer.line(f"fill_rows({fill}, 0, {storage.above} - {top}, {storage.fill});")
    end = f"{height + storage.above} - {top}"
    with writer.block(f"if ({end} < {storage.height})"):
        writer.line(f"fill_rows({fill}, {end}, {storage.height}, {storage.fill});")


def clear_halo(writer: Writer, storage: Storage) -> None:
    """Write the zeros that windows read around the images of a storage."""
    if storage.halo == 0:
        return
    pitch, plane = storage.pitch, storage.plane
    tail = pitch - storage.width
    zero = f"fill({{}}, {{}}, {storage.fill});" if storage.fill else "zero({}, {});"
    before = storage.first - storage.offset
    with writer.block(""):
        writer.line(f"float *p = {arena_of(storage)} + {storage.offset};")
        writer.line(zero.format("p", before))
        writer.line(f"p += {before};")
        with writer.block(writer.loop("c", storage.channels)):
            with writer.block(writer.loop("y", storage.height)):
                writer.line(zero.format(f"p + y * {pitch} + {storage.width}", tail))
            gap = plane - storage.height * pitch
            writer.line(zero.format(f"p + {storage.height * pitch}", gap))
            writer.line(f"p += {plane};")
        writer.line(zero.format("p", storage.halo * pitch))
