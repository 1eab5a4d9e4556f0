"""Masks of images by a finished bundle."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgeseg.benchmarks.settings import require_cores
from edgeseg.targets import Backend, find_runtime

from ..bundle.bundle import SOURCE_WEIGHTS, Bundle, open_bundle
from ..data.images import read_image
from ..data.medical.segmentations import Origin
from ..errors import BundleError, reason_of
from ..lazy import require
from ..options import AnyPath, require_path
from .builder.bundle_reference import reference_runner

if TYPE_CHECKING:
    from torch import nn


def load_bundle(bundle: Bundle, *, threads: int = 1) -> Backend:
    """Load a bundle's artefact.

    Raises:
        TargetError, MissingBackendError: The runtime is missing or refuses it.
        UsageError: This process may not use so many cores.
    """
    require_cores(threads)
    return find_runtime(bundle.manifest.runtime).load(bundle.artifact, threads)


def compute_mask(
    bundle: Bundle, backend: Backend, image: NDArray[np.uint8] | NDArray[np.uint16]
) -> NDArray[np.float32]:
    """Probabilities (1, C, h, w) of an image (H, W, 3), at the network's size; see `run_prepared`.

    Raises:
        BundleError: As `run_prepared`, or the manifest describes other images.
    """
    return run_prepared(bundle, backend, lambda: bundle.inputs.prepare(image))


def run_prepared(
    bundle: Bundle, backend: Backend, prepare: Callable[[], NDArray[np.float32]]
) -> NDArray[np.float32]:
    """Probabilities (1, C, h, w) of what `prepare` gives, (1, C, h, w).

    Raises:
        BundleError: The artefact fails on it, or gives a mask of another shape than the manifest
            says.
    """
    try:
        mask = np.asarray(backend.run(prepare()), np.float32)
    except Exception as error:  # each runtime has exceptions of its own
        raise BundleError(
            f"The artefact of {bundle.folder} fails on an image: {reason_of(error)}. Its manifest "
            "describes another network, or it is damaged: build the bundle anew."
        ) from error
    wanted = 1, bundle.outputs.channels, bundle.inputs.height, bundle.inputs.width
    if mask.shape != wanted:
        raise BundleError(
            f"The artefact of {bundle.folder} gives a mask of shape {mask.shape}, where the "
            f"manifest says {wanted}. Build the bundle anew."
        )
    return mask


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
        BundleError: The artefact fails, or gives NaN or infinity.
    """
    probabilities = compute_mask(bundle, backend, image)
    if not np.isfinite(probabilities).all():
        raise BundleError(
            f"{bundle.folder} gives NaN or infinity for {what}. Build with another --precision."
        )
    return bundle.outputs.restore(probabilities, *image.shape[:2])


def torch_module(folder: AnyPath, threads: int = 1) -> nn.Module:
    """A bundle as a torch module, for what evaluates such modules, as MONAI does.

    Its images have their columns first, (N, C, W, H), as MONAI's readers give them, and values as
    the contract of the bundle prepares them; its probabilities, (N, C, W, H), are laid out alike.
    Nothing of it can be trained.

    Raises:
        BundleError: The folder holds no bundle; in `forward`, the artefact fails on an image.
        TargetError, MissingBackendError: The runtime does not load the artefact, or PyTorch is not
            installed.
    """
    require("torch", purpose="A bundle as a torch module")
    import torch
    from torch import nn

    bundle = open_bundle(require_path(folder))
    backend = load_bundle(bundle, threads=threads)

    def probabilities_of(image: NDArray[np.float32]) -> NDArray[np.float32]:
        return run_prepared(bundle, backend, lambda: image[None])

    class BundleModule(nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            upright = image.detach().to("cpu", torch.float32).transpose(2, 3).contiguous().numpy()
            maps = np.concatenate([probabilities_of(one) for one in upright])
            result = torch.from_numpy(maps).transpose(2, 3).contiguous()
            return result.to(image.device)

    return BundleModule()


def origin_of(bundle: Bundle) -> Origin:
    """What a mask file says of the bundle that made it."""
    manifest = bundle.manifest
    return Origin(
        classes=bundle.outputs.classes,
        model=manifest.model.name,
        bundle=manifest.name,
        identity=bundle.short_identity,
        version=manifest.edgeseg_version,
    )


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
        image = read_image(path, bundle.inputs)
        labels = predict_image(bundle, backend, image, str(path))
        theirs = None
        if reference is not None:
            theirs = predict_image(*reference, image, str(path))
        yield Prediction(path, image, labels, theirs)
