from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from tiny_graphs import pointwise

from edgeseg.errors import UsageError
from edgeseg.quantize.plan.weight_grids import (
    covering_grid,
    covering_scales,
    grid_that_holds,
    nearest_grid,
    steps_of_bits,
)

FEW = settings(max_examples=25, deadline=None)
FLOATS = st.floats(-1e3, 1e3, width=32, allow_subnormal=False)
WEIGHTS = arrays(np.float32, array_shapes(min_dims=4, max_dims=4, max_side=3), elements=FLOATS)


def test_scales_are_largest_magnitudes_over_127() -> None:
    weight = pointwise([[1, -12.7], [0.127, 0.05], [-25.4, 25.4]])
    scales = covering_scales(weight)
    assert scales.dtype == np.float32
    assert scales.tolist() == pytest.approx([0.1, 0.001, 0.2])


def test_seven_bits_reach_63() -> None:
    grid = covering_grid(pointwise([[1, -12.6], [0.063, 0.05]]), steps_of_bits(7))
    assert grid.scales.tolist() == pytest.approx([0.2, 0.001])
    assert grid.values.reshape(2, 2).tolist() == [[5, -63], [63, 50]]


@pytest.mark.parametrize(("bits", "steps"), [(8, 127), (7, 63), (4, 7)])
def test_steps_of_bits(bits: int, steps: int) -> None:
    assert steps_of_bits(bits) == steps


@pytest.mark.parametrize("bits", [9, 3, 0, -1])
def test_other_bits_say_what_to_give(bits: int) -> None:
    with pytest.raises(UsageError, match=rf"weight_bits is {bits}; .* Give weight_bits=8, or 7"):
        steps_of_bits(bits)


def test_scale_covers_all_of_a_channel() -> None:
    weight = np.zeros((2, 3, 5, 7), np.float32)
    weight[0, 2, 4, 6], weight[1, 0, 0, 0] = -127, 254
    assert covering_scales(weight).tolist() == [1, 2]


@FEW
@given(WEIGHTS)
def test_scaling_weights_scales_their_scales(weight: NDArray[np.float32]) -> None:
    # Of channels that are not all but zero, whose scale is the smallest one.
    alive = np.abs(weight).reshape(len(weight), -1).max(axis=1) > 1e-9
    np.testing.assert_array_equal(
        covering_scales(4 * weight)[alive], 4 * covering_scales(weight)[alive]
    )


def test_quantized_values_are_the_nearest_and_clipped() -> None:
    weight = pointwise([[0.24, 0.26, -0.76], [100, -100, 0]])
    grid = nearest_grid(weight, np.array([0.5, 0.5], np.float32))
    assert grid.values[:, :, 0, 0].tolist() == [[0, 1, -2], [127, -127, 0]]


@FEW
@given(WEIGHTS)
def test_covering_grid_moves_no_weight_by_more_than_half_a_step(
    weight: NDArray[np.float32],
) -> None:
    grid = covering_grid(weight)
    steps = grid.scales.reshape(-1, 1, 1, 1)
    assert (np.abs(grid.weights() - weight) <= 0.5001 * steps).all()


@FEW
@given(WEIGHTS)
def test_what_is_on_a_grid_stays_where_it_is(weight: NDArray[np.float32]) -> None:
    grid = covering_grid(weight)
    assert nearest_grid(grid.weights(), grid.scales) == grid


def test_steps_grow_until_a_bias_fits_in_int32() -> None:
    # Zero weights, nearly zero weights, ordinary ones.
    grid = nearest_grid(
        pointwise([[0, 0], [1e-9, -1e-9], [1, 2]]), np.array([1e-12, 1e-11, 2 / 127], np.float32)
    )
    bias = np.array([0.5, -0.25, 100], np.float32)
    held = grid_that_holds(grid, bias, 0.01)
    # 2^30 steps of input times weight: 0.5 / 2^30 / 0.01.
    np.testing.assert_allclose(held.scales, [4.656613e-8, 2.328306e-8, 2 / 127], rtol=1e-6)
    assert held.values[:, :, 0, 0].tolist() == [[0, 0], [0, 0], [64, 127]]
    assert (np.abs(bias / (held.scales * 0.01)) < 2**31).all()


def test_a_grid_that_holds_its_biases_is_left_alone() -> None:
    grid = covering_grid(pointwise([[0, 0], [1, 2]]))
    assert grid_that_holds(grid, np.array([0, 100], np.float32), 0.01) is grid
