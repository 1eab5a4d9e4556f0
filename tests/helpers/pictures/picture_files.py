"""Pictures that tests write, of any kind that is read."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

ORIENTATION = 0x0112
GREY = np.arange(6, dtype=np.uint8).reshape(2, 3) * 40
HALVES = np.array([[0, 0, 1, 1], [0, 1, 1, 1]], np.uint8)


def save(path: Path, pixels: NDArray[Any], mode: str | None = None, **options: Any) -> Path:
    image = Image.fromarray(pixels)
    (image if mode is None else image.convert(mode)).save(path, **options)
    return path


def save_turned(path: Path, pixels: NDArray[Any], orientation: int) -> Path:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return save(path, pixels, exif=exif)


def save_palette(path: Path, indices: NDArray[np.uint8], colors: list[int], **options: Any) -> Path:
    image = Image.fromarray(indices)
    image.putpalette(colors)  # turns the grey image into one of mode P
    assert image.mode == "P"
    image.save(path, **options)
    return path


def write_tiff(
    path: Path, pixels: NDArray[np.uint16], bits: int, *, is_white_zero: bool, order: str = "<"
) -> None:
    """A grey TIFF without compression; 12 bits are packed, two values in three bytes."""
    if bits == 12:
        flat = pixels.ravel().astype(int)
        first, second = flat[::2], flat[1::2]
        packed = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], 1)
        data = packed.astype(np.uint8).tobytes()
    else:
        data = pixels.astype(f"{order}u2").tobytes()
    height, width = pixels.shape
    tags = {256: width, 257: height, 258: bits, 259: 1, 262: int(not is_white_zero), 273: 8}
    tags |= {277: 1, 278: height, 279: len(data)}
    entries = b"".join(
        struct.pack(f"{order}HHIHH", tag, 3, 1, value, 0) for tag, value in tags.items()
    )
    mark = b"II" if order == "<" else b"MM"
    head = struct.pack(f"{order}2sHI", mark, 42, 8 + len(data))
    end = struct.pack(f"{order}I", 0)
    path.write_bytes(head + data + struct.pack(f"{order}H", len(tags)) + entries + end)


def write_deep_colours(path: Path, value: int) -> None:
    """An RGB PNG of 16 bits, two pixels wide, all of one value."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)

    head = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
    row = b"\0" + struct.pack(">6H", *[value] * 6)
    parts = (chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(row)), chunk(b"IEND", b""))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
