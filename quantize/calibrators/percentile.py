"""Ranges that clip the rarest large values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeseg.errors import UsageError

from .activations import largest_magnitudes
from .histograms import count_magnitudes
from .range_calibrator import Pass, RangeCalibrator, RangeOptions

BINS = 8192


@dataclass(frozen=True)
class PercentileOptions(RangeOptions):
    """
    Attributes:
        percentile: Percentage of the absolute values that a range covers, in (50, 100]; 100 is
            min-max.
    """

    percentile: float = 99.99

    def __post_init__(self) -> None:
        if not 50 < self.percentile <= 100:
            raise UsageError(
                f"The percentile is {self.percentile}; it must be above 50 and at most 100. "
                "Give percentile=99.99."
            )


class PercentileCalibrator(RangeCalibrator):
    """Chooses the range that covers a percentage of the absolute values of its tensor.

    Source: Wu et al. 2020, arXiv:2004.09602, section 4.1, percentile calibration. The values are
    binned, so that a range is exact to 1/8192 of the largest value.
    """

    name = "percentile"
    options_class = PercentileOptions
    options: PercentileOptions
    passes = 2

    def choose_ranges(self, observe: Pass) -> dict[str, float]:
        largest = largest_magnitudes(observe())
        counts = count_magnitudes(observe(), largest, BINS)
        return {
            name: percentile_limit(counts[name], largest[name], self.options.percentile)
            for name in largest
        }


def percentile_limit(counts: NDArray[np.int64], largest: float, percentile: float) -> float:
    """Upper edge of the first bin at which the bins so far hold the percentage of all values."""
    covered = np.cumsum(counts) >= counts.sum() * (percentile / 100)
    return largest * (int(np.argmax(covered)) + 1) / len(counts)
