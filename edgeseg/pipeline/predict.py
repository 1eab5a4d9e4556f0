"""Masks of images by a finished bundle."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeseg.benchmarks.settings import require_cores
from edgeseg.targets import Backend, find_runtime

from ..bundle.bundle import SOURCE_WEIGHTS, Bundle
from ..data.images import read_image
from ..errors import BundleError
from ..lazy import require
from .builder.bundle_reference import reference_runner


def load_bundle(bundle: Bundle, *, threads: int = 1) -> Backend:
    """Load a bundle's artefact.

    Raises:
        TargetError, MissingBackendError: The runtime is missing or refuses it.
        UsageError: This process may not use so many cores.
    """
    require_cores(threads)
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
        image: (H, W, C) of the bundle's channels.
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


def load_reference(bundle: Bundle) -> Backend:
    """The FP32 reference of a bundle, from the bundle's source: see `reference_runner`.

    Raises:
        BundleError: The bundle has no source.
        MissingBackendError: PyTorch is not installed.
    """
    if not (bundle.folder / SOURCE_WEIGHTS).is_file():
        raise BundleError(
            f"{bundle.folder} has no source/ folder with the FP32 weights. Compare with another "
            "bundle, or take the whole bundle that edgeseg build wrote."
        )
    require("torch", purpose="The FP32 reference")
    backend: Backend = reference_runner(bundle).open()
    return backend


@dataclass(frozen=True)
class Prediction:
    """One image and what the artefact made of it.

    Attributes:
        path: File of the image.
        image: (H, W, C), uint8 or uint16.
        labels: Class of each pixel, (H, W) uint8, at the image's own size.
        reference: Classes by what the artefact is compared with, (H, W); None without that.
    """

    path: Path
    image: NDArray[np.uint8] | NDArray[np.uint16]
    labels: NDArray[np.uint8]
    reference: NDArray[np.uint8] | None = None


def predict_images(
    bundle: Bundle,
    paths: Iterable[Path],
    *,
    threads: int = 1,
    reference: tuple[Bundle, Backend] | None = None,
) -> Iterator[Prediction]:
    """Masks of image files, at their own sizes.

    Args:
        reference: A bundle, and what computes its masks, to compare with.

    Raises:
        DataError: A file is no image.
        BundleError: The artefact gives NaN or infinity.
    """
    backend = load_bundle(bundle, threads=threads)
    for path in paths:
        image = read_image(path, bundle.inputs.channels)
        labels = predict_image(bundle, backend, image, str(path))
        theirs = None
        if reference is not None:
            theirs = predict_image(*reference, image, str(path))
        yield Prediction(path, image, labels, theirs)
