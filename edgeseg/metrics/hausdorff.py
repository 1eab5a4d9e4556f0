"""Distances between the borders of a predicted and a true region, computed by MONAI."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..lazy import require
from .metric import Metric, ScoredImage

PACKAGES = ("torch", "monai", "scipy")
HD95 = 95.0
HUTTENLOCHER = "Huttenlocher et al. 1993, as MONAI computes it"


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


def mean_distance(image: ScoredImage) -> float:
    """Hausdorff distance, mean over foreground classes, in pixels."""
    return float(hausdorff_distances(image.predicted, image.truth, image.class_count).mean())


def mean_distance_95(image: ScoredImage) -> float:
    """HD95, mean over foreground classes, in pixels."""
    distances = hausdorff_distances(
        image.predicted, image.truth, image.class_count, percentile=HD95
    )
    return float(distances.mean())


HD_PX = Metric(
    name="hd_px",
    title="HD",
    definition="larger of the two directions' largest distance from one border to the other, in "
    "pixels of the network's input, mean over images",
    source=HUTTENLOCHER,
    better="lower",
    unit="px",
    from_image=mean_distance,
    packages=PACKAGES,
    is_change_relative=True,
    needs_many_images=True,
)
HD95_PX = Metric(
    name="hd95_px",
    title="HD95",
    definition="as hd_px, with the 95th percentile of each direction's distances",
    source=HUTTENLOCHER,
    better="lower",
    unit="px",
    from_image=mean_distance_95,
    packages=PACKAGES,
    bench="line",
    allowed_change=0.02,
    is_change_relative=True,
    needs_many_images=True,
    option="--max-hd95-growth",
)
