"""Overlap metrics from counts, pooled and per image, and their bootstrap intervals.

All of them start from the same counts per image and foreground class, so that an interval costs
no second look at the pixels. Papers differ in what they call Dice: here `pooled` sums the counts
over all images first (EGE-UNet's definition), `image` is the mean over images of each image's
score. An image whose prediction and truth are both empty scores 1. With several foreground
classes both are means over the classes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]  # (images, foreground classes, 3): true pos., false pos., false neg.
Scores = dict[str, float]

BOOTSTRAP_SAMPLES = 2000
BOOTSTRAP_SEED = 20260


def count_classes(
    predicted: NDArray[np.integer[Any]], truth: NDArray[np.integer[Any]], class_count: int
) -> NDArray[np.int64]:
    """Count one image's pixels: (class_count, 3), true and false positives, false negatives.

    Args:
        predicted, truth: Class indices, same shape.
        class_count: Background included, which is the first row.
    """
    if predicted.shape != truth.shape:
        raise ValueError(f"Shapes differ: {predicted.shape} and {truth.shape}.")
    for labels in (predicted, truth):
        if labels.size and not 0 <= labels.min() <= labels.max() < class_count:
            raise ValueError(
                f"Labels run from {labels.min()} to {labels.max()}, but there are {class_count} "
                "classes."
            )
    joint = np.bincount(
        truth.ravel().astype(np.int64) * class_count + predicted.ravel(),
        minlength=class_count * class_count,
    ).reshape(class_count, class_count)
    hit = np.diag(joint)
    counts = np.empty((class_count, 3), np.int64)
    counts[:, 0] = hit
    counts[:, 1] = joint.sum(0) - hit
    counts[:, 2] = joint.sum(1) - hit
    return counts


def count_overlap(
    predicted: NDArray[np.integer[Any]], truth: NDArray[np.integer[Any]], class_count: int
) -> NDArray[np.int64]:
    """As :func:`count_classes` without the background's row: (class_count - 1, 3)."""
    return count_classes(predicted, truth, class_count)[1:]


def ratio_or_one(numerator: NDArray[Any], denominator: NDArray[Any]) -> NDArray[np.float64]:
    """Quotient; 1 where the denominator is 0: nothing to find, nothing missed."""
    empty = denominator == 0
    return np.where(empty, 1.0, numerator / np.where(empty, 1, denominator))


def dice_from_counts(counts: NDArray[Any]) -> NDArray[np.float64]:
    """Dice of counts (..., 3)."""
    hit, false_positive, false_negative = np.moveaxis(counts, -1, 0)
    return ratio_or_one(2 * hit, 2 * hit + false_positive + false_negative)


def iou_from_counts(counts: NDArray[Any]) -> NDArray[np.float64]:
    """IoU of counts (..., 3)."""
    hit, false_positive, false_negative = np.moveaxis(counts, -1, 0)
    return ratio_or_one(hit, hit + false_positive + false_negative)


def dice_per_image(counts: Counts) -> NDArray[np.float64]:
    """Dice of each image, (images,)."""
    return np.asarray(dice_from_counts(counts).mean(-1))


def scores_from_counts(counts: Counts) -> Scores:
    """Dice and IoU in 0..1, keys `dice_pooled`, `dice_image`, `iou_pooled`, `iou_image`."""
    if len(counts) == 0:
        raise ValueError("There is no image to score.")
    return {name: float(values[0]) for name, values in _resampled_scores(counts, None).items()}


def _resampled_scores(
    counts: Counts, weights: NDArray[np.int64] | None
) -> dict[str, NDArray[np.float64]]:
    """Scores for each row of `weights` (resamples, images): how often each image was drawn."""
    if weights is None:
        weights = np.ones((1, len(counts)), np.int64)
    pooled = np.tensordot(weights, counts, axes=1)
    image_share = weights / weights.sum(1, keepdims=True)
    return {
        "dice_pooled": dice_from_counts(pooled).mean(-1),
        "dice_image": image_share @ dice_from_counts(counts).mean(-1),
        "iou_pooled": iou_from_counts(pooled).mean(-1),
        "iou_image": image_share @ iou_from_counts(counts).mean(-1),
    }


def bootstrap_intervals(
    image_count: int, statistic: Callable[[NDArray[np.int64]], dict[str, NDArray[np.float64]]]
) -> dict[str, tuple[float, float]]:
    """95 % percentile bootstrap interval over images.

    Args:
        statistic: Values by name, one per row of weights (resamples, images), which say how
            often each image was drawn.
    """
    generator = np.random.default_rng(BOOTSTRAP_SEED)
    even = np.full(image_count, 1 / image_count)
    weights = generator.multinomial(image_count, even, size=BOOTSTRAP_SAMPLES)
    intervals = {}
    for name, values in statistic(weights).items():
        low, high = np.percentile(values, (2.5, 97.5))
        intervals[name] = (float(low), float(high))
    return intervals


def score_intervals(counts: Counts) -> dict[str, tuple[float, float]]:
    """95 % percentile bootstrap interval over images of each score."""
    return bootstrap_intervals(len(counts), lambda weights: _resampled_scores(counts, weights))


def delta_scores(counts: Counts, reference: Counts) -> Scores:
    """Scores minus those of the reference on the same images, in the same order."""
    if len(counts) != len(reference):
        raise ValueError(f"{len(counts)} images cannot be compared with {len(reference)}.")
    ours, theirs = scores_from_counts(counts), scores_from_counts(reference)
    return {name: ours[name] - theirs[name] for name in ours}


def delta_intervals(counts: Counts, reference: Counts) -> dict[str, tuple[float, float]]:
    """95 % paired bootstrap interval of :func:`delta_scores`: both see the same resample."""

    def statistic(weights: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
        ours, theirs = _resampled_scores(counts, weights), _resampled_scores(reference, weights)
        return {name: ours[name] - theirs[name] for name in ours}

    return bootstrap_intervals(len(counts), statistic)
