"""Intervals by resampling images."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Interval = tuple[float, float]

BOOTSTRAP_SAMPLES = 2000
BOOTSTRAP_SEED = 20260


def bootstrap_intervals(
    image_count: int, statistic: Callable[[NDArray[np.int64]], dict[str, NDArray[np.float64]]]
) -> dict[str, Interval]:
    """95 % percentile bootstrap interval over images.

    Args:
        statistic: Values by name, one per row of weights (resamples, images), which say how
            often each image was drawn.

    Source: Efron 1979, Annals of Statistics 7(1).
    """
    generator = np.random.default_rng(BOOTSTRAP_SEED)
    even = np.full(image_count, 1 / image_count)
    weights = generator.multinomial(image_count, even, size=BOOTSTRAP_SAMPLES)
    intervals = {}
    for name, values in statistic(weights).items():
        low, high = np.percentile(values, (2.5, 97.5))
        intervals[name] = (float(low), float(high))
    return intervals
