"""Masks of images by a finished bundle."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeseg.targets import Backend, find_runtime

from ..bundle.bundle import Bundle
from ..data.images import read_image
from ..errors import BundleError


def load_bundle(bundle: Bundle, *, threads: int = 1) -> Backend:
    """Load a bundle's artefact.

    Raises:
        TargetError, MissingBackendError: The runtime is missing or refuses it.
    """
    return find_runtime(bundle.manifest.runtime).load(bundle.artifact, threads)


def predict_image(
    bundle: Bundle,
    backend: Backend,
    image: NDArray[np.uint8] | NDArray[np.uint16],
    what: str,
) -> NDArray[np.uint8]:
    """Class of each pixel of an image, at its own size.

    Args:
        backend: Of the bundle, loaded.
        image: (H, W, 3), RGB.
        what: Names the image in a message.

    Raises:
        BundleError: The artefact gives NaN or infinity.
    """
    probabilities = backend.run(bundle.inputs.prepare(image))
    if not np.isfinite(probabilities).all():
        raise BundleError(
            f"{bundle.folder} gives NaN or infinity for {what}. Build with another --precision."
        )
    return bundle.outputs.restore(probabilities, *image.shape[:2])


@dataclass(frozen=True)
class Prediction:
    """One image and what the artefact made of it.

    Attributes:
        path: Of the image.
        image: (H, W, 3), uint8 or uint16.
        labels: Class of each pixel, (H, W) uint8, at the image's own size.
    """

    path: Path
    image: NDArray[np.uint8] | NDArray[np.uint16]
    labels: NDArray[np.uint8]


def predict_images(
    bundle: Bundle, paths: Iterable[Path], *, threads: int = 1
) -> Iterator[Prediction]:
    """Masks of image files, at their own sizes.

    Raises:
        DataError: A file is no image.
        BundleError: The artefact gives NaN or infinity.
    """
    backend = load_bundle(bundle, threads=threads)
    for path in paths:
        image = read_image(path)
        yield Prediction(path, image, predict_image(bundle, backend, image, str(path)))
