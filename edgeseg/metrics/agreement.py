"""How far two forms of one network agree on real images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..contract import OutputContract
from ..errors import ParityError

Predictor = Callable[[NDArray[np.float32]], NDArray[np.float32]]

FOUND_SHARE = 0.01  # of the pixels: less may vanish with the rounding
PER = 10_000  # flips are counted per so many pixels
# Of foreground, between two forms of one network on one image: below it they do not agree at all.
COLLAPSED_DICE = 0.5
CALIBRATE = (
    "Calibrate with more images of the kind that it will see, or build with --precision fp32."
)


@dataclass(frozen=True)
class Agreement:
    """Difference of probabilities and labels over some images.

    Attributes:
        images: How many were compared.
        max_abs_diff: Largest difference of a probability, 0..1.
        mean_abs_diff: Mean difference.
        flips_per_10k: Pixels per 10,000 whose label differs.
        worst_image: The one with the most flips, or the largest difference if none flips.
    """

    images: int
    max_abs_diff: float
    mean_abs_diff: float
    flips_per_10k: float
    worst_image: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        return (
            f"largest difference {self.max_abs_diff:.2e}, mean {self.mean_abs_diff:.2e}, "
            f"{self.flips_per_10k:.2f} of 10,000 pixels flip, worst image {self.worst_image}"
        )


def compare_predictions(
    reference: Sequence[NDArray[np.float32]],
    candidate: Predictor,
    inputs: Sequence[NDArray[np.float32]],
    names: Sequence[str],
    outputs: OutputContract,
    what: str,
    advice: str = CALIBRATE,
) -> Agreement:
    """Run `candidate` on prepared inputs and compare it with the reference's probabilities.

    Args:
        reference: (1, C, H, W) for each input.
        candidate: Returns the same shape.
        names: Of the images, for the message and the record.
        what: Names the candidate in a message.
        advice: What to do when the candidate has collapsed, as a sentence.

    Raises:
        ParityError: The candidate returns another shape, NaN or infinity; or in an image where the
            reference finds at least 1 % foreground it finds nothing, or something else.
    """
    largest, means, flips = [], [], []
    for expected, image, name in zip(reference, inputs, names, strict=True):
        got = np.asarray(candidate(image), np.float32)
        if got.shape != expected.shape:
            raise ParityError(
                f"{what} returns shape {got.shape} for {name}, expected {expected.shape}. "
                "The compiled graph is not the model that was given; report this as a bug."
            )
        if not np.isfinite(expected).all():
            raise ParityError(
                f"The FP32 reference itself returns NaN or infinity for {name}. "
                "Use another checkpoint."
            )
        if not np.isfinite(got).all():
            raise ParityError(
                f"{what} returns NaN or infinity for {name}. Build with another --precision."
            )
        truth, labels = outputs.labels(expected), outputs.labels(got)
        if has_collapsed(truth, labels):
            raise ParityError(
                f"{what} finds only background in {name}, where the FP32 reference finds "
                f"{(truth > 0).mean():.0%} foreground: it has collapsed. {advice}"
            )
        dice = _foreground_dice(truth > 0, labels > 0)
        if (truth > 0).mean() >= 0.01 and dice < COLLAPSED_DICE:
            raise ParityError(
                f"{what} has collapsed on {name}: of the foreground that the FP32 reference finds "
                f"there it keeps a Dice of {dice:.2f}, and {COLLAPSED_DICE} is the least. "
                f"{advice}"
            )
        difference = np.abs(got - expected)
        largest.append(float(difference.max()))
        means.append(float(difference.mean()))
        flips.append(float((truth != labels).mean()) * PER)
    worst = max(range(len(flips)), key=lambda index: (flips[index], largest[index]))
    return Agreement(
        len(flips), max(largest), float(np.mean(means)), float(np.mean(flips)), names[worst]
    )


def has_collapsed(expected: NDArray[np.uint8], labels: NDArray[np.uint8]) -> bool:
    """Whether a label map is empty where the FP32 reference finds something of some size."""
    return bool((expected > 0).mean() >= FOUND_SHARE and not labels.any())


def _foreground_dice(mask: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    return float(2 * (mask & other).sum() / max(mask.sum() + other.sum(), 1))


def require_parity(agreement: Agreement, tolerance: float, what: str) -> None:
    """Fail when a probability differs by more than `tolerance`.

    Raises:
        ParityError: With the numbers.
    """
    if not agreement.max_abs_diff <= tolerance:
        raise ParityError(
            f"{what} does not compute what the FP32 reference computes: {agreement}; allowed is "
            f"{tolerance:.0e}. Nothing was written. Report it as a bug, with the model."
        )
