"""C of steps that move elements, pool, resize, multiply matrices or add up channels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..expressions import Tensor
from ..functions import marked
from ..ir import ChannelSums, Gather, GroupScale, MatrixProduct, Pool, Resize
from .writer import WHOLE, Extent, Place, Span, Writer, masked, number, spans, value_of

Offsets = NDArray[np.int64]
CHANNELS = "for (int c = from; c < to; ++c)"


def offsets_of(writer: Writer, tensor: Tensor) -> Offsets:
    """Of all elements in their order: places in the arena, or among the weights."""
    channels, height, width = tensor.shape
    pixels = np.arange(height)[:, None] * writer.pitch(tensor) + np.arange(width)
    if tensor.constant is not None:
        first = writer.constant(tensor) + np.arange(channels) * tensor.pixels
    else:
        first = np.array(
            [
                view.storage.first + (view.channel + index) * view.storage.plane
                for view, count in writer.layout.pieces[tensor]
                for index in range(count)
            ]
        )
    found: Offsets = (first[:, None, None] + pixels).ravel()
    return found


def write_gather(writer: Writer, step: Gather) -> Extent:
    """Loops where the places follow a pattern, a table where they do not."""
    source = offsets_of(writer, step.source)
    target = offsets_of(writer, step.out)
    outside = step.indices < 0
    origin = "w" if step.source.constant is not None else "m"
    with writer.step():
        writer.line("if (from == to) return;")
        if outside.any():
            _loops(writer, target[outside], None, lambda to, _: f"m[{to}] = {number(step.fill)};")
        inside = step.indices[~outside]
        _loops(
            writer,
            target[~outside],
            source[inside],
            lambda to, of: f"m[{to}] = {origin}[{of}];",
        )
    return WHOLE


def _loops(writer: Writer, to: Offsets, of: Offsets | None, copy) -> None:  # type: ignore[no-untyped-def]
    if not to.size:
        return
    pairs = np.stack([to, of if of is not None else np.zeros_like(to)], 1)
    counts = nested_counts(pairs)
    if counts is None:
        tables = [writer.table(list(column)) for column in (pairs.T if of is not None else [to])]
        with writer.block(writer.loop("i", to.size)):
            writer.line(copy(f"{tables[0]}[i]", f"{tables[-1]}[i]"))
        return
    places = [str(pairs[0, 0]), str(pairs[0, 1])]
    stride = 1
    terms: list[tuple[int, list[int]]] = []
    for count in reversed(counts):
        terms.append((count, [int(one) for one in pairs[stride] - pairs[0]]))
        stride *= count
    heads = []
    for index, (count, steps) in enumerate(reversed(terms)):
        heads.append(writer.loop(f"i{index}", count))
        for side in (0, 1):
            places[side] += f" + i{index} * {steps[side]}"
    writer.line(" ".join(heads) + f" {copy(*places)}")


def nested_counts(pairs: Offsets) -> list[int] | None:
    """Sizes of nested loops whose places are linear in their counters; None where there are none.

    Args:
        pairs: (elements, 2), in the order of the loops.
    """
    counts: list[int] = []
    rest = pairs
    while len(rest) > 1:
        steps = np.diff(rest, axis=0)
        ends = np.nonzero((steps != steps[0]).any(1))[0]
        count = int(ends[0]) + 1 if ends.size else len(rest)
        if len(rest) % count:
            return None
        blocks = rest.reshape(-1, count, 2)
        if (blocks - blocks[:, :1] != blocks[0] - blocks[0, :1]).any():
            return None
        counts.insert(0, count)
        if count == 1 or len(counts) > 6:
            return None
        rest = blocks[:, 0]
    return counts or [1]


def write_pool(writer: Writer, step: Pool) -> Extent:
    """Largest value of what of the window lies in the image."""
    window, storage = step.window, writer.storage(step.source)
    height, width = step.source.shape[1:]
    with (
        writer.step(),
        writer.block(CHANNELS),
        writer.block(writer.loop("y", step.out.height)),
    ):
        writer.line(f"const float *p = {writer.plane(step.source, 'c')};")
        place = f"{writer.plane(step.out, 'c')} + y * {writer.pitch(step.out)}"
        writer.line(f"float *q = {place};")
        numbers = (
            *window.kernel,
            *window.stride,
            *window.dilation,
            *window.before,
            height,
            width,
            storage.pitch,
            step.out.width,
        )
        writer.line(f"largest_row(p, q, y, {', '.join(map(str, numbers))});")
    return Extent(step.out.channels)


def write_resize(writer: Writer, step: Resize) -> Extent:
    """Rows are mixed first, and the columns of the result then.

    Returns:
        What threads can share.
    """
    source, out = step.source, step.out
    lanes = writer.machine.lanes
    pitch = writer.pitch(source)
    first_rows, row_shares = step.rows
    is_mixed = bool(row_shares.any())
    table = writer.table([int(row) * pitch for row in first_rows])
    shares = writer.add_weights(row_shares)
    below = pitch if source.height > 1 else 0
    padded = -(-source.width // 16) * 16
    with writer.step():
        writer.line(f"float row[{padded + 32}];")
        with (
            writer.block(writer.loop("c", out.channels)),
            writer.block("for (int y = from; y < to; ++y)"),
        ):
            writer.line(f"const float *p = {writer.plane(source, 'c')} + {table}[y];")
            if is_mixed:
                writer.line(f"const float h = w[{marked(shares)} + y];")
            step_lanes = lanes
            while step_lanes > 4 and source.width < step_lanes:
                step_lanes //= 2
            with writer.block(writer.loop("x", source.width, 0, step_lanes)):
                value = f"load{step_lanes}(p + x)"
                other = f"load{step_lanes}(p + {below} + x)"
                writer.line(f"F{step_lanes} v = {value};")
                # The nearest row alone may be the last one, with nothing behind it.
                mixed = f"v + h * ({other} - v)" if is_mixed else "v"
                writer.line(f"store{step_lanes}(row + x, {mixed});")
            _mix_columns(writer, step, lanes)
    return Extent(out.height)


def _mix_columns(writer: Writer, step: Resize, lanes: int) -> None:
    first, share = step.columns
    out = step.out
    while lanes > 4 and out.width < lanes:
        lanes //= 2
    for span, count in spans(out.width, lanes, 1):
        for number_of in range(count):
            start = span.start + number_of * span.lanes
            part = Span(start, span.lanes, 1, span.valid)
            _mix_span(writer, step, part, first, share)


def _mix_span(
    writer: Writer, step: Resize, span: Span, first: NDArray[np.int32], share: NDArray[np.float32]
) -> None:
    lanes, out = span.lanes, step.out
    index = np.zeros(lanes, np.int64)
    part = np.zeros(lanes, np.float32)
    index[: span.valid] = first[span.start : span.start + span.valid]
    index[span.valid :] = index[span.valid - 1]
    part[: span.valid] = share[span.start : span.start + span.valid]
    low = int(index.min())
    last = step.source.width - 1
    ends = [np.minimum(index + side, last) - low for side in (0, 1)]
    with writer.block(""):
        if ends[1].max() < 2 * lanes:
            writer.line(
                f"F{lanes} l = load{lanes}(row + {low}), h = load{lanes}(row + {low + lanes});"
            )
            for name, end in zip("ab", ends, strict=True):
                places = ", ".join(str(one) for one in end)
                writer.line(f"F{lanes} {name} = __builtin_shufflevector(l, h, {places});")
        else:
            for name, end in zip("ab", ends, strict=True):
                values = ", ".join(f"row[{low + one}]" for one in end)
                writer.line(f"F{lanes} {name} = {{{values}}};")
        numbers = ", ".join(number(float(one)) for one in part)
        writer.line(f"a += (F{lanes}){{{numbers}}} * (b - a);" if part.any() else "(void)b;")

        def offset(tensor: Tensor) -> str:
            return f"{writer.row(tensor)} * {writer.pitch(tensor)} + {span.start}"

        place = Place("c", out.shape, offset, {None: "a"}, lanes)
        value = masked(f"({value_of(writer, step.epilogue, place)})", span)
        address = f"{writer.plane(out, 'c')} + {offset(out)}"
        writer.line(f"store{lanes}({address}, {value});")


def write_product(writer: Writer, step: MatrixProduct) -> Extent:
    """Row by row: what is left of a row of the left matrix times rows of the right one."""
    batch, rows, columns = step.out.shape
    inner = step.left.width
    with writer.step():
        rows_of_thread = "for (int y = from; y < to; ++y)"
        with writer.block(writer.loop("i", batch)), writer.block(rows_of_thread):
            left, right = ("i" if one.channels > 1 else "0" for one in (step.left, step.right))
            writer.line(
                f"const float *p = {writer.plane(step.left, left)} + y * {writer.pitch(step.left)};"
            )
            writer.line(f"const float *q = {writer.plane(step.right, right)};")
            writer.line(f"float *r = {writer.plane(step.out, 'i')} + y * {writer.pitch(step.out)};")
            writer.line(f"product_row(p, q, r, {inner}, {columns}, {writer.pitch(step.right)});")
    return Extent(rows)


def write_sums(writer: Writer, step: ChannelSums) -> Extent:
    """Over all pixels of a channel, with sums in double precision over the rows."""
    storage = writer.storage(step.source)
    height, width = step.source.shape[1:]
    with writer.step(), writer.block(CHANNELS):
        writer.line(f"const float *p = {writer.plane(step.source, 'c')};")
        if step.kind == "moments":
            sums = writer.storage(step.out)
            places = [f"m + {sums.first + part * sums.plane} + c * {sums.pitch}" for part in (0, 1)]
            writer.line(
                f"moments(p, {height}, {width}, {storage.pitch}, {places[0]}, {places[1]});"
            )
        else:
            function = {"mean": "mean_of", "max": "largest_of"}[step.kind]
            value = f"{function}(p, {height}, {width}, {storage.pitch})"
            writer.line(f"*({writer.plane(step.out, 'c')}) = {value};")
    return Extent(step.source.channels)


def write_scale(writer: Writer, step: GroupScale) -> Extent:
    """One thread adds up what all have summed up."""
    sums = writer.storage(step.sums)
    given = [writer.add_weights(values) for values in (step.gamma, step.beta, step.signs)]
    targets = [writer.storage(one) for one in (step.scale, step.shift)]
    channels = step.scale.channels
    with writer.step():
        arguments = ", ".join(
            [
                f"m + {sums.first}",
                f"m + {sums.first + sums.plane}",
                str(sums.pitch),
                *(f"w + {offset}" for offset in given),
                str(channels),
                str(step.groups),
                f"{float(step.count)}",
                repr(float(step.epsilon)),
                *(f"m + {storage.first}" for storage in targets),
                str(targets[0].plane),
                "parts" if step.sums.channels > 2 else "1",
                str(2 * sums.plane),
            ]
        )
        writer.line(f"if (from < to) group_scale({arguments});")
    return WHOLE
