"""How large the compressed pictures inside DICOM files claim to be, before anything decodes them.

A decoder takes the size from the compressed stream itself; a small file may so ask for any amount
of memory. Only headers are looked at here.
"""

from __future__ import annotations

import struct

JPEG_START, JPEG_2000_START, JP2_START = b"\xff\xd8", b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP"
# Start of frame, all kinds; 0xF7 is that of JPEG-LS.
_SIZED = {0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF, 0xF7}
_ALONE = {0x01, *range(0xD0, 0xD9)}  # markers without a length


def stated_size(frame: bytes) -> tuple[int, int] | None:
    """(height, width) that a JPEG, JPEG-LS or JPEG 2000 stream states; None for anything else."""
    if frame.startswith(JP2_START):
        start = frame.find(JPEG_2000_START)
        return _size_of_jpeg_2000(frame[start:]) if start >= 0 else None
    if frame.startswith(JPEG_2000_START):
        return _size_of_jpeg_2000(frame)
    return _size_of_jpeg(frame) if frame.startswith(JPEG_START) else None


def _size_of_jpeg_2000(stream: bytes) -> tuple[int, int] | None:
    if len(stream) < 24:
        return None
    right, bottom, left, top = struct.unpack_from(">IIII", stream, 8)
    return bottom - top, right - left


def _size_of_jpeg(stream: bytes) -> tuple[int, int] | None:
    place = 2
    while place + 9 <= len(stream):
        if stream[place] != 0xFF:
            return None
        kind = stream[place + 1]
        if kind == 0xFF:  # filling
            place += 1
        elif kind in _ALONE:
            place += 2
        elif kind in _SIZED:
            height, width = struct.unpack_from(">HH", stream, place + 5)
            return height, width
        else:
            place += 2 + int.from_bytes(stream[place + 2 : place + 4], "big")
    return None


def unpacked_length(frame: bytes) -> int:
    """Bytes that DICOM's run lengths (RLE) of a frame stand for, over all of its segments."""
    if len(frame) < 64:
        return 0
    count = min(int.from_bytes(frame[:4], "little"), 15)
    starts = struct.unpack_from("<15I", frame, 4)[:count]
    return sum(
        _length_of_runs(frame, start, end)
        for start, end in zip(starts, (*starts[1:], len(frame)), strict=True)
    )


def _length_of_runs(frame: bytes, place: int, end: int) -> int:
    total, end = 0, min(end, len(frame))
    while place < end:
        head = frame[place]
        if head < 128:
            total += head + 1
            place += head + 2
        else:
            total += 257 - head if head > 128 else 0
            place += 2 if head > 128 else 1
    return total
