"""C of a convolution: a tile of rows, vectors and outputs is summed up in registers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..expressions import Floats, Tensor
from ..functions import ARGUMENT, NAME, PARAMETER, marked
from ..ir import Convolution
from .codes import factors_of, words_of
from .tile import PACKED, Tile, computed_size
from .writer import Extent, Place, Span, Writer, blocks, masked, spans, value_of

MOST_UNROLLED = 25  # taps of a kernel that are written out; of larger ones, one row is


def write_convolution(writer: Writer, step: Convolution, tile: Tile, rows: int = 0) -> Extent:
    """Functions of one convolution: of the rows, or columns, from `from` to `to`.

    Args:
        rows: Of a strip; 0 where the step runs on the whole image.

    Returns:
        What threads can share.
    """
    kernel = _Kernel(writer, step, tile, rows)
    kernel.write()
    if kernel.is_flat:
        return Extent(kernel.width, tile.lanes * tile.vectors)
    return Extent(kernel.height, tile.rows)


@dataclass(frozen=True)
class _Outputs:
    """Outputs that are computed at once, and those that their weights lie side by side with.

    Attributes:
        place: Of the first of them among the latter.
    """

    count: int
    size: int
    place: int = 0


class _Kernel:
    def __init__(self, writer: Writer, step: Convolution, tile: Tile, rows: int) -> None:
        self.writer, self.step, self.tile = writer, step, tile
        self.outputs, self.inputs = step.weight.shape[:2]
        if step.packed:
            self.inputs = step.source.channels
        self.each = self.outputs // step.groups  # outputs of a group
        self.height, self.width = computed_size(writer, step, rows)
        self.is_flat = self.height == 1 and not rows
        # Outputs of a group whose weights lie side by side: (outputs, how often).
        self.blocks = blocks(self.each, PACKED)
        self.weights = writer.add_weights(self._in_order())
        bias, self.scale = step.bias, 0
        if step.packed:
            scales, bias = factors_of(step, writer.machine)
            self.scale = writer.add_weights(scales)
        self.bias = writer.add_weights(bias)
        self.storage = writer.storage(step.source)
        self.taps = step.window.kernel[0] * step.window.kernel[1]
        # Merged kernels have places that are zero in all channels.
        self.used = (step.weight != 0).any((0, 1))
        self.variants: dict[tuple[int, Span, _Outputs], str] = {}

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
        with writer.step():
            if self.tile.order == "oyx":
                self._for_outputs(self._rows)
            else:
                self._rows(None)
        caller, writer.lines = writer.lines, before
        for (rows, span, outputs), variant in self.variants.items():
            self._tile(variant, rows, span, outputs)
        writer.lines += caller

    def _for_outputs(self, body: Callable[[_Outputs], None]) -> None:
        """Loops over blocks of outputs, the first of which is `o` in `body`."""
        writer, step = self.writer, self.step
        if step.groups > 1 and self.blocks == [(self.each, 1)] and self.each <= self.tile.outputs:
            with writer.block(writer.loop("o", self.outputs, 0, self.each)):
                body(_Outputs(self.each, self.each))
            return
        start = 0
        groups = writer.loop("g", self.outputs, 0, self.each)
        with writer.block(groups if step.groups > 1 else ""):
            base = "g + " if step.groups > 1 else ""
            for size, times in self.blocks:
                end = start + size * times
                with writer.block(writer.loop("b", end, start, size)):
                    place = 0
                    for count, often in blocks(size, self.tile.outputs):
                        for _ in range(often):
                            with writer.block(""):
                                writer.line(f"const int o = {base}b + {place};")
                                body(_Outputs(count, size, place))
                            place += count
                start = end

    def _rows(self, outputs: _Outputs | None) -> None:
        """Loops over blocks of rows; for all outputs where `outputs` is None."""
        writer, step = self.writer, self.step
        lanes = self.tile.lanes
        count = self.outputs if outputs is None else outputs.count
        if step.statistics is not None:
            writer.line(f"double d[{2 * count}];")
            writer.line(f"{writer.loop('i', 2 * count)} d[i] = 0.0;")
        for head, rows in self._row_loops():
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
                    plane = f"{marked(sums.first)} + (2 * part + {part}) * {sums.plane}"
                    place = f"{plane} + ({first}i) * {sums.pitch}"
                    writer.line(f"m[{place}] = (float)d[2 * i + {part}];")

    def _row_loops(self) -> list[tuple[str, int]]:
        """C of the loops, and how many rows each computes at once."""
        rows = self.tile.rows
        whole = f"for (int y = from; y + {rows} <= to; y += {rows})"
        if self.is_flat:
            return [("for (int y = 0; y < 1; ++y)", rows)]
        strip = self.writer.strip
        if strip and (strip.above or strip.below) and rows > 1:
            # Strips at the upper and lower edge may have any number of rows.
            return [(whole, rows), (f"for (int y = to - (to - from) % {rows}; y < to; ++y)", 1)]
        rest = self.height % rows
        last = f"for (int y = to - {rest}; to == {self.height} && y < to; y += {rest})"
        return [(whole, rows), (last, rest)] if rest else [(whole, rows)]

    def _inner_loops(self, rows: int, outputs: _Outputs | None) -> None:
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
            inside = f"if ({span.start} >= from && {span.start} < to)" if self.is_flat else ""
            if count == 1:
                with writer.block(inside):
                    body((rows, kind, str(span.start)))
            else:
                stride = span.lanes * span.vectors
                end = span.start + stride * count
                with writer.block(writer.loop("x", end, span.start, stride)):
                    if self.is_flat:
                        writer.line("if (x < from || x >= to) continue;")
                    body((rows, kind, "x"))

    def _call(self, rows: int, span: Span, column: str, outputs: _Outputs) -> None:
        key = (rows, span, outputs)
        variant = self.variants.setdefault(key, f"{NAME}_{len(self.variants)}")
        given = ""
        if self.step.statistics is not None:
            given = ", t" if self.tile.order == "oyx" else ", t + 2 * o"
        base = "base" if self.writer.strip else "0"
        self.writer.line(f"{variant}({ARGUMENT}m, w, s, o, y, {base}, {column}{given});")

    def _tile(self, variant: str, rows: int, span: Span, block: _Outputs) -> None:
        writer, step = self.writer, self.step
        lanes, outputs = span.lanes, block.count
        arguments = f"{PARAMETER}float *m, const float *w, float *s, int o, int y, int base, int x"
        if step.statistics is not None:
            arguments += f", F{self.tile.lanes} *t"
        with writer.block(f"INLINE void {variant}({arguments})"):
            window = step.window
            plane = f"o / {self.each} * {self.inputs}" if step.groups > 1 else "0"
            top = writer.row(step.source, f"(y * {window.stride[0]} - {window.before[0]})")
            down = f"{top} * {self.storage.pitch}"
            right = f"x * {window.stride[1]} - {window.before[1]}"
            address = writer.plane(step.source, plane)
            writer.line(f"const float *p = {address} + {down} + {right};")
            size = self.inputs * self.taps
            first = f"(o - {block.place}) * {size} + {block.place}"
            writer.line(f"const float *q = w + {marked(self.weights)} + {first};")
            writer.line(f"const float *b = w + {marked(self.bias)} + o;")
            for output in range(outputs):
                for row in range(rows):
                    for vector in range(span.vectors):
                        name = f"{row}_{vector}_{output}"
                        writer.line(
                            f"I{lanes} i{name} = {{0}};"
                            if step.packed
                            else f"F{lanes} a{name} = splat{lanes}(b[{output}]);"
                        )
            steps = f"p += {self.storage.plane}, q += {self.taps * block.size}"
            if self.inputs > 1:
                writer.line("AS_WRITTEN")
                with writer.block(f"for (int c = 0; c < {self.inputs}; ++c, {steps})"):
                    self._taps(rows, span, block)
            else:
                self._taps(rows, span, block)
            if step.packed:
                self._to_floats(rows, span, outputs)
            self._finish(rows, span, outputs)

    def _to_floats(self, rows: int, span: Span, outputs: int) -> None:
        writer, lanes = self.writer, span.lanes
        writer.line(f"const float *e = w + {marked(self.scale)} + o;")
        for output in range(outputs):
            for row in range(rows):
                for vector in range(span.vectors):
                    name = f"{row}_{vector}_{output}"
                    total = f"__builtin_convertvector(i{name}, F{lanes})"
                    writer.line(f"F{lanes} a{name} = {total} * e[{output}] + b[{output}];")

    def _taps(self, rows: int, span: Span, block: _Outputs) -> None:
        """Multiply and add for one input channel."""
        writer, window = self.writer, self.step.window
        if self.used.sum() <= MOST_UNROLLED:
            for column in range(window.kernel[1]):
                with writer.block(""):
                    self._column(rows, span, block, list(range(window.kernel[0])), column, "")
            return
        with writer.block(writer.loop("k", window.kernel[0])):
            step = window.dilation[0] * self.storage.pitch
            writer.line(f"const float *pk = p + k * {step};")
            writer.line(f"const float *qk = q + k * {window.kernel[1] * block.size};")
            for column in range(window.kernel[1]):
                with writer.block(""):
                    self._column(rows, span, block, [0], column, "k")

    def _column(
        self, rows: int, span: Span, block: _Outputs, taps: list[int], column: int, suffix: str
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
            for output in range(block.count):
                index = (tap * window.kernel[1] + column) * block.size + output
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
            writer.line(f"F{lanes} u = {{0}}, r = {{0}}, v;")
            for row in range(rows):
                for vector in range(span.vectors):
                    value = f"a{row}_{vector}_{output}"
                    last = vector == span.vectors - 1
                    writer.line(f"v = {masked(value, span) if last else value};")
                    writer.line("u += v; r += v * v;")
            for index, name in ((2 * output, "u"), (2 * output + 1, "r")):
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
