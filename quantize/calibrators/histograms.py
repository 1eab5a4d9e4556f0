"""Histograms of the magnitudes of activations over all images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from ..plan.quant_plan import require_ranges


def count_magnitudes(
    observations: Iterable[Mapping[str, NDArray[np.float32]]],
    ranges: Mapping[str, float],
    bins: int,
) -> dict[str, NDArray[np.int64]]:
    """Histogram of the absolute values of each tensor, in equal bins from 0 to its largest value.

    Counts are whole numbers, so that the order of the images does not change them.

    Args:
        limits: Largest absolute value of each tensor.

    Returns:
        Counts (bins,) by tensor.

    Raises:
        CalibrationError: A range is not a positive number.
    """
    require_ranges(ranges)
    counts = {name: np.zeros(bins, np.int64) for name in ranges}
    for values in observations:
        for name, value in values.items():
            # The largest value itself belongs to the last bin.
            places = np.minimum(np.abs(value) * np.float64(bins / ranges[name]), bins - 1)
            counts[name] += np.bincount(places.astype(np.int32).ravel(), minlength=bins)
    return counts


def bin_centres(limit: float, bins: int) -> NDArray[np.float64]:
    return (np.arange(bins, dtype=np.float64) + 0.5) * (limit / bins)
