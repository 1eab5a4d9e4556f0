"""Lossless JPEG streams that tests make: slow and plain, sample by sample."""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

CODE_BITS = 5  # of each of the 17 codes


def encode_lossless(
    samples: NDArray[np.unsignedinteger],
    precision: int,
    predictor: int = 1,
    *,
    shift: int = 0,
    restart_rows: int = 0,
    is_interleaved: bool = True,
) -> bytes:
    """A stream of samples (H, W) or (H, W, components), as ITU-T T.81 annex H has it.

    Args:
        shift: Lower bits that are left out.
        restart_rows: Rows between restarts; 0 for none.
        is_interleaved: Whether components share one scan, else each has its own.
    """
    planes = np.atleast_3d(samples).astype(np.int64) >> shift
    rows, columns, count = planes.shape
    marks = list(range(1, count + 1))
    parts = b"".join(bytes((mark, 0x11, 0)) for mark in marks)
    stream = b"\xff\xd8" + segment(
        0xC3, struct.pack(">BHHB", precision, rows, columns, count) + parts
    )
    # One table whose codes are the numbers themselves, and one whose codes are turned round.
    lengths = bytes(17 if bits == CODE_BITS else 0 for bits in range(1, 17))
    for number, symbols in enumerate((range(17), reversed(range(17)))):
        stream += segment(0xC4, bytes((number,)) + lengths + bytes(symbols))
    if restart_rows:
        stream += segment(0xDD, struct.pack(">H", restart_rows * columns))
    for scan in [marks] if is_interleaved else [[mark] for mark in marks]:
        tables = b"".join(bytes((mark, (mark % 2) << 4)) for mark in scan)
        stream += segment(0xDA, bytes((len(scan),)) + tables + bytes((predictor, 0, shift)))
        step = restart_rows or rows
        for number, first in enumerate(range(0, rows, step)):
            part = planes[first : first + step][..., [mark - 1 for mark in scan]]
            if number:
                stream += bytes((0xFF, 0xD0 + (number - 1) % 8))
            stream += encode_part(part, scan, predictor, 1 << (precision - shift - 1))
    return stream + b"\xff\xd9"


def segment(marker: int, content: bytes) -> bytes:
    return bytes((0xFF, marker)) + struct.pack(">H", len(content) + 2) + content


def encode_part(planes: NDArray[np.int64], scan: list[int], predictor: int, start: int) -> bytes:
    """Entropy-coded samples (H, W, components) of a scan, with zeros stuffed behind 0xFF."""
    text = []
    for row in range(planes.shape[0]):
        for column in range(planes.shape[1]):
            for number, mark in enumerate(scan):
                plane = planes[..., number]
                guess = predict(plane, row, column, predictor, start)
                difference = (int(plane[row, column]) - guess) & 0xFFFF
                text.append(code_of(difference, is_turned=mark % 2 == 1))
    bits = "".join(text)
    bits += "1" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\0")


def predict(plane: NDArray[np.int64], row: int, column: int, predictor: int, start: int) -> int:
    if row == 0:
        return start if column == 0 else int(plane[row, column - 1])
    if column == 0:
        return int(plane[row - 1, 0])
    left, above = int(plane[row, column - 1]), int(plane[row - 1, column])
    corner = int(plane[row - 1, column - 1])
    return {
        1: left,
        2: above,
        3: corner,
        4: left + above - corner,
        5: left + ((above - corner) >> 1),
        6: above + ((left - corner) >> 1),
        7: (left + above) >> 1,
    }[predictor]


def code_of(difference: int, *, is_turned: bool) -> str:
    """Code and bits of a difference modulo 65536."""
    signed = difference - 65536 if difference > 32768 else difference
    size = abs(signed).bit_length()
    symbol = 16 - size if is_turned else size
    code = format(symbol, f"0{CODE_BITS}b")
    if size in (0, 16):
        return code
    return code + format(signed if signed > 0 else signed + (1 << size) - 1, f"0{size}b")
