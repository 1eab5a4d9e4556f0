"""Quantized weights of convolutions, with one scale for each output channel."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgeseg.errors import UsageError

from .quant_plan import INT8_STEPS, WeightGrid

FEWEST_BITS, MOST_BITS = 4, 8
SMALLEST_SCALE = 1e-12  # for a channel whose weights are all zero
LARGEST_BIAS_VALUE = 2**30  # of a bias in int32, in steps of its input times those of its weights


def steps_of_bits(bits: int) -> int:
    """Largest quantized value of a symmetric grid of so many bits: 127 for 8, 63 for 7.

    Raises:
        UsageError: Not 4 to 8 bits.
    """
    if not FEWEST_BITS <= bits <= MOST_BITS:
        raise UsageError(
            f"The option weight_bits is {bits}; weights have {FEWEST_BITS} to {MOST_BITS} bits. "
            "Give weight_bits=8, or 7 for x86 CPUs without VNNI."
        )
    return int(2 ** (bits - 1) - 1)


def covering_scales(weight: NDArray[np.float32], steps: int = INT8_STEPS) -> NDArray[np.float32]:
    """Scales (O,) at which the largest weight of each output channel becomes `steps`.

    Args:
        weight: (O, I/groups, kh, kw).
        steps: Largest quantized value, see `steps_of_bits`.

    Source: Krishnamoorthi 2018, arXiv:1806.08342, section 2.2, symmetric, per channel.
    """
    ranges = np.abs(weight).reshape(weight.shape[0], -1).max(axis=1)
    scales: NDArray[np.float32] = np.maximum(ranges / steps, SMALLEST_SCALE).astype(np.float32)
    return scales


def nearest_grid(
    weight: NDArray[np.float32], scales: NDArray[np.float32], steps: int = INT8_STEPS
) -> WeightGrid:
    """Weights (O, I/groups, kh, kw) rounded to the nearest of -steps..steps times their scales
    (O,)."""
    quantized = np.rint(weight / scales.reshape(-1, *[1] * (weight.ndim - 1)))
    return WeightGrid(np.clip(quantized, -steps, steps).astype(np.int8), scales)


def covering_grid(weight: NDArray[np.float32], steps: int = INT8_STEPS) -> WeightGrid:
    """The `nearest_grid` at the `covering_scales`."""
    return nearest_grid(weight, covering_scales(weight, steps), steps)


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
