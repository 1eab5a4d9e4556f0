"""C of a convolution: a tile of rows, vectors and outputs is summed up in registers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..expressions import Floats, Tensor, loads
from ..ir import Convolution
from ..layout import CODE_OFFSET
from ..passes.codes import EACH
from .writer import Machine, Place, Span, Writer, blocks, masked, spans, value_of

L1, L2 = 32_000, 1_000_000  # bytes that are hoped to stay in a cache
MOST_UNROLLED = 25  # taps of a kernel that are written out; of larger ones, one row is


@dataclass(frozen=True)
class Tile:
    """How much a kernel computes at once.

    Attributes:
        lanes: Floats of a vector.
        order: Of the loops, the outermost first: "o" over outputs, "y" over rows, "x" over columns.
    """

    rows: int
    vectors: int
    outputs: int
    lanes: int
    order: str = "oyx"


def default_tile(writer: Writer, step: Convolution, rows_of_strip: int = 0) -> Tile:
    """A tile that fits the registers, in an order that fits the caches."""
    machine = writer.machine
    sums = machine.registers * 3 // 4
    height, width = computed_size(writer, step, rows_of_strip)
    lanes = machine.lanes
    while lanes > 4 and width < lanes:
        lanes //= 2
    while step.pooled and lanes > 4 and width % (2 * lanes):
        lanes //= 2
    vectors = min(2, max(1, width // lanes))
    rows = min(2, height)
    if step.is_depthwise:
        rows = min(4, height)
        while rows * vectors > sums:
            rows //= 2
        return Tile(rows, vectors, 1, lanes)
    if sums < 16 and not step.pooled:
        vectors = 1
    if height == 1:
        vectors = min(4 if sums >= 16 else 2, max(1, width // lanes))
    each = step.weight.shape[0] // step.groups
    outputs = max(1, min(each, sums // (rows * vectors)))
    return Tile(rows, vectors, outputs, lanes, _order(step))


def _order(step: Convolution) -> str:
    """Outputs first where weights are large and the input stays in the cache anyway."""
    if step.groups > 1:
        return "oyx"
    weights, pixels = 4 * step.weight.size, 4 * step.source.pixels * step.source.channels
    if weights > L1 and (pixels < L2 or weights > L2):
        return "oyx"
    return "yxo"


def computed_size(writer: Writer, step: Convolution, rows: int = 0) -> tuple[int, int]:
    """Height and width of the sums; one row where rows lie one behind the other in all tensors.

    Args:
        rows: Of a strip; 0 where the step runs on the whole image.
    """
    scale = 2 if step.pooled else 1
    height, width = rows or step.out.height * scale, step.out.width * scale
    tensors = [step.source, step.out, *loads(step.epilogue)]
    if (
        step.window.is_point
        and not rows
        and not step.pooled
        and width % 8 == 0
        and all(one.pixels == 1 or writer.pitch(one) == width for one in tensors)
    ):
        return 1, height * width
    return height, width


def write_convolution(
    writer: Writer, name: str, step: Convolution, tile: Tile, rows: int = 0
) -> int:
    """Functions of one convolution: `name(m, w, from, to)` computes these rows.

    Args:
        rows: Of a strip; 0 where the step runs on the whole image.

    Returns:
        How many rows there are.
    """
    kernel = _Kernel(writer, name, step, tile, rows)
    kernel.write()
    return kernel.height


def codes_of(step: Convolution) -> NDArray[np.int8]:
    """Codes of the weights."""
    assert step.codes is not None
    codes = np.rint(step.weight / step.codes.weights[:, None, None, None])
    return np.clip(codes, -127, 127).astype(np.int8)


def words_of(step: Convolution) -> Floats:
    """Codes of the weights as `Pack` orders channels: (outputs, words, rows, columns)."""
    codes = codes_of(step)
    missing = -codes.shape[1] % EACH
    filled = np.pad(codes, ((0, 0), (0, missing), (0, 0), (0, 0)))
    grouped = filled.reshape(codes.shape[0], -1, EACH, *codes.shape[2:]).transpose(0, 1, 3, 4, 2)
    words: Floats = np.ascontiguousarray(grouped).view("<f4")[..., 0]
    return words


def _of_codes(step: Convolution, machine: Machine) -> tuple[Floats, Floats]:
    """What the sums of codes are multiplied by, and what is added then."""
    assert step.codes is not None
    scales = step.codes.weights.astype(np.float64) * step.codes.scale
    zero = step.codes.zero + (CODE_OFFSET if machine.bytes == "unsigned" else 0)
    sums = codes_of(step).astype(np.int64).sum((1, 2, 3))
    bias = step.bias - scales * zero * sums
    return scales.astype(np.float32), bias.astype(np.float32)


class _Kernel:
    def __init__(self, writer: Writer, name: str, step: Convolution, tile: Tile, rows: int) -> None:
        self.writer, self.name, self.step, self.tile = writer, name, step, tile
        self.outputs, self.inputs = step.weight.shape[:2]
        if step.packed:
            self.inputs = step.source.channels
        self.each = self.outputs // step.groups  # outputs of a group
        self.height, self.width = computed_size(writer, step, rows)
        self.blocks = self._blocks()
        self.weights = writer.add_weights(self._in_order())
        self.scales, bias = _of_codes(step, writer.machine) if step.packed else (None, step.bias)
        self.bias = writer.add_weights(bias)
        self.scale = writer.add_weights(self.scales) if self.scales is not None else 0
        self.storage = writer.storage(step.source)
        self.taps = step.window.kernel[0] * step.window.kernel[1]
        # Merged kernels have places that are zero in all channels.
        self.used = (step.weight != 0).any((0, 1))
        self.variants: dict[tuple[int, Span, int], str] = {}

    def _blocks(self) -> list[tuple[int, int]]:
        """(outputs, how often) within a group."""
        return blocks(self.each, self.tile.outputs)

    def _in_order(self) -> Floats:
        """Weights in the order of their use: [block][input][row][column][output of the block]."""
        weight = self.step.weight.reshape(self.outputs, -1)
        if self.step.packed:
            weight = words_of(self.step).reshape(self.outputs, -1)
        parts, start = [], 0
        for _ in range(self.step.groups):
            for size, times in self.blocks:
                for _ in range(times):
                    parts.append(weight[start : start + size].T.ravel())
                    start += size
        return np.concatenate(parts)

    def write(self) -> None:
        # Before the function that calls them, so its text is put aside.
        writer = self.writer
        before = writer.lines
        writer.lines = []
        with writer.block(f"STEP void {self.name}(float *m, const float *w, int from, int to)"):
            if self.tile.order == "oyx":
                self._for_outputs(self._rows)
            else:
                self._rows(None)
        caller, writer.lines = writer.lines, before
        for (rows, span, outputs), variant in self.variants.items():
            self._tile(variant, rows, span, outputs)
        writer.lines += caller

    def _for_outputs(self, body: Callable[[int], None]) -> None:
        """Loops over blocks of outputs, the first of which is `o` in `body`."""
        writer, step = self.writer, self.step
        if step.groups > 1 and self.blocks == [(self.each, 1)]:
            with writer.block(writer.loop("o", self.outputs, 0, self.each)):
                body(self.each)
            return
        start = 0
        groups = writer.loop("g", self.outputs, 0, self.each)
        with writer.block(groups if step.groups > 1 else ""):
            base = "g + " if step.groups > 1 else ""
            for size, times in self.blocks:
                end = start + size * times
                with writer.block(writer.loop("b", end, start, size)):
                    writer.line(f"const int o = {base}b;")
                    body(size)
                start = end

    def _rows(self, outputs: int | None) -> None:
        """Loops over blocks of rows; for all outputs where `outputs` is None."""
        writer, step = self.writer, self.step
        lanes = self.tile.lanes
        count = self.outputs if outputs is None else outputs
        if step.statistics is not None:
            writer.line(f"double d[{2 * count}];")
            writer.line(f"{writer.loop('i', 2 * count)} d[i] = 0.0;")
        rest = self.height % self.tile.rows
        heads = [
            (
                f"for (int y = from; y + {self.tile.rows} <= to; y += {self.tile.rows})",
                self.tile.rows,
            )
        ]
        if rest:
            heads.append((f"for (int y = to - {rest}; y < to; y += {rest})", rest))
        for head, rows in heads:
            with writer.block(head):
                if step.statistics is not None:
                    writer.line(f"F{lanes} t[{2 * count}];")
                    writer.line(f"{writer.loop('i', 2 * count)} t[i] = splat{lanes}(0.0f);")
                self._inner_loops(rows, outputs)
                if step.statistics is not None:
                    with writer.block(writer.loop("i", 2 * count)):
                        writer.line(f"d[i] += sum{lanes}(t[i]);")
        if step.statistics is not None:
            sums = writer.storage(step.statistics)
            first = "o + " if outputs is not None else ""
            with writer.block(writer.loop("i", count)):
                for part in (0, 1):
                    place = f"{sums.first + part * sums.plane} + ({first}i) * {sums.pitch}"
                    writer.line(f"m[{place}] = (float)d[2 * i + {part}];")

    def _inner_loops(self, rows: int, outputs: int | None) -> None:
        """Over columns, and over outputs where no loop around them is."""
        if outputs is not None:
            self._columns(rows, lambda place: self._call(*place, outputs))
        elif self.tile.order == "yox":
            self._for_outputs(
                lambda size: self._columns(rows, lambda place: self._call(*place, size))
            )
        else:
            self._columns(
                rows, lambda place: self._for_outputs(lambda size: self._call(*place, size))
            )

    def _columns(self, rows: int, body: Callable[[tuple[int, Span, str]], None]) -> None:
        writer = self.writer
        for span, count in spans(self.width, self.tile.lanes, self.tile.vectors):
            kind = Span(0, span.lanes, span.vectors, span.valid)
            if count == 1:
                body((rows, kind, str(span.start)))
            else:
                stride = span.lanes * span.vectors
                end = span.start + stride * count
                with writer.block(writer.loop("x", end, span.start, stride)):
                    body((rows, kind, "x"))

    def _call(self, rows: int, span: Span, column: str, outputs: int) -> None:
        key = (rows, span, outputs)
        variant = self.variants.setdefault(key, f"{self.name}_{len(self.variants)}")
        given = ""
        if self.step.statistics is not None:
            given = ", t" if self.tile.order == "oyx" else ", t + 2 * o"
        self.writer.line(f"{variant}(m, w, o, y, y - from, {column}{given});")

    def _tile(self, variant: str, rows: int, span: Span, outputs: int) -> None:
        writer, step = self.writer, self.step
        lanes = span.lanes
        arguments = "float *m, const float *w, int o, int y, int r, int x"
        if step.statistics is not None:
            arguments += f", F{self.tile.lanes} *t"
        with writer.block(f"INLINE void {variant}({arguments})"):
            window = step.window
            plane = f"o / {self.each} * {self.inputs}" if step.groups > 1 else "0"
            top = f"{writer.row(step.source)} * {window.stride[0]} - {window.before[0]}"
            down = f"({top}) * {self.storage.pitch}"
            right = f"x * {window.stride[1]} - {window.before[1]}"
            address = writer.plane(step.source, plane)
            writer.line(f"const float *p = {address} + {down} + {right};")
            size = self.inputs * self.taps
            writer.line(f"const float *q = w + {self.weights} + o * {size};")
            writer.line(f"const float *b = w + {self.bias} + o;")
            for output in range(outputs):
                for row in range(rows):
                    for vector in range(span.vectors):
                        name = f"{row}_{vector}_{output}"
                        writer.line(
                            f"I{lanes} i{name} = {{0}};"
                            if step.packed
                            else f"F{lanes} a{name} = splat{lanes}(b[{output}]);"
                        )
            steps = f"p += {self.storage.plane}, q += {self.taps * outputs}"
            if self.inputs > 1:
                with writer.block(f"for (int c = 0; c < {self.inputs}; ++c, {steps})"):
                    self._taps(rows, span, outputs)
            else:
                self._taps(rows, span, outputs)
            if step.packed:
                self._to_floats(rows, span, outputs)
            self._finish(rows, span, outputs)

    def _to_floats(self, rows: int, span: Span, outputs: int) -> None:
        writer, lanes = self.writer, span.lanes
        writer.line(f"const float *s = w + {self.scale} + o;")
        for output in range(outputs):
            for row in range(rows):
                for vector in range(span.vectors):
                    name = f"{row}_{vector}_{output}"
                    total = f"__builtin_convertvector(i{name}, F{lanes})"
                    writer.line(f"F{lanes} a{name} = {total} * s[{output}] + b[{output}];")

    def _taps(self, rows: int, span: Span, outputs: int) -> None:
        """Multiply and add for one input channel."""
        writer, window = self.writer, self.step.window
        if self.used.sum() <= MOST_UNROLLED:
            for column in range(window.kernel[1]):
                with writer.block(""):
                    self._column(rows, span, outputs, list(range(window.kernel[0])), column, "")
            return
        with writer.block(writer.loop("k", window.kernel[0])):
            step = window.dilation[0] * self.storage.pitch
            writer.line(f"const float *pk = p + k * {step};")
            writer.line(f"const float *qk = q + k * {window.kernel[1] * outputs};")
            for column in range(window.kernel[1]):
                with writer.block(""):
                    self._column(rows, span, outputs, [0], column, "k")

    def _column(
        self, rows: int, span: Span, outputs: int, taps: list[int], column: int, suffix: str
    ) -> None:
        """All taps of a column of the kernel: rows of the input are loaded once."""
        writer, window, lanes = self.writer, self.step.window, span.lanes
        if not suffix:
            taps = [tap for tap in taps if self.used[tap, column]]
        stride, dilation = window.stride, window.dilation
        lines = {row * stride[0] + tap * dilation[0] for row in range(rows) for tap in taps}
        for line in sorted(lines):
            for vector in range(span.vectors):
                place = (
                    line * self.storage.pitch + column * dilation[1] + vector * lanes * stride[1]
                )
                address = f"p{suffix} + {place}"
                value = {1: f"load{lanes}({address})", 2: f"pairs{lanes}({address})"}.get(
                    stride[1], f"strided{lanes}({address}, {stride[1]})"
                )
                writer.line(f"F{lanes} v{line}_{vector} = {value};")
        for tap in taps:
            for output in range(outputs):
                index = (tap * window.kernel[1] + column) * outputs + output
                with writer.block(""):
                    if self.step.packed:
                        writer.line(f"I{lanes} f = words{lanes}(q{suffix} + {index});")
                    else:
                        writer.line(f"F{lanes} f = splat{lanes}(q{suffix}[{index}]);")
                    for row in range(rows):
                        line = row * stride[0] + tap * dilation[0]
                        for vector in range(span.vectors):
                            name, value = f"{row}_{vector}_{output}", f"v{line}_{vector}"
                            writer.line(
                                f"i{name} = dot{lanes}(i{name}, {value}, f);"
                                if self.step.packed
                                else f"a{name} += f * {value};"
                            )

    def _finish(self, rows: int, span: Span, outputs: int) -> None:
        writer, step, lanes = self.writer, self.step, span.lanes
        for output in range(outputs):
            channel = f"o + {output}"
            if step.statistics is not None:
                self._add_statistics(rows, span, output)
            if step.pooled:
                self._store_pooled(rows, span, output)
                continue
            for row in range(rows):
                for vector in range(span.vectors):

                    def offset(tensor: Tensor, row: int = row, vector: int = vector) -> str:
                        down = f"({writer.row(tensor)} + {row}) * {writer.pitch(tensor)}"
                        return f"{down} + x + {vector * lanes}"

                    place = Place(
                        channel,
                        step.out.shape,
                        offset,
                        {None: f"a{row}_{vector}_{output}"},
                        lanes,
                    )
                    value = value_of(writer, step.epilogue, place)
                    last = vector == span.vectors - 1
                    address = f"{writer.plane(step.out, channel)} + {offset(step.out)}"
                    value = masked(f"({value})", span) if last else value
                    writer.line(f"store{lanes}({address}, {value});")

    def _add_statistics(self, rows: int, span: Span, output: int) -> None:
        writer, lanes = self.writer, span.lanes
        with writer.block(""):
            writer.line(f"F{lanes} s = {{0}}, r = {{0}}, v;")
            for row in range(rows):
                for vector in range(span.vectors):
                    value = f"a{row}_{vector}_{output}"
                    last = vector == span.vectors - 1
                    writer.line(f"v = {masked(value, span) if last else value};")
                    writer.line("s += v; r += v * v;")
            for index, name in ((2 * output, "s"), (2 * output + 1, "r")):
                if lanes == self.tile.lanes:
                    writer.line(f"t[{index}] += {name};")
                else:
                    writer.line(f"t[{index}][0] += sum{lanes}({name});")

    def _store_pooled(self, rows: int, span: Span, output: int) -> None:
        writer, step, lanes = self.writer, self.step, span.lanes
        target = f"{writer.plane(step.out, f'o + {output}')}"
        pitch = writer.pitch(step.out)
        for row in range(0, rows, 2):
            for vector in range(0, span.vectors, 2):
                pair = [
                    f"max{lanes}(a{row}_{one}_{output}, a{row + 1}_{one}_{output})"
                    for one in (vector, vector + 1)
                ]
                with writer.block(""):
                    writer.line(f"F{lanes} l = {pair[0]}, h = {pair[1]};")
                    value = f"max{lanes}(even{lanes}(l, h), odd{lanes}(l, h))"
                    place = f"(y / 2 + {row // 2}) * {pitch} + x / 2 + {vector // 2 * lanes}"
                    writer.line(f"store{lanes}({target} + {place}, {value});")
