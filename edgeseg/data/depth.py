"""Images of 16 bits that use a small part of them: most networks see these nearly black."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..contract import WHITE, InputContract, MinMax
from ..errors import DataError
from ..progress import Progress
from .decoding import SIXTEEN_BIT_MODES, opened
from .images import read_image
from .medical.readers import is_medical

LOOKED_AT = 8  # images
DARK = WHITE // 4  # the largest value of images that are told to be dark


def describe_depth(paths: Sequence[Path], inputs: InputContract) -> str | None:
    """What to tell of images whose 16 bits are hardly used; None where all is well.

    Some of the images are looked at, as far apart as can be. A network that stretches each image
    sees the whole range, and one whose contract has a white point is told of colour images only:
    these are read with 8 of their 16 bits, which a white point of 16 does not fit.

    Args:
        inputs: Of the network that gets the images.
    """
    if isinstance(inputs.normalization, MinMax) or not paths:
        return None
    step = -(-len(paths) // LOOKED_AT)
    deep = [path for path in paths[::step] if _has_sixteen_bits(path, inputs)]
    if inputs.white is not None:
        return _describe_colours(deep, inputs.white)
    try:
        highest = max((_highest_value(path, inputs) for path in deep), default=WHITE)
    except DataError:
        return None  # is told where the image is used
    is_windowed = inputs.window is not None and is_medical(deep[0]) if deep else False
    if highest > DARK or highest == 0 or is_windowed:
        return None
    bits = max(highest.bit_length(), 8)
    is_grey = _read(deep[0], inputs).dtype == np.uint16
    white = (
        f"Write white = {2**bits - 1} in its spec if that is white, or save" if is_grey else "Save"
    )
    return (
        f"the 16-bit images use {bits} bits, as {deep[0].name} does: values up to {highest} of "
        f"{WHITE}, so that the network sees them nearly black. {white} the images with 8 bits"
    )


def _describe_colours(deep: Sequence[Path], white: int) -> str | None:
    """What to tell of colour images of 16 bits where the contract has a white point."""
    with contextlib.suppress(DataError):  # is told where the image is used
        for path in deep:
            if read_image(path).dtype != np.uint16:
                return (
                    f"the colour image {path.name} has 16 bits, of which 8 are read: white = "
                    f"{white} does not apply to it. Save such images with 8 bits, their white at "
                    "255"
                )
    return None


def tell_depth(paths: Sequence[Path], inputs: InputContract, progress: Progress) -> None:
    """Show what `describe_depth` tells."""
    text = describe_depth(paths, inputs)
    if text is not None:
        with progress.stage("look at the images") as stage:
            stage.note(text)


def _read(path: Path, inputs: InputContract) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Through the network's window where the file is medical; else all of its colours."""
    return read_image(path, inputs if is_medical(path) else 3)


def _highest_value(path: Path, inputs: InputContract) -> int:
    """Of the 16 bits of the file; where 8 of them are read, the largest that it may have been."""
    pixels = _read(path, inputs)
    highest = int(pixels.max())
    return highest if pixels.dtype == np.uint16 else 256 * highest + 255


def _has_sixteen_bits(path: Path, inputs: InputContract) -> bool:
    try:
        if is_medical(path):
            # A white of the network's is meant for these, colours or not.
            return inputs.white is None and _read(path, inputs).dtype == np.uint16
        with path.open("rb") as raw, opened(raw) as file:
            # Colours of 16 bits are read as 8: their tiles tell.
            return file.mode in SIXTEEN_BIT_MODES or ";16" in str(getattr(file, "tile", ())[:1])
    except Exception:  # of damaged files, each decoder raises what it likes
        return False
