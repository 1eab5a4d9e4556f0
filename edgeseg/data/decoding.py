"""From a file to one upright picture, whatever kind of file it is."""

from __future__ import annotations

import contextlib
import io
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ..errors import DataError, reason_of

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif")
SIXTEEN_BIT_MODES = ("I", "I;16", "I;16L", "I;16B", "I;16N")
LARGEST_PIXELS = 250_000_000  # of a picture; RGB and its mask then take two gigabytes
WHITE_IS_ZERO = "edgeseg_white_is_zero"  # in a picture's `info`
# Tags of TIFF.
NEW_SUBFILE_TYPE, BITS_PER_SAMPLE, PHOTOMETRIC = 254, 258, 262
REDUCED_OR_MASK = 5  # bits of NEW_SUBFILE_TYPE: the page is a smaller copy or a mask of another
_one_at_a_time = threading.Lock()


def decode(path: Path, what: str) -> Image.Image:
    """Read a whole file and turn it upright as its EXIF orientation says.

    A TIFF whose white is zero is inverted, as viewers show it.

    Args:
        what: "image" or "mask", for messages.

    Raises:
        DataError: The file is missing, no image, damaged, too large, or has several pages.
    """
    if not path.is_file():
        raise DataError(f"No {what} at {path}. Check the path.")
    try:
        # Given a path, Pillow 13 maps uncompressed TIFFs into memory with the sides swapped.
        with path.open("rb") as raw:
            try:
                return _upright(raw, path, what)
            except UnidentifiedImageError:
                content = _with_black_zero(raw)
                if content is None:
                    raise
                upright = _upright(content, path, what)
        return _inverted(upright)
    except UnidentifiedImageError as error:
        raise DataError(
            f"{path} is not an image that can be read. Give a file of one of the kinds "
            f"{', '.join(s[1:] for s in IMAGE_SUFFIXES)}."
        ) from error
    except PermissionError as error:
        raise DataError(f"No right to read the {what} {path}. Change its permissions.") from error
    except DataError:
        raise
    except Exception as error:  # of damaged files, each decoder raises what it likes
        reason = reason_of(error) or type(error).__name__
        raise DataError(
            f"Cannot decode the {what} {path} ({reason}). It is damaged, cut short or too large; "
            "replace it or take it out of the data set."
        ) from error


def _upright(raw: IO[bytes], path: Path, what: str) -> Image.Image:
    with opened(raw) as file:
        _require_size(file, path)
        _require_one_page(file, path, what)
        file.load()
        return _shown(ImageOps.exif_transpose(file), file)


def _with_black_zero(raw: IO[bytes]) -> IO[bytes] | None:
    """A TIFF whose white is zero, as one whose black is; None for any other file.

    Pillow does not know some kinds of the former, such as 16 bits with the high byte first.
    """
    raw.seek(0)
    mark = raw.read(4)
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(mark)
    if order is None:
        return None
    content = bytearray(mark + raw.read())
    with contextlib.suppress(struct.error):
        (directory,) = struct.unpack_from(f"{order}I", content, 4)
        (count,) = struct.unpack_from(f"{order}H", content, directory)
        for entry in range(directory + 2, directory + 2 + 12 * count, 12):
            tag, _, _, value = struct.unpack_from(f"{order}HHIH", content, entry)
            if (tag, value) == (PHOTOMETRIC, 0):
                struct.pack_into(f"{order}H", content, entry + 8, 1)
                return io.BytesIO(content)
    return None


@contextlib.contextmanager
def opened(raw: IO[bytes]) -> Iterator[Image.Image]:
    """Open a file without Pillow's limit of pixels, which warns on the terminal: ours is below."""
    with _one_at_a_time:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            picture = Image.open(raw)
        finally:
            Image.MAX_IMAGE_PIXELS = limit
    with picture as file:
        yield file


def _require_size(file: Image.Image, path: Path) -> None:
    count = file.width * file.height
    if count > LARGEST_PIXELS:
        raise DataError(
            f"{path} has {file.width}x{file.height} pixels, which is too large: at most "
            f"{LARGEST_PIXELS:,} are read. Reduce it, or cut it into parts."
        )


def _require_one_page(file: Image.Image, path: Path, what: str) -> None:
    count = count_pages(file)
    if count > 1:
        raise DataError(
            f"The {what} {path} has {count} pages or frames, and one is read. Save each as a file "
            "of its own, or the one that is meant."
        )


def count_pages(file: Image.Image) -> int:
    """Pages or frames of an open file; smaller copies of a page and its masks count for none."""
    if file.format == "MPO":  # a photo; behind it lie previews and what else a camera keeps
        return 1
    count = int(getattr(file, "n_frames", 1))
    if file.format != "TIFF" or count == 1:
        return count
    pages = 0
    for index in range(count):
        file.seek(index)
        pages += not _tag(file, NEW_SUBFILE_TYPE, 0) & REDUCED_OR_MASK
    file.seek(0)
    return max(pages, 1)


def _tag(file: Image.Image, number: int, default: int) -> int:
    tags: Any = getattr(file, "tag_v2", {})
    value = tags.get(number, default)
    value = value[0] if isinstance(value, tuple) and value else value
    return value if isinstance(value, int) else default


def _shown(upright: Image.Image, file: Image.Image) -> Image.Image:
    """What Pillow leaves undone: 12 bits become 16, and 16-bit TIFFs of white zero are inverted."""
    if file.format != "TIFF":
        return upright
    is_inverted = _tag(file, PHOTOMETRIC, 1) == 0
    if upright.mode in SIXTEEN_BIT_MODES[1:]:
        values = np.asarray(upright).astype(np.uint32)
        if _tag(file, BITS_PER_SAMPLE, 16) == 12:
            values = (values * 65535 + 2047) // 4095
        upright = Image.fromarray(values.astype(np.uint16))
        return _inverted(upright) if is_inverted else upright
    upright.info[WHITE_IS_ZERO] = is_inverted
    return upright


def _inverted(picture: Image.Image) -> Image.Image:
    """A picture of 8 or 16 bits whose white is zero, as viewers show it."""
    values = np.asarray(picture)
    result = Image.fromarray(np.iinfo(values.dtype).max - values)
    result.info[WHITE_IS_ZERO] = True
    return result
