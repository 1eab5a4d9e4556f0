"""C of packing: codes of four channels in each word."""

from __future__ import annotations

from ..ir import Pack
from ..layout import CODE_OFFSET, filling
from ..passes.codes import EACH
from .writer import Extent, Span, Writer, masked_words, number, rows_loop, spans


def write_pack(writer: Writer, step: Pack, rows: int = 0) -> Extent:
    """A function that packs the rows, or columns, from `from` to `to`.

    Args:
        rows: Of a strip; 0 where the step runs on the whole image.

    Returns:
        What threads can share.
    """
    height, width = step.source.shape[1:]
    pitches = writer.pitch(step.source), writer.pitch(step.out)
    is_flat = not rows and width % 8 == 0 and pitches == (width, width)
    if is_flat:
        height, width = 1, height * width
    lanes = writer.machine.lanes
    while lanes > 4 and width < lanes:
        lanes //= 2
    whole, rest = divmod(step.source.channels, EACH)
    with writer.step(), writer.block(rows_loop(is_flat)):
        if whole:
            with writer.block(writer.loop("c", whole)):
                _row(writer, step, width, lanes, EACH, is_flat)
        if rest:
            with writer.block(""):
                writer.line(f"const int c = {whole};")
                _row(writer, step, width, lanes, rest, is_flat)
    return Extent(width, lanes) if is_flat else Extent(height)


def _row(writer: Writer, step: Pack, width: int, lanes: int, channels: int, is_flat: bool) -> None:
    source = writer.row(step.source), writer.pitch(step.source)
    for index in range(channels):
        plane = writer.plane(step.source, f"{EACH} * c + {index}")
        writer.line(f"const float *p{index} = {plane} + {source[0]} * {source[1]};")
    row = f"{writer.row(step.out)} * {writer.pitch(step.out)}"
    writer.line(f"float *q = {writer.plane(step.out, 'c')} + {row};")
    for span, count in spans(width, lanes, 1):
        end = span.start + span.lanes * count
        with writer.block(writer.loop("x", end, span.start, span.lanes)):
            if is_flat:
                writer.line("if (x < from || x >= to) continue;")
            _words(writer, step, span, channels)


def _words(writer: Writer, step: Pack, span: Span, channels: int) -> None:
    lanes = span.lanes
    factors = f"{number(1 / step.scale)}, {float(step.zero + CODE_OFFSET)}f"
    codes = [
        f"(code{lanes}(load{lanes}(p{index} + x), {factors}) << {8 * index})"
        for index in range(channels)
    ]
    value = masked_words(f"({' | '.join(codes)})", span, filling(step.zero))
    writer.line(f"store{lanes}(q + x, (F{lanes})({value}));")
