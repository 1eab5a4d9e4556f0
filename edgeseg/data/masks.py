"""Masks from files, as class indices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..contract import IGNORED
from ..errors import DataError
from .decoding import SIXTEEN_BIT_MODES, WHITE_IS_ZERO, decode
from .images import read_sixteen_bits, refuse_floats
from .medical.readers import medical_values

SOFT_EDGE_VALUES = 3  # so many different greys of a mask, or more, are soft edges


def read_mask(path: Path, class_count: int, ignore: int | None = None) -> NDArray[np.uint8]:
    """Read a mask file as class indices.

    Two classes: 0 and 1 as they are; otherwise values of at least half of white are foreground,
    so that masks saved as JPEG and those with soft edges read right. More classes: the values are
    the indices. A coloured palette stands for its indices. DICOM and NIfTI files hold values
    likewise, without rescale or window.

    Args:
        ignore: Value of pixels of which nothing is known; they become `IGNORED`.

    Returns:
        (H, W) uint8 with values below `class_count`, or `IGNORED`.

    Raises:
        DataError: Not an image, coloured, or values that are no class, such as 255 beside 1.
    """
    values = medical_values(path)
    if values is None:
        values = _mask_values(decode(path, "mask"), path, class_count)
    unknown = None if ignore is None else values == ignore
    if unknown is not None:
        values = np.where(unknown, 0, values)
    labels = _two_classes(values, path) if class_count == 2 else _indices(values, path, class_count)
    if unknown is not None:
        labels[unknown] = IGNORED
    return labels


def _two_classes(values: NDArray[np.unsignedinteger[Any]], path: Path) -> NDArray[np.uint8]:
    highest = int(values.max())
    if highest <= 1:
        return values.astype(np.uint8)
    middle = 128 if highest <= 255 else 32768
    # A dark JPEG is an empty mask with noise; other dark masks hold something else.
    if path.suffix.lower() not in (".jpg", ".jpeg"):
        if highest < middle:
            raise DataError(
                f"The brightest value of the mask {path} is {highest}, which is neither 1 nor "
                "white. Save two-class masks with 0 and 1, or 0 and 255."
            )
        between = np.unique(values[(values > 0) & (values != 2 * middle - 1)])
        # More of them are soft edges.
        if 1 <= len(between) < SOFT_EDGE_VALUES:
            found = ", ".join(map(str, np.unique(values)[:-1].tolist()))
            other = int(between[0]) if between[0] > 1 else highest
            raise DataError(
                f"The mask {path} holds {found} and {highest}, which may mean 'ignore', a class or "
                f"white. Write ignore = {other} in the network's spec if nothing is known of "
                f"pixels of {other}; else save two-class masks with 0 and 1, or 0 and 255."
            )
    return (values >= middle).astype(np.uint8)


def _indices(
    values: NDArray[np.unsignedinteger[Any]], path: Path, class_count: int
) -> NDArray[np.uint8]:
    highest = int(values.max())
    if highest >= class_count:
        raise DataError(
            f"The mask {path} holds the value {highest}, but there are {class_count} classes "
            f"(0..{class_count - 1}). Give the right number of classes or repair the mask; if "
            f"nothing is known of these pixels, write ignore = {highest} in the network's spec."
        )
    return values.astype(np.uint8)


def _mask_values(
    image: Image.Image, path: Path, class_count: int
) -> NDArray[np.unsignedinteger[Any]]:
    """What the pixels of a mask stand for, (H, W), before it is turned into classes."""
    refuse_floats(image, path)
    if image.mode in SIXTEEN_BIT_MODES:
        return _counted_up(read_sixteen_bits(image, path), 65535, image, class_count)
    if image.mode == "1":
        return np.asarray(image, np.uint8)
    colors = np.asarray(image.convert("RGB"))
    is_coloured = image.mode == "P" and not _is_grey(
        np.reshape(image.getpalette("RGB") or [], (-1, 3))
    )
    # Black and white are what two classes look like, whatever else the palette holds.
    is_binary = _is_grey(colors) and {*np.unique(colors).tolist()} <= {0, 255}
    if is_coloured and not (class_count == 2 and is_binary):
        return np.asarray(image, np.uint8)
    if image.mode in ("RGBA", "LA") and np.ptp(colors) == 0:
        low, high = image.getchannel("A").getextrema()
        if low != high:
            raise DataError(
                f"The mask {path} has one colour and holds its shape in alpha. "
                "Save the alpha channel as a grey image: 0 and 255, or one value a class."
            )
    if not _is_grey(colors):
        raise DataError(
            f"The mask {path} is coloured (mode {image.mode}). "
            "Save masks as grey images: 0 and 255, or one value a class."
        )
    return _counted_up(colors[..., 0], 255, image, class_count)


def _counted_up(
    values: NDArray[np.unsignedinteger[Any]], white: int, image: Image.Image, class_count: int
) -> NDArray[np.unsignedinteger[Any]]:
    """Class indices in a TIFF whose white is zero count down from white."""
    if image.info.get(WHITE_IS_ZERO) and values.min() > white - class_count:
        return np.asarray(white - values)
    return values


def _is_grey(colors: NDArray[Any]) -> bool:
    return bool((colors == colors[..., :1]).all())
