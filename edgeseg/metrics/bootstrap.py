"""Intervals by resampling images, or what they belong to."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from .clusters import Clusters

Interval = tuple[float, float]

BOOTSTRAP_SAMPLES = 2000
BOOTSTRAP_SEED = 20260


def bootstrap_intervals(
    image_count: int,
    statistic: Callable[[NDArray[np.int64]], dict[str, NDArray[np.float64]]],
    clusters: Clusters | None = None,
) -> dict[str, Interval]:
    """95 % percentile bootstrap interval over images.

    Args:
        statistic: Values by name, one per row of weights (resamples, images), which say how
            often each image was drawn. Rows have equal sums only where there are no clusters.
        clusters: Of the images, which are then drawn together; None where images are independent.

    Source: Efron 1979, Annals of Statistics 7(1).
    """
    generator = np.random.default_rng(BOOTSTRAP_SEED)
    count = image_count if clusters is None else clusters.count
    weights = generator.multinomial(count, np.full(count, 1 / count), size=BOOTSTRAP_SAMPLES)
    if clusters is not None:
        weights = clusters.weights(weights)
    intervals = {}
    for name, values in statistic(weights).items():
        low, high = np.percentile(values, (2.5, 97.5))
        intervals[name] = (float(low), float(high))
    return intervals
