"""The golden check: whether a network gives the mask that was kept when its bundle was built.

This one file checks masks on every machine: a bundle carries a copy of it beside its runner. It
therefore needs numpy only and nothing of edgeseg.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

PER = 10_000  # flips are counted per so many pixels
# A mask that keeps less of an object of some size has lost it, however few pixels that are.
LEAST_DICE = 0.5
OBJECT_SHARE = 0.01  # of the pixels


def read_golden(image: Path, mask: Path) -> tuple[NDArray[Any], NDArray[np.float32]]:
    """The golden image, (H, W, C) uint8 or uint16, and its mask, (1, C, h, w).

    Raises:
        ValueError: A file holds no such array.
    """
    pixels = read_array(image)
    if pixels.ndim != 3 or not pixels.size or pixels.dtype not in (np.uint8, np.uint16):
        raise ValueError(
            f"{image.name} is no image: {pixels.dtype} {pixels.shape}. Build the bundle anew."
        )
    expected = read_array(mask)
    if expected.ndim != 4 or expected.dtype.kind != "f" or len(expected) != 1 or not expected.size:
        raise ValueError(
            f"{mask.name} is no mask: {expected.dtype} {expected.shape}. Build the bundle anew."
        )
    return pixels, expected.astype(np.float32)


def read_array(path: Path) -> NDArray[Any]:
    """The numbers in a .npy file.

    Raises:
        ValueError: It holds something else, or not as many as it says.
    """
    try:
        # Mapped, so that no more is taken from memory than the file holds.
        array: Any = np.lib.format.open_memmap(path, mode="r")
        if array.dtype.kind not in "biuf":
            raise ValueError(f"it holds {array.dtype}, and no numbers")
        return np.array(array)
    except Exception as error:  # what lies in a header makes NumPy fail in many ways
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ValueError(
            f"{path.name} is not a whole .npy file of numbers ({reason}). Copy it again."
        ) from error


def limit_text(allowed_abs_diff: float) -> str:
    """A limit of a probability's difference; nothing can break one of 1."""
    return f"allowed {allowed_abs_diff:.0e}" if allowed_abs_diff < 1 else "no limit"


@dataclass(frozen=True)
class GoldenCheck:
    """How a mask differs from the golden one.

    Attributes:
        max_abs_diff, mean_abs_diff: Difference of a probability, 0..1.
        flips_per_10k: Pixels per 10,000 whose label differs.
        allowed_abs_diff, allowed_flips: The manifest's limits of the first and the last.
        keeps_object: Whether the foreground is still the same object.
    """

    max_abs_diff: float
    mean_abs_diff: float
    flips_per_10k: float
    allowed_abs_diff: float
    allowed_flips: float
    keeps_object: bool

    @property
    def holds(self) -> bool:
        # Written so that NaN fails.
        is_near = self.max_abs_diff <= self.allowed_abs_diff
        return self.keeps_object and is_near and self.flips_per_10k <= self.allowed_flips

    def __str__(self) -> str:
        lost = "" if self.keeps_object else ", the object is lost"
        return (
            f"largest difference {self.max_abs_diff:.2e} ({limit_text(self.allowed_abs_diff)}), "
            f"{self.flips_per_10k:.2f} of 10,000 pixels flip (allowed {self.allowed_flips:g}){lost}"
        )


def check_golden(
    golden: Mapping[str, Any],
    outputs: Any,
    expected: NDArray[np.float32],
    computed: NDArray[np.float32],
) -> GoldenCheck:
    """Compare a mask with the golden one.

    Args:
        golden: That part of the manifest: `max_abs_diff` and `max_flips_per_10k` are the limits.
        outputs: The bundle's `OutputContract`.
        expected: The golden mask, probabilities (1, C, H, W), of float16.
        computed: Probabilities of the golden image.

    Raises:
        ValueError: The mask has another shape.
    """
    if computed.shape != expected.shape:
        raise ValueError(
            f"The network returns a mask {computed.shape}, expected {expected.shape}. Build the "
            "bundle anew."
        )
    difference = np.abs(computed - expected)
    # Golden masks are stored in float16: a probability just below the threshold lies on it there.
    rounded = computed.astype(np.float16).astype(np.float32)
    labels, truth = outputs.labels(rounded), outputs.labels(expected)
    overlap = int(((labels > 0) & (truth > 0)).sum())
    dice = 2 * overlap / max(int((labels > 0).sum() + (truth > 0).sum()), 1)
    return GoldenCheck(
        max_abs_diff=float(difference.max()),
        mean_abs_diff=float(difference.mean()),
        flips_per_10k=float((labels != truth).mean()) * PER,
        allowed_abs_diff=float(golden["max_abs_diff"]),
        allowed_flips=float(golden["max_flips_per_10k"]),
        keeps_object=dice >= LEAST_DICE or float((truth > 0).mean()) < OBJECT_SHARE,
    )
