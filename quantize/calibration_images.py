"""The images from which quantisation takes its ranges."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edgeseg.contract import InputContract
from edgeseg.data.folder import FolderDataset, Pair
from edgeseg.data.medical.frames import sha256_of_picture
from edgeseg.errors import CalibrationError

FLAT_STEPS = 2  # what a compressed black image can differ by


@dataclass(frozen=True)
class CalibrationImages:
    """A fixed choice of images, ordered by content.

    The order of the files' hashes is as good as random, so that any number of first images is a
    fair sample, and it does not depend on names or on the file system.

    Attributes:
        pairs: The images; masks are not used.
        digests: sha256 of each file.
        inputs: Name of the graph's input, and how images are prepared for it.
    """

    pairs: tuple[Pair, ...]
    digests: tuple[str, ...]
    inputs: InputContract

    def __len__(self) -> int:
        return len(self.pairs)

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        """Prepared images, (1, 3, H, W)."""
        for pair in self.pairs:
            yield self.inputs.prepare(pair.read_image(self.inputs))

    def divided(self, share: float) -> tuple[CalibrationImages, CalibrationImages]:
        """Images to learn from, and a share of them, 0..1, that is held back to check with.

        Raises:
            CalibrationError: There are fewer than two.
        """
        if len(self) < 2:
            raise CalibrationError(
                f"Distillation was given {len(self)} calibration images; it learns from some and "
                "checks on others. Raise --calibration-images, or name more images with --data."
            )
        held = min(max(round(share * len(self)), 1), len(self) - 1)
        order = sorted(range(len(self)), key=lambda index: self.digests[index])
        return self._chosen(order[:-held]), self._chosen(order[-held:])

    def _chosen(self, indices: Sequence[int]) -> CalibrationImages:
        return replace(
            self,
            pairs=tuple(self.pairs[index] for index in indices),
            digests=tuple(self.digests[index] for index in indices),
        )

    @property
    def input_name(self) -> str:
        """Name of the graph's input, which the images are given to."""
        return self.inputs.name


def choose_calibration_images(
    dataset: FolderDataset, inputs: InputContract, count: int
) -> CalibrationImages:
    """Take `count` images of a data set, or all if it has fewer; identical files count once.

    Raises:
        CalibrationError: `count` is not positive, there is no image, or all are flat.
    """
    if count < 1:
        raise CalibrationError(
            f"{count} calibration images were asked for; quantisation needs at least one. "
            "Raise --calibration-images."
        )
    by_digest: dict[str, Pair] = {}
    for pair in dataset:
        by_digest.setdefault(sha256_of_picture(pair.image_path), pair)
    if not by_digest:
        raise CalibrationError(
            "There is no image to calibrate with. Name a folder of real images with --data."
        )
    digests = tuple(sorted(by_digest)[:count])
    chosen = CalibrationImages(tuple(by_digest[digest] for digest in digests), digests, inputs)
    require_content(chosen)
    return chosen


def require_content(images: CalibrationImages) -> None:
    """Refuse images of which each is black, white or of one other colour all over.

    Ranges that are taken from them cover nothing that real images hold.

    Raises:
        CalibrationError: All are so; the message names one.
    """
    if all(_is_flat(pair.read_image(images.inputs)) for pair in images.pairs):
        first = images.pairs[0].image_path
        count = len(images)
        raise CalibrationError(
            f"All calibration images are flat ({count} that differ): in each, all pixels have the "
            f"same colour, as in {first}, to {FLAT_STEPS} steps of 255. Ranges from them would be "
            "wrong for real images. Name a folder of real images with --data, or build with "
            "--precision fp32."
        )


def _is_flat(image: NDArray[np.uint8] | NDArray[np.uint16]) -> bool:
    """Whether an image (H, W) or (H, W, C) has one colour, to FLAT_STEPS of 255."""
    limit = FLAT_STEPS * np.iinfo(image.dtype).max / 255
    spread = image.max((0, 1)).astype(np.int64) - image.min((0, 1))
    return bool((spread <= limit).all())
