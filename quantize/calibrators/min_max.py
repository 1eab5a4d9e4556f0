"""Ranges that cover all observed values."""

from __future__ import annotations

from .activations import largest_magnitudes
from .range_calibrator import Pass, RangeCalibrator


class MinMaxCalibrator(RangeCalibrator):
    """Takes the largest magnitude of each tensor, and of each channel of a weight.

    Source: Jacob et al. 2018, arXiv:1712.05877, ranges; symmetric as in Krishnamoorthi 2018,
    arXiv:1806.08342.
    """

    name = "min-max"

    def choose_ranges(self, observe: Pass) -> dict[str, float]:
        return largest_magnitudes(observe())
