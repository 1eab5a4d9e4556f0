"""Measures of grey maps against values worked out by hand and against laws."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from support import needs

from edgeseg.metrics.saliency import e_measure, mean_absolute_error, s_measure, weighted_f_measure

Measure = Callable[[NDArray[np.float64], NDArray[np.bool_]], float]

pytestmark = needs("scipy")


def square(side: int = 64, first: int = 20, last: int = 40) -> NDArray[np.bool_]:
    """A square object that touches no border."""
    truth = np.zeros((side, side), bool)
    truth[first:last, first:last] = True
    return truth


def half(side: int = 4) -> NDArray[np.bool_]:
    """The left half is object."""
    return np.tile(np.arange(side) < side // 2, (side, 1))


@pytest.mark.parametrize("measure", [weighted_f_measure, s_measure, e_measure])
def test_a_perfect_map_scores_one(measure: Measure) -> None:
    for truth in (square(), square(first=0), half()):
        assert measure(truth.astype(float), truth) == pytest.approx(1, abs=1e-12)
    assert mean_absolute_error(square().astype(float), square()) == 0


@pytest.mark.parametrize("measure", [weighted_f_measure, s_measure, e_measure])
def test_the_opposite_map_scores_nothing(measure: Measure) -> None:
    truth = square()
    assert measure((~truth).astype(float), truth) == pytest.approx(0, abs=1e-12)
    assert mean_absolute_error((~truth).astype(float), truth) == 1


@pytest.mark.parametrize("measure", [weighted_f_measure, s_measure, e_measure])
def test_a_better_map_scores_more(measure: Measure) -> None:
    truth = square()
    noise = np.random.default_rng(1).uniform(0, 1, truth.shape)
    scores = [measure((1 - share) * truth + share * noise, truth) for share in (0.2, 0.5, 0.8)]
    assert scores == sorted(scores, reverse=True)


def test_mean_absolute_error_by_hand() -> None:
    truth = np.array([[True, False], [False, False]])
    foreground = np.array([[0.75, 0.5], [0.0, 0.25]])
    assert mean_absolute_error(foreground, truth) == (0.25 + 0.5 + 0 + 0.25) / 4


@pytest.mark.parametrize(("distance", "weight"), [(5, 1.5), (10, 1.75)])
def test_a_false_pixel_weighs_more_far_from_the_object(distance: int, weight: float) -> None:
    # One object pixel, found, and one false pixel: recall 1, precision 1 / (1 + weight), where
    # the weight is 2 - 0.5^(distance / 5).
    truth = np.zeros((31, 31), bool)
    truth[15, 15] = True
    foreground = truth.astype(float)
    foreground[15, 15 + distance] = 1
    precision = 1 / (1 + weight)
    assert weighted_f_measure(foreground, truth) == pytest.approx(2 * precision / (1 + precision))


def test_a_missed_pixel_among_hits_is_smoothed_away() -> None:
    # Of the 400 pixels one is missed; its error is the centre of the Gaussian, the square of
    # that of the line. Precision is 1.
    truth = square()
    foreground = truth.astype(float)
    foreground[30, 30] = 0
    line = np.exp(-(np.arange(-3, 4) ** 2) / 50)
    recall = 1 - (1 / line.sum()) ** 2 / 400
    assert weighted_f_measure(foreground, truth) == pytest.approx(2 * recall / (1 + recall))


def test_a_flat_map_keeps_half_of_the_structure() -> None:
    # Objects: 2 * 0.5 / (0.25 + 1) is 0.8 on both sides. Regions: the centroid (1.5, 0.5) rounds
    # up, so that the quarters meet where object and background do; none varies, each scores 1.
    assert s_measure(np.full((4, 4), 0.5), half()) == pytest.approx((0.8 + 1) / 2)


def test_an_object_at_the_far_corner_leaves_quarters_empty() -> None:
    truth = np.zeros((5, 5), bool)
    truth[4, 4] = True
    assert s_measure(truth.astype(float), truth) == pytest.approx(1)


def test_alignment_by_hand() -> None:
    # Half is object, everything was found: nothing aligns, (0 + 1)^2 / 4.
    assert e_measure(np.ones((4, 4)), half()) == 0.25
    # A quarter was found, all of it object. Mean 1/4, truth 1/2: found pixels 2 * 3/4 * 1/2 over
    # 9/16 + 1/4 align to 12/13, missed to -4/5, the other half of the image to 4/5.
    foreground = np.zeros((4, 4))
    foreground[:, 0] = 1
    expected = ((25 / 13) ** 2 / 4 + (1 / 5) ** 2 / 4 + 2 * (9 / 5) ** 2 / 4) / 4
    assert e_measure(foreground, half()) == pytest.approx(expected)


def test_the_map_is_cut_at_twice_its_mean() -> None:
    # Mean 0.125, cut 0.25: 0.3 is object although it is below one half.
    foreground = np.where(half(), 0.2, 0.0)
    foreground[:, 0] = 0.3
    binary = np.zeros((4, 4))
    binary[:, 0] = 1
    assert e_measure(foreground, half()) == e_measure(binary, half())


def test_an_empty_truth() -> None:
    truth = np.zeros((4, 4), bool)
    foreground = np.zeros((4, 4))
    foreground[0] = 0.5  # mean 0.125, so that a quarter lies above the cut
    assert weighted_f_measure(foreground, truth) == 0
    assert s_measure(foreground, truth) == 1 - 0.125
    assert e_measure(foreground, truth) == 0.75
    assert mean_absolute_error(foreground, truth) == 0.125


def test_a_full_truth() -> None:
    truth = np.ones((4, 4), bool)
    foreground = np.zeros((4, 4))
    foreground[0] = 0.5
    assert s_measure(foreground, truth) == 0.125
    assert e_measure(foreground, truth) == 0.25


def test_a_map_of_zeros_finds_nothing() -> None:
    assert weighted_f_measure(np.zeros((64, 64)), square()) == pytest.approx(0, abs=1e-12)


def test_values_of_an_independent_implementation() -> None:
    # pysodmetrics 1.4.4 on the same arrays; its E measure times (pixels - 1) / pixels.
    rows, columns = np.mgrid[:40, :56]
    truth = np.hypot(rows - 17.3, columns - 31.8) < 11
    foreground = np.clip(0.5 * truth + 0.3 * np.sin(rows) * np.cos(columns) + 0.2, 0, 1)
    assert weighted_f_measure(foreground, truth) == pytest.approx(0.438187938832, abs=1e-9)
    assert s_measure(foreground, truth) == pytest.approx(0.749954192981, abs=1e-9)
    assert e_measure(foreground, truth) == pytest.approx(0.933325613759, abs=1e-9)
