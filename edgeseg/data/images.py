"""Decoding of images and masks from files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from ..contract import grey_of
from ..errors import DataError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
# Modes whose bands a network of two or four channels takes as they are.
OWN_BANDS = {2: ("LA",), 4: ("RGBA", "RGBX", "CMYK")}
DTYPES = (np.uint8, np.uint16)
_SIXTEEN_BIT_MODES = ("I", "I;16", "I;16L", "I;16B", "I;16N")


def _decode(path: Path, what: str) -> Image.Image:
    """Read a whole file and turn it upright as its EXIF orientation says."""
    if not path.is_file():
        raise DataError(f"No {what} at {path}. Check the path.")
    try:
        # Given a path, Pillow 13 maps uncompressed TIFFs into memory with the sides swapped.
        with path.open("rb") as raw, Image.open(raw) as file:
            file.load()
            return ImageOps.exif_transpose(file)
    except UnidentifiedImageError as error:
        raise DataError(
            f"{path} is not an image that can be read. Give a file of one of the kinds "
            f"{', '.join(s[1:] for s in IMAGE_SUFFIXES)}."
        ) from error
    except PermissionError as error:
        raise DataError(f"No right to read the {what} {path}. Change its permissions.") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(
            f"Cannot decode the {what} {path} ({error}). It is damaged, cut short or too large; "
            "replace it or take it out of the data set."
        ) from error


def _sixteen_bit(image: Image.Image, path: Path) -> NDArray[np.uint16]:
    values = np.asarray(image)
    if values.min() < 0 or values.max() > np.iinfo(np.uint16).max:
        raise DataError(
            f"{path} holds values from {values.min()} to {values.max()}; at most 16 bits "
            "(0..65535) are read. Window it to 8 or 16 bits first."
        )
    return values.astype(np.uint16)


def read_image(path: Path, channels: int = 3) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Read any common image file as the bands that a network takes.

    For one or three channels, any picture is converted to grey or RGB: alpha is dropped (the
    colours that were recorded stay), palettes, CMYK and 1 bit are converted. Two and four channels
    are taken as the file has them. EXIF orientation is applied.

    Args:
        channels: Of the network, 1 to 4.

    Returns:
        (H, W, channels): uint8, or uint16 when the file has 16-bit grey values.

    Raises:
        DataError: The file is missing, no image, damaged, holds more than 16 bits, or has other
            bands than the two or four that are asked for.
    """
    image = _decode(path, "image")
    if channels in OWN_BANDS:
        return _own_bands(image, path, channels)
    if image.mode in _SIXTEEN_BIT_MODES:
        return np.repeat(_sixteen_bit(image, path)[..., None], channels, axis=2)
    _refuse_floats(image, path)
    colors = np.asarray(image.convert("RGB"))
    return colors if channels == 3 else grey_of(colors)


def _own_bands(image: Image.Image, path: Path, channels: int) -> NDArray[np.uint8]:
    if image.mode not in OWN_BANDS[channels]:
        raise DataError(
            f"{path} is of mode {image.mode}, and the network takes {channels} channels. Save it "
            f"as {' or '.join(OWN_BANDS[channels])} (PNG or TIFF), or use a network with "
            "input_channels = 1 or 3 in its spec: any picture is converted to these."
        )
    return np.asarray(image)


def require_pixels(image: Any, channels: int = 3) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """An image that was decoded elsewhere, if it is of the kind that a network takes.

    Args:
        channels: Of the network; for one, (H, W) and RGB are taken, too.

    Raises:
        DataError: It has other bands, or other than 8 or 16 bits.
    """
    pixels = np.asarray(image)
    if channels == 1 and pixels.ndim == 2:
        pixels = pixels[..., None]
    bands = (1, 3) if channels == 1 else (channels,)
    if pixels.ndim != 3 or pixels.shape[2] not in bands or pixels.dtype not in DTYPES:
        kind = {1: "grey", 3: "RGB"}.get(channels, f"of {channels} bands")
        raise DataError(
            f"The image is {pixels.dtype} {pixels.shape}; it must be {kind}, "
            f"(height, width, {channels}), uint8 or uint16. Name its file instead, or convert it."
        )
    return pixels


def read_mask(path: Path, class_count: int) -> NDArray[np.uint8]:
    """Read a mask file as class indices.

    Two classes: 0 and 1 as they are; otherwise values of at least half of white are foreground,
    so that masks saved as JPEG read right. More classes: the values are the indices. A coloured
    palette stands for its indices.

    Returns:
        (H, W) uint8 with values below `class_count`.

    Raises:
        DataError: Not an image, coloured, or values that are no class, such as 255 beside 1.
    """
    values = _mask_values(_decode(path, "mask"), path)
    highest = int(values.max())
    if class_count == 2:
        if highest <= 1:
            return values.astype(np.uint8)
        is_jpeg = path.suffix.lower() in (".jpg", ".jpeg")
        if not is_jpeg and np.unique(values[values > 0]).tolist() in ([1, 255], [1, 65535]):
            raise DataError(
                f"The mask {path} holds 0, 1 and {highest}, which may mean 'ignore' or white. Save "
                "two-class masks with 0 and 1, or 0 and 255."
            )
        middle = 128 if highest <= 255 else 32768
        # A dark JPEG is an empty mask with noise; other dark masks hold something else.
        if highest < middle and not is_jpeg:
            raise DataError(
                f"The brightest value of the mask {path} is {highest}, which is neither 1 nor "
                "white. Save two-class masks with 0 and 1, or 0 and 255."
            )
        return (values >= middle).astype(np.uint8)
    if highest >= class_count:
        raise DataError(
            f"The mask {path} holds the value {highest}, but there are {class_count} classes "
            f"(0..{class_count - 1}). Give the right number of classes or repair the mask."
        )
    return values.astype(np.uint8)


def _mask_values(image: Image.Image, path: Path) -> NDArray[np.unsignedinteger[Any]]:
    """What the pixels of a mask stand for, (H, W), before it is turned into classes."""
    _refuse_floats(image, path)
    if image.mode in _SIXTEEN_BIT_MODES:
        return _sixteen_bit(image, path)
    if image.mode == "1":
        return np.asarray(image, np.uint8)
    if image.mode == "P" and not _is_grey(np.reshape(image.getpalette("RGB") or [], (-1, 3))):
        return np.asarray(image, np.uint8)
    colors = np.asarray(image.convert("RGB"))
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
    return colors[..., 0]


def _is_grey(colors: NDArray[Any]) -> bool:
    return bool((colors == colors[..., :1]).all())


def _refuse_floats(image: Image.Image, path: Path) -> None:
    if image.mode == "F":
        raise DataError(
            f"{path} holds floating-point values, whose white point is unknown. "
            "Save it with 8 or 16 bits."
        )
