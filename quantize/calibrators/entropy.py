"""Ranges whose quantized values are distributed most like the activations."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..plan.quant_plan import INT8_STEPS
from .activations import largest_magnitudes
from .histograms import count_magnitudes
from .range_calibrator import Pass, RangeCalibrator

BINS = 2048
LEVELS = INT8_STEPS + 1  # quantized magnitudes, 0..127
STRIDE = 4  # bins between two candidate ranges


class EntropyCalibrator(RangeCalibrator):
    """Chooses the range that loses the least information: smallest Kullback-Leibler divergence.

    Source: Migacz 2017, "8-bit inference with TensorRT", GTC S7310: 2048 bins of magnitudes, 128
    levels, outliers are counted in the last bin. Unlike the source, only every fourth range is
    tried.
    """

    name = "entropy"
    passes = 2

    def choose_ranges(self, observe: Pass) -> dict[str, float]:
        largest = largest_magnitudes(observe())
        counts = count_magnitudes(observe(), largest, BINS)
        return {name: entropy_limit(counts[name], largest[name]) for name in largest}


def entropy_limit(counts: NDArray[np.int64], largest: float) -> float:
    """The range with the smallest divergence; of equal divergences, the widest range."""
    ends = range(len(counts), LEVELS - 1, -STRIDE)
    divergences = [divergence_of_range(counts, end) for end in ends]
    return largest * ends[int(np.argmin(divergences))] / len(counts)


def divergence_of_range(counts: NDArray[np.int64], end: int) -> float:
    """KL divergence from clipped to quantized values, in nats.

    Args:
        counts: Histogram of all magnitudes.
        end: The range covers the bins before it; at least `LEVELS`.
    """
    inside = counts[:end].astype(np.float64)
    values = inside.copy()
    values[-1] += counts[end:].sum()
    # Levels get equal numbers of bins, up to rounding; a level spreads its count over its bins
    # that are not empty.
    level_of = np.arange(end) * LEVELS // end
    filled = values > 0
    sums = np.bincount(level_of, weights=inside, minlength=LEVELS)
    shares = np.bincount(level_of, weights=filled, minlength=LEVELS)
    quantized = np.where(filled, (sums / np.maximum(shares, 1))[level_of], 0.0)
    if not quantized.sum():
        return np.inf
    values, quantized = values / values.sum(), quantized / quantized.sum()
    if (quantized[filled] == 0).any():
        return np.inf
    return float(np.sum(values[filled] * np.log(values[filled] / quantized[filled])))
