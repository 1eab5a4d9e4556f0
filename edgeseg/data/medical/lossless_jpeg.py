"""Lossless JPEG (ITU-T T.81 annex H, Huffman-coded), as most DICOM archives have it.

The other decoders for it are under the GPL, or end the process on a damaged file.

Codes have any number of bits, so that where one begins is known only when the one before it is
read. What a code at each bit would be is computed for many bits at once; then only jumps from one
to the next are left to be made one by one.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

SOF3, DHT, SOI, EOI, SOS, DRI = 0xC3, 0xC4, 0xD8, 0xD9, 0xDA, 0xDD
RESTARTS = range(0xD0, 0xD8)
WINDOW = 2**20  # bits that are looked at together
MOST_BITS = 16  # of a code, and of what follows it
Samples = NDArray[np.int64]


@dataclass(frozen=True)
class _Table:
    """A Huffman table. Attributes have an entry for each 16 bits that may come:

    lengths: Of the code that these begin with; 0 where there is none.
    sizes: Bits of the difference, 16 for 32768, which is not followed by any.
    more: Bits that follow the code.
    """

    lengths: NDArray[np.int64]
    sizes: NDArray[np.int64]

    @property
    def more(self) -> NDArray[np.int64]:
        return np.where(self.sizes == MOST_BITS, 0, self.sizes)


@dataclass
class _Header:
    """Attributes:
    precision: Bits of a sample.
    rows, columns: Of the picture.
    components: Their marks, in order.
    tables: By their number.
    restart: Samples of a component between restarts; 0 for none.
    """

    precision: int = 0
    rows: int = 0
    columns: int = 0
    components: tuple[int, ...] = ()
    tables: dict[int, _Table] = field(default_factory=dict)
    restart: int = 0


def decode_lossless(stream: bytes) -> NDArray[np.uint16]:
    """Samples of a picture, (H, W) or (H, W, components).

    Memory is bounded by the length of the stream: each sample takes a bit at least.

    Raises:
        ValueError: The stream is damaged, or is no lossless JPEG with Huffman codes.
    """
    try:
        return _decode(stream)
    except (struct.error, LookupError) as error:
        raise ValueError("a segment is cut short, or names what is not there") from error


def _decode(stream: bytes) -> NDArray[np.uint16]:
    header = _Header()
    planes: dict[int, NDArray[np.uint16]] = {}
    place = 2
    while len(planes) < max(len(header.components), 1):
        marker, content, place = _next_segment(stream, place)
        if marker == SOF3:
            _read_frame(header, content)
        elif marker == DHT:
            _read_tables(header, content)
        elif marker == DRI:
            (header.restart,) = struct.unpack(">H", content)
        elif marker == SOS:
            found, place = _read_scan(header, content, stream, place)
            planes |= found
        elif 0xC0 <= marker <= 0xCF or marker == EOI:
            raise ValueError(f"marker {marker:#x} where lossless JPEG has none")
    ordered = [planes[mark] for mark in header.components]
    return ordered[0] if len(ordered) == 1 else np.stack(ordered, 2)


def _next_segment(stream: bytes, place: int) -> tuple[int, bytes, int]:
    """Marker, content and the place behind it."""
    while stream[place : place + 2] == b"\xff\xff":  # filling
        place += 1
    if len(stream) < place + 4 or stream[place] != 0xFF:
        raise ValueError("no marker where there must be one")
    length = int.from_bytes(stream[place + 2 : place + 4], "big")
    end = place + 2 + length
    if length < 2 or end > len(stream):
        raise ValueError("a segment is cut short")
    return stream[place + 1], stream[place + 4 : end], end


def _read_frame(header: _Header, content: bytes) -> None:
    precision, rows, columns, count = struct.unpack_from(">BHHB", content)
    parts = [content[6 + 3 * number : 9 + 3 * number] for number in range(count)]
    if header.components or not 2 <= precision <= 16 or rows == 0 or columns == 0:
        raise ValueError("the frame's header makes no sense")
    if count not in (1, 3) or len({part[0] for part in parts if part}) != count:
        raise ValueError(f"{count} components")
    if any(part[1] != 0x11 for part in parts):
        raise ValueError("components of other sizes")
    header.precision, header.rows, header.columns = precision, rows, columns
    header.components = tuple(part[0] for part in parts)


def _read_tables(header: _Header, content: bytes) -> None:
    while content:
        counts, number = list(content[1:17]), content[0] & 15
        symbols = content[17 : 17 + sum(counts)]
        if len(counts) < 16 or len(symbols) < sum(counts) or max(symbols, default=99) > MOST_BITS:
            raise ValueError("a table of codes makes no sense")
        lengths, sizes = np.zeros(2**16, np.int64), np.zeros(2**16, np.int64)
        code, taken = 0, 0
        for length, count in enumerate(counts, 1):
            for symbol in symbols[taken : taken + count]:
                first = code << (16 - length)
                end = first + (1 << (16 - length))
                if end > 2**16:
                    raise ValueError("a table has too many codes")
                lengths[first:end], sizes[first:end] = length, symbol
                code += 1
            taken += count
            code <<= 1
        header.tables[number] = _Table(lengths, sizes)
        content = content[17 + taken :]


def _read_scan(
    header: _Header, content: bytes, stream: bytes, place: int
) -> tuple[dict[int, NDArray[np.uint16]], int]:
    """The components of a scan, and the place behind it."""
    count = content[0]
    if count not in (1, len(header.components)) or len(content) != 4 + 2 * count:
        raise ValueError("the scan's header makes no sense")
    marks = [content[1 + 2 * number] for number in range(count)]
    tables = [header.tables[content[2 + 2 * number] >> 4] for number in range(count)]
    predictor, shift = content[-3], content[-1] & 15
    if not 1 <= predictor <= 7 or shift >= header.precision or not {*marks} <= {*header.components}:
        raise ValueError("the scan's header makes no sense")
    if header.restart % header.columns:
        raise ValueError("restarts within a row")
    end = _end_of_scan(stream, place)
    rows_of_part = header.restart // header.columns or header.rows
    start = 1 << (header.precision - shift - 1)
    parts: list[list[Samples]] = []
    rows_left = header.rows
    for part in _parts_of(stream[place:end]):
        rows = min(rows_of_part, rows_left)
        if rows == 0:
            break
        differences = _differences(part, rows * header.columns * count, tables)
        by_component = differences.reshape(rows, header.columns, count)
        parts.append([_undo(by_component[..., one], predictor, start) for one in range(count)])
        rows_left -= rows
    if rows_left:
        raise ValueError("the scan is cut short")
    return {
        mark: (np.concatenate([part[number] for part in parts]) << shift).astype(np.uint16)
        for number, mark in enumerate(marks)
    }, end


def _end_of_scan(stream: bytes, place: int) -> int:
    """Where the next marker is that ends it."""
    while True:
        place = stream.find(b"\xff", place)
        if place < 0 or place + 1 >= len(stream):
            return len(stream)
        if stream[place + 1] != 0 and stream[place + 1] not in RESTARTS:
            return place
        place += 2


def _parts_of(scan: bytes) -> Iterator[bytes]:
    """What lies between restarts, without the zeros that are stuffed behind 0xFF."""
    first, place = 0, 0
    while (place := scan.find(b"\xff", place)) >= 0:
        if scan[place + 1 : place + 2] and scan[place + 1] in RESTARTS:
            yield scan[first:place].replace(b"\xff\0", b"\xff")
            first = place + 2
        place += 2
    yield scan[first:].replace(b"\xff\0", b"\xff")


def _differences(part: bytes, count: int, tables: list[_Table]) -> Samples:
    """Differences to what was predicted, in the order of the stream.

    Args:
        tables: Of the components, which take turns.
    """
    total = len(part) * 8
    # Six bytes behind each other at each byte, so that 32 bits can be cut out at each bit.
    padded = np.frombuffer(part + bytes(6), np.uint8).astype(np.uint64)
    words = np.zeros(len(part), np.uint64)
    for offset in range(6):
        words |= padded[offset : offset + len(part)] << np.uint64(40 - 8 * offset)
    if all(table is tables[0] for table in tables):
        tables = tables[:1]
    found: list[Samples] = []
    place, known = 0, 0
    while known < count:
        first, end = place // 8, min(place // 8 + WINDOW // 8, len(part))
        bits = np.repeat(words[first:end], 8)
        bits >>= np.tile(np.arange(16, 8, -1, dtype=np.uint64), end - first)
        window = (bits & np.uint64(0xFFFFFFFF)).astype(np.int64)
        turns = tables[known % len(tables) :] + tables[: known % len(tables)]
        visited, place_after = _visit(window >> 16, turns, place - 8 * first, count - known)
        found.append(_values_at(window, visited, turns))
        place = 8 * first + place_after
        known += len(visited)
        if place > total or not len(visited):
            raise ValueError("the scan is cut short")
    return np.concatenate(found)


def _visit(
    codes: Samples, turns: list[_Table], place: int, most: int
) -> tuple[NDArray[np.intp], int]:
    """Bits at which codes begin, from `place` on, and the place behind the last of them.

    Args:
        turns: Tables, which take turns.
        most: Codes.
    """
    # What is no code is stepped over here and refused later.
    steps = [np.maximum(table.lengths + table.more, 1)[codes].tolist() for table in turns]
    visited: list[int] = []
    size = len(codes)
    if len(steps) == 1:
        (own,) = steps
        while place < size and len(visited) < most:
            visited.append(place)
            place += own[place]
    else:
        while place < size and len(visited) < most:
            own = steps[len(visited) % len(steps)]
            visited.append(place)
            place += own[place]
    return np.array(visited, np.intp), place


def _values_at(window: Samples, visited: NDArray[np.intp], turns: list[_Table]) -> Samples:
    """Differences of codes that begin at some bits.

    Args:
        window: 32 bits from each bit on.
    """
    values = np.zeros(len(visited), np.int64)
    for turn, table in enumerate(turns):
        bits = window[visited[turn :: len(turns)]]
        lengths, sizes = table.lengths[bits >> 16], table.sizes[bits >> 16]
        if not lengths.all():
            raise ValueError("a code that is in no table")
        more = np.where(sizes == MOST_BITS, 0, sizes)
        extra = (bits >> (32 - lengths - more)) & ((1 << more) - 1)
        is_negative = (more > 0) & (extra < (1 << np.maximum(more - 1, 0)))
        signed = np.where(is_negative, extra - (1 << more) + 1, extra)
        values[turn :: len(turns)] = np.where(sizes == MOST_BITS, 32768, signed)
    return values


def _undo(differences: Samples, predictor: int, start: int) -> Samples:
    """Samples (H, W) of differences to what lies left (a), above (b) or both (c)."""
    rows, columns = differences.shape
    samples = np.empty((rows, columns), np.int64)
    samples[0] = (np.cumsum(differences[0]) + start) & 0xFFFF
    for row in range(1, rows):
        above, own = samples[row - 1], differences[row]
        first = (above[0] + own[0]) & 0xFFFF
        if predictor == 2:
            samples[row] = above + own
        elif predictor == 3:
            samples[row, 1:] = above[:-1] + own[1:]
        elif predictor in (6, 7):
            samples[row, 1:] = _one_by_one(above.tolist(), own.tolist(), int(first), predictor)
        else:
            steps = own[1:].copy()
            if predictor == 4:
                steps += np.diff(above)
            elif predictor == 5:
                steps += np.diff(above) >> 1
            samples[row, 1:] = first + np.cumsum(steps)
        samples[row, 0] = first
        samples[row] &= 0xFFFF
    return samples


def _one_by_one(above: list[int], own: list[int], first: int, predictor: int) -> list[int]:
    """Samples of a row but the first, whose predictions round what was found before."""
    found, left = [], first
    for column in range(1, len(own)):
        if predictor == 6:
            guess = above[column] + ((left - above[column - 1]) >> 1)
        else:
            guess = (left + above[column]) >> 1
        left = (guess + own[column]) & 0xFFFF
        found.append(left)
    return found
