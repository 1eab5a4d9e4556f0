"""Decoding of compressed frames: by what, and what is missing where nothing does.

Lossless JPEG is decoded here. All packages that are named have permissive licences;
`pylibjpeg-libjpeg`, under the GPL, is used where it is installed, and nothing needs it. GDCM ends
the process on some damaged frames, so that it is not used.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError
from .encoded import stated_size, unpacked_length
from .lossless_jpeg import decode_lossless
from .parsing import CONVERT, whole

EXTRA = "'edgeseg[dicom]'"
_JPEG = "1.2.840.10008.1.2.4."
LOSSLESS = (f"{_JPEG}57", f"{_JPEG}70")
# What pip installs for a compression.
PACKAGES = {
    f"{_JPEG}50": "pillow",
    **{f"{_JPEG}{kind}": EXTRA for kind in (80, 81, 90, 91, 201, 202, 203)},
}
PLUGINS = ("pylibjpeg", "pyjpegls", "pillow", "pydicom")  # of pydicom, the best first


def decode_frame(path: Path, data: Any, index: int, size: tuple[int, int, int]) -> NDArray[Any]:
    """Values of a frame as they are stored, (H, W); colours as RGB, (H, W, 3).

    Args:
        data: Of the file, as pydicom has it.
        size: Frames, rows and columns of the file.

    Raises:
        DataError: No decoder is there for it, it would unpack to more than the file says, or it is
            damaged. Says which, and the way out.
    """
    from pydicom.pixels import pixel_array

    syntax = data.file_meta.TransferSyntaxUID
    if not syntax.is_compressed:
        plain: NDArray[Any] = pixel_array(data, index=index)
        return plain
    plugin = "" if syntax in LOSSLESS else _plugin_of(syntax)
    if plugin is None:
        package = PACKAGES.get(str(syntax))
        way = f"Install one with pip install {package}. Else: " if package else ""
        raise DataError(
            f"{path} is compressed as {syntax_name(data)}, for which no decoder is installed. "
            f"{way}{CONVERT}"
        )
    frame = _bounded_frame(path, data, index, size)
    try:
        if syntax in LOSSLESS:
            return _decoded_here(frame, data)
        decoded: NDArray[Any] = pixel_array(data, index=index, decoding_plugin=plugin)
        return decoded
    except (RuntimeError, ValueError):
        bits = whole(data, "BitsStored", 8)
        raise DataError(
            f"Frame {index} of {path} is not decoded ({syntax_name(data)}, {bits} bits). It is "
            f"damaged, or of a form that the decoders here do not know. {CONVERT}"
        ) from None


def _bounded_frame(path: Path, data: Any, index: int, size: tuple[int, int, int]) -> bytes:
    """A compressed frame.

    Raises:
        DataError: It would unpack to more than the file says.
    """
    from pydicom.encaps import get_frame

    frames, rows, columns = size
    frame: bytes = get_frame(data.PixelData, index, number_of_frames=frames)
    found = stated_size(frame)
    samples = whole(data, "SamplesPerPixel", 1)
    unpacked = rows * columns * samples * whole(data, "BitsAllocated") // 8
    is_bomb = found is not None and found != (rows, columns)
    if syntax_name(data).startswith("RLE") and unpacked_length(frame) > unpacked + 64 * 15:
        is_bomb = True
    if is_bomb:
        raise DataError(
            f"Frame {index} of {path} unpacks to another size than the {columns}x{rows} pixels of "
            "the file. It is damaged, or made to exhaust memory; replace it."
        )
    return frame


def _decoded_here(frame: bytes, data: Any) -> NDArray[Any]:
    from pydicom.pixels import convert_color_space

    if stated_size(frame) is None:
        raise ValueError("no JPEG")
    samples = decode_lossless(frame)
    is_small = whole(data, "BitsAllocated") <= 8
    if samples.ndim == 3:
        colors = samples.astype(np.uint8) if is_small else samples
        photometric = str(data.PhotometricInterpretation)
        if photometric.startswith("YBR"):
            return np.asarray(convert_color_space(colors, photometric, "RGB"))
        return colors
    if whole(data, "PixelRepresentation", 0) == 1:
        unused = 16 - whole(data, "BitsStored")
        signed = (samples << unused).astype(np.uint16).view(np.int16) >> unused
        return signed.astype(np.int8) if is_small else signed
    return samples.astype(np.uint8) if is_small else samples


def syntax_name(data: Any) -> str:
    """Name of the compression, and its UID where that is all that is known."""
    return str(data.file_meta.TransferSyntaxUID.name)[:100]


def _plugin_of(syntax: Any) -> str | None:
    """What pydicom shall decode it with; None where nothing is there."""
    from pydicom.pixels import get_decoder

    try:
        there = get_decoder(syntax).available_plugins
    except NotImplementedError:  # films, and what is not known
        return None
    return next((plugin for plugin in PLUGINS if plugin in there), None)
