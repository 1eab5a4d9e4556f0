"""Images from files, as networks take them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..contract import InputContract, grey_of
from ..errors import DataError, reason_of
from .decoding import SIXTEEN_BIT_MODES, decode
from .medical.readers import medical_picture, medical_shape

# Modes whose bands a network of two or four channels takes as they are.
OWN_BANDS = {2: ("LA",), 4: ("RGBA", "RGBX", "CMYK")}
DTYPES = (np.uint8, np.uint16)


def read_sixteen_bits(image: Image.Image, path: Path) -> NDArray[np.uint16]:
    """Values of a picture of one of `SIXTEEN_BIT_MODES`, (H, W).

    Raises:
        DataError: They do not fit into 16 bits.
    """
    values = np.asarray(image)
    if values.min() < 0 or values.max() > np.iinfo(np.uint16).max:
        raise DataError(
            f"{path} holds values from {values.min()} to {values.max()}; at most 16 bits "
            "(0..65535) are read. Window it to 8 or 16 bits first."
        )
    return values.astype(np.uint16)


def read_image(
    path: Path, inputs: int | InputContract = 3
) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Read any common image file, DICOM or NIfTI as the bands that a network takes.

    For one or three channels, any picture is converted to grey or RGB: alpha is dropped (the
    colours that were recorded stay), palettes, CMYK and 1 bit are converted. Two and four channels
    are taken as the file has them. EXIF orientation is applied.

    Args:
        path: A file, or a slice or frame of one: see `edgeseg.data.medical.frames`.
        inputs: Of the network: what it takes, or only its number of channels, 1 to 4.

    Returns:
        (H, W, channels): uint8, or uint16 when the file has 16-bit grey values.

    Raises:
        DataError: The file is missing, no image, damaged, holds more than 16 bits, or has other
            bands than the two or four that are asked for.
    """
    channels = inputs.channels if isinstance(inputs, InputContract) else inputs
    pixels = medical_picture(path, inputs)
    if pixels is not None:
        return _with_bands(pixels, path, channels)
    image = decode(path, "image")
    if channels in OWN_BANDS:
        return _own_bands(image, path, channels)
    if image.mode in SIXTEEN_BIT_MODES:
        return np.repeat(read_sixteen_bits(image, path)[..., None], channels, axis=2)
    refuse_floats(image, path)
    colors = np.asarray(image.convert("RGB"))
    return colors if channels == 3 else grey_of(colors)


def picture_shape(path: Path) -> tuple[int, int]:
    """Rows and columns of a picture.

    Raises:
        DataError: See `read_image`.
    """
    shape = medical_shape(path) or read_image(path).shape
    return shape[0], shape[1]


def _with_bands(
    pixels: NDArray[Any], path: Path, channels: int
) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """A medical picture as grey or RGB."""
    if channels in OWN_BANDS:
        raise DataError(
            f"{path} is grey or RGB, and the network takes {channels} channels. Use a network "
            "with input_channels = 1 or 3 in its spec."
        )
    if pixels.ndim == 2:
        return np.repeat(pixels[..., None], channels, axis=2)
    return pixels if channels == 3 else grey_of(pixels)


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
    try:
        pixels = np.asarray(image)
    except (ValueError, TypeError) as error:
        raise DataError(
            f"The image is no array ({reason_of(error)}). Name its file instead, or convert it."
        ) from error
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


def refuse_floats(image: Image.Image, path: Path) -> None:
    """Refuse a picture of mode F.

    Raises:
        DataError: It is one.
    """
    if image.mode == "F":
        raise DataError(
            f"{path} holds floating-point values, whose white point is unknown. "
            "Save it with 8 or 16 bits."
        )
