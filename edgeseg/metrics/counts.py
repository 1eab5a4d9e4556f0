"""Pixel counts of a prediction beside its truth, and the ratios that metrics take from them.

All overlap metrics start from the same counts for each image and class, so that an interval costs
no second look at the pixels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]  # (images, foreground classes, 3): true pos., false pos., false neg.


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
