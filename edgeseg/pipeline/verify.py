"""Checking and using a finished bundle."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeseg.targets import Backend, find_target

from ..bundle.bundle import Bundle, open_bundle
from ..data.images import read_image
from ..errors import BundleError, ParityError
from ..metrics.agreement import Agreement
from ..reference.reference import ReferenceImages


def load_bundle(bundle: Bundle, *, threads: int = 1) -> Backend:
    """Load a bundle's artefact.

    Raises:
        TargetError, MissingBackendError: The runtime is missing or refuses it.
    """
    artifact = bundle.manifest.artifact
    target = find_target(bundle.manifest.target)
    return target.load(bundle.folder, artifact.files, artifact.runtime, threads)


def verify_bundle(folder: Path) -> tuple[Bundle, Agreement, str]:
    """Check a bundle's files and replay its golden pair through the installed runtime.

    The code in the bundle is not run: the same code, as part of the installed edgeseg, is.

    Returns:
        The bundle, the agreement, and what computed the masks: the target's own runtime, or what
        stands in for it on this machine.

    Raises:
        BundleError: A file is missing or changed, or the mask is further off than the manifest
            allows.
    """
    bundle = open_bundle(folder)
    bundle.check_files()
    image, mask = bundle.golden_pair()
    reference = ReferenceImages(("golden",), (bundle.inputs.prepare(image),), (mask,))
    artifact = bundle.manifest.artifact
    target = find_target(bundle.manifest.target)
    backend, computed_by = target.load_for_check(bundle.folder, artifact.files, artifact.runtime)
    advice = "Build it anew with the runtime that is installed here."
    try:
        agreement = reference.compare(backend.run, bundle.outputs, f"The artefact of {folder}")
    except ParityError as error:
        raise BundleError(f"{folder} does not give its golden mask here. {advice}") from error
    golden = bundle.manifest.golden
    holds = (
        agreement.flips_per_10k <= golden.max_flips_per_10k
        and agreement.max_abs_diff <= golden.max_abs_diff
    )
    if not holds:
        raise BundleError(
            f"{folder} does not give its golden mask here: {agreement}; allowed are "
            f"{golden.max_abs_diff:.0e} and {golden.max_flips_per_10k:g} flips. {advice}"
        )
    return bundle, agreement, computed_by


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
        probabilities = backend.run(bundle.inputs.prepare(image))
        if not np.isfinite(probabilities).all():
            raise BundleError(
                f"{bundle.folder} gives NaN or infinity for {path}. Build with another --precision."
            )
        yield Prediction(path, image, bundle.outputs.restore(probabilities, *image.shape[:2]))
