"""Ranges and weight grids with the smallest squared error."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..plan.quant_plan import INT8_STEPS, WeightGrid
from ..plan.weight_grids import covering_scales, nearest_grid
from .activations import largest_magnitudes
from .histograms import bin_centres, count_magnitudes
from .range_calibrator import Pass, RangeCalibrator, RangeOptions

BINS = 16384
ACTIVATION_FRACTIONS = np.linspace(0.02, 1, 99)  # candidate ranges / largest magnitude
WEIGHT_FRACTIONS = np.linspace(0.4, 1, 61)


@dataclass(frozen=True)
class MseOptions(RangeOptions):
    """
    Attributes:
        bias_correction: As in `RangeOptions`, but on: small values round to zero where ranges are
            clipped for the least error, and means shift.
    """

    bias_correction: bool = True


class MseCalibrator(RangeCalibrator):
    """Chooses ranges, and scales of weight channels, with the least squared rounding error.

    Source: Nagel et al. 2021, arXiv:2106.08295, section 3.1, equation 8. The grid search takes the
    binned magnitudes of an activation, and all weights of a channel.
    """

    name = "mse"
    options_class = MseOptions
    passes = 2

    def choose_ranges(self, observe: Pass) -> dict[str, float]:
        largest = largest_magnitudes(observe())
        counts = count_magnitudes(observe(), largest, BINS)
        return {name: mse_limit(counts[name], largest[name]) for name in largest}

    def choose_grid(self, weight: NDArray[np.float32]) -> WeightGrid:
        return mse_grid(weight, self.options.weight_steps)


def mse_limit(counts: NDArray[np.int64], largest: float) -> float:
    """The range with the least squared error of rounding and clipping the counted magnitudes."""
    centres = bin_centres(largest, len(counts))
    weights = counts.astype(np.float64)
    errors = []
    for fraction in ACTIVATION_FRACTIONS:
        scale = fraction * largest / INT8_STEPS
        rounded = np.minimum(np.rint(centres / scale), INT8_STEPS) * scale
        errors.append(float(weights @ (rounded - centres) ** 2))
    return largest * float(ACTIVATION_FRACTIONS[int(np.argmin(errors))])


def mse_grid(weight: NDArray[np.float32], steps: int = INT8_STEPS) -> WeightGrid:
    """The grid with the least squared error in each output channel of (O, I/groups, kh, kw)."""
    covering = covering_scales(weight, steps)
    best = nearest_grid(weight, covering, steps)
    scales, least = covering.copy(), _squared_error(best, weight)
    for fraction in WEIGHT_FRACTIONS:
        tried = (covering * np.float32(fraction)).astype(np.float32)
        error = _squared_error(nearest_grid(weight, tried, steps), weight)
        scales = np.where(error < least, tried, scales)
        least = np.minimum(error, least)
    return nearest_grid(weight, scales, steps)


def _squared_error(grid: WeightGrid, weight: NDArray[np.float32]) -> NDArray[np.float64]:
    """Squared error of each output channel, (O,)."""
    difference = grid.weights().astype(np.float64) - weight
    error: NDArray[np.float64] = np.square(difference).reshape(len(weight), -1).sum(axis=1)
    return error
