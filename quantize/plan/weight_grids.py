"""Quantized weights of convolutions, with one scale for each output channel."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .quant_plan import INT8_STEPS, WeightGrid

SMALLEST_SCALE = 1e-12  # for a channel whose weights are all zero
LARGEST_BIAS_VALUE = 2**30  # of a bias in int32, in steps of its input times those of its weights


def covering_scales(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scales (O,) at which the largest weight of each output channel becomes 127.

    Args:
        weight: (O, I/groups, kh, kw).

    Source: Krishnamoorthi 2018, arXiv:1806.08342, section 2.2, symmetric, per channel.
    """
    ranges = np.abs(weight).reshape(weight.shape[0], -1).max(axis=1)
    scales: NDArray[np.float32] = np.maximum(ranges / INT8_STEPS, SMALLEST_SCALE).astype(np.float32)
    return scales


def nearest_grid(weight: NDArray[np.float32], scales: NDArray[np.float32]) -> WeightGrid:
    """Weights (O, I/groups, kh, kw) rounded to the nearest multiple of their scales (O,)."""
    quantized = np.rint(weight / scales.reshape(-1, *[1] * (weight.ndim - 1)))
    return WeightGrid(np.clip(quantized, -INT8_STEPS, INT8_STEPS).astype(np.int8), scales)


def covering_grid(weight: NDArray[np.float32]) -> WeightGrid:
    """The `nearest_grid` at the `covering_scales`."""
    return nearest_grid(weight, covering_scales(weight))


def grid_that_holds(grid: WeightGrid, bias: NDArray[np.float32], source_scale: float) -> WeightGrid:
    """The grid, with coarser steps in channels whose bias would not fit in int32.

    Runtimes add a bias as an integer. In a channel of zero weights, pruned or dead, any step will
    do. In one of nearly zero weights they add so little to the bias that what rounding takes away
    is far below a step of the output.

    Args:
        bias: (O,), in the unit of the output.
        source_scale: Step of the convolution's input.
    """
    least = (np.abs(bias) / (LARGEST_BIAS_VALUE * source_scale)).astype(np.float32)
    if not (least > grid.scales).any():
        return grid
    scales = np.maximum(grid.scales, least)
    return nearest_grid(grid.weights(), scales)
