"""Distances between the borders of a predicted and a true region, computed by MONAI."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..lazy import is_installed, require

PACKAGES = ("torch", "monai", "scipy")
HD95 = 95.0


def can_measure_distances() -> bool:
    """Whether what `hausdorff_distances` needs is installed."""
    return all(is_installed(name) for name in PACKAGES)


def hd95_per_image(
    predicted: NDArray[np.integer[Any]], truth: NDArray[np.integer[Any]], class_count: int
) -> NDArray[np.float64]:
    """HD95 of each image, mean over foreground classes, (images,), in pixels.

    Args:
        predicted, truth: Class indices, (images, H, W).

    Raises:
        MissingBackendError: As `hausdorff_distances`.
    """
    pairs = zip(predicted, truth, strict=True)
    return np.array(
        [hausdorff_distances(*pair, class_count, percentile=HD95).mean() for pair in pairs]
    )


def relative_growth(ours: float, reference: float) -> float | None:
    """ours / reference - 1; None where the reference is 0."""
    return ours / reference - 1 if reference else None


def hausdorff_distances(
    predicted: NDArray[np.integer[Any]],
    truth: NDArray[np.integer[Any]],
    class_count: int,
    *,
    percentile: float | None = None,
) -> NDArray[np.float64]:
    """Hausdorff distance of one image per foreground class, (class_count - 1,), in pixels.

    The distance of two regions is the larger of the two directions' largest distances from a
    border pixel of one region to the nearest border pixel of the other. MONAI calls it infinite or
    not a number where only one of them is empty, and then leaves it out of its means, which
    rewards a network for what it does not find. Here it is the image's diagonal, the largest
    distance there can be; 0 where both are empty.

    Args:
        predicted, truth: Class indices, (H, W).
        class_count: Background included, whose distance is not computed.
        percentile: 95 takes that percentile of each direction's distances in place of the
            largest: HD95.

    Raises:
        MissingBackendError: MONAI or what it needs is not installed.

    Source: Huttenlocher et al. 1993, IEEE TPAMI 15(9); MONAI's `compute_hausdorff_distance`.
    """
    metrics: Any = require("monai.metrics", purpose="The Hausdorff distance")
    distances = np.zeros(class_count - 1)
    for index in range(1, class_count):
        ours, theirs = predicted == index, truth == index
        if ours.any() and theirs.any():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # MONAI warns of its own call
                value = metrics.compute_hausdorff_distance(
                    ours[None, None], theirs[None, None], True, percentile=percentile
                )
            distances[index - 1] = float(value)
        elif ours.any() or theirs.any():
            distances[index - 1] = math.hypot(*truth.shape)
    return distances
