"""Ranges of single histograms and grids of single weights, worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from edgeseg.errors import CalibrationError, UsageError
from edgeseg.quantize.calibrators.entropy import divergence_of_range, entropy_limit
from edgeseg.quantize.calibrators.histograms import bin_centres, count_magnitudes
from edgeseg.quantize.calibrators.mse import mse_grid, mse_limit
from edgeseg.quantize.calibrators.percentile import PercentileOptions, percentile_limit
from edgeseg.quantize.plan.weight_grids import covering_grid

FEW = settings(max_examples=25, deadline=None)
COUNTS = arrays(np.int64, 256, elements=st.integers(0, 1000)).filter(lambda counts: counts.any())
WEIGHTS = arrays(
    np.float32,
    array_shapes(min_dims=4, max_dims=4, max_side=3),
    elements=st.floats(-1e3, 1e3, width=32, allow_subnormal=False),
)


def image_of(*values: float) -> NDArray[np.float32]:
    return np.array([[[values]]], np.float32)


# Histograms


def test_magnitudes_are_counted_in_equal_bins() -> None:
    observations = [{"a": image_of(0, -0.9, 1, 3.99)}, {"a": image_of(-4, 2.5)}]
    counts = count_magnitudes(observations, {"a": 4.0}, 4)
    # 0 and 0.9; 1; 2.5; 3.99 and the largest value itself.
    assert counts["a"].tolist() == [2, 1, 1, 2]
    assert count_magnitudes(observations[::-1], {"a": 4.0}, 4)["a"].tolist() == [2, 1, 1, 2]
    assert bin_centres(4.0, 4).tolist() == [0.5, 1.5, 2.5, 3.5]


def test_histogram_without_a_range_names_the_tensor() -> None:
    with pytest.raises(CalibrationError, match="'a' has no usable range"):
        count_magnitudes([{"a": image_of(0)}], {"a": 0.0}, 4)


# Percentile


@pytest.mark.parametrize(
    ("percentile", "limit"), [(100, 10), (99, 9), (90, 9), (80, 1), (70, 1), (51, 1)]
)
def test_percentile_is_the_edge_of_a_bin(percentile: float, limit: float) -> None:
    counts = np.array([80, 0, 0, 0, 0, 0, 0, 0, 19, 1])
    assert percentile_limit(counts, 10.0, percentile) == limit


@pytest.mark.parametrize("percentile", [50, 0, -1, 100.1, float("nan")])
def test_percentile_out_of_bounds_says_what_to_give(percentile: float) -> None:
    with pytest.raises(UsageError, match=r"above 50 and at most 100\. Give percentile=99\.99"):
        PercentileOptions(percentile=percentile)


# Entropy


def test_codes_that_hold_what_the_values_hold_lose_nothing() -> None:
    assert divergence_of_range(np.full(256, 5), 256) == pytest.approx(0, abs=1e-12)
    # Bins of one level differ: 1 and 3 become 2 and 2 in each of 128 levels.
    counts = np.tile([1, 3], 128)
    expected = (1 * np.log(1 / 2) + 3 * np.log(3 / 2)) / 4
    assert divergence_of_range(counts, 256) == pytest.approx(expected)


def test_even_values_need_the_whole_range() -> None:
    assert entropy_limit(np.full(512, 7), 3.0) == 3.0


def test_rare_large_values_are_left_out() -> None:
    counts = np.rint(1e6 * np.exp(-np.arange(2048) / 60)).astype(np.int64)
    counts[-1] = 1
    limit = entropy_limit(counts, 1.0)
    assert 128 / 2048 <= limit < 0.7


@FEW
@given(COUNTS)
def test_entropy_limit_is_in_the_range(counts: NDArray[np.int64]) -> None:
    limit = entropy_limit(counts, 8.0)
    assert 4.0 <= limit <= 8.0  # 128 of 256 bins at least
    assert entropy_limit(counts, 16.0) == 2 * limit


# Squared error


def test_values_on_the_grid_keep_the_whole_range() -> None:
    # 16 bins in each step: bin 16 k + 7 has its centre just below code k + 1/2 ... of the widest
    # grid; those at the codes themselves are 16 k - 1 and 16 k, half a bin away.
    counts = np.zeros(127 * 16, np.int64)
    counts[15::16] = 10
    counts[16::16] = 10
    assert mse_limit(counts, 12.7) == pytest.approx(12.7)


def test_rare_large_value_is_clipped_when_that_costs_less() -> None:
    counts = np.zeros(4096, np.int64)
    counts[:400] = 100_000
    counts[-1] = 1
    assert mse_limit(counts, 1.0) < 0.5
    counts[-1] = 1_000_000
    assert mse_limit(counts, 1.0) > 0.9


@FEW
@given(COUNTS)
def test_scaling_values_scales_the_limit(counts: NDArray[np.int64]) -> None:
    assert mse_limit(counts, 8.0) == 4 * mse_limit(counts, 2.0)


@FEW
@given(WEIGHTS)
def test_weight_grid_is_never_worse_than_the_covering_one(weight: NDArray[np.float32]) -> None:
    def errors(snapped: NDArray[np.float32]) -> NDArray[np.float64]:
        return np.square(snapped.astype(np.float64) - weight).reshape(len(weight), -1).sum(axis=1)

    found = mse_grid(weight)
    assert (errors(found.weights()) <= errors(covering_grid(weight).weights())).all()


def test_channels_are_searched_for_by_themselves() -> None:
    generator = np.random.default_rng(0)
    weight = generator.uniform(-1, 1, (2, 1, 1, 100_000)).astype(np.float32)
    weight[1] *= 0.001
    weight[1, 0, 0, 0] = 0.0015  # alone outside: to clip it costs less than to cover it
    grid, covering = mse_grid(weight), covering_grid(weight)
    assert grid.scales[0] == pytest.approx(covering.scales[0], rel=0.02)
    assert grid.scales[1] < 0.75 * covering.scales[1]
