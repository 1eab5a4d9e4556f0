"""Whether a limit is judged rightly: of made samples whose true mean is known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeseg.metrics.bootstrap import bootstrap_intervals, judging_interval, student_end
from edgeseg.metrics.findings import Finding, judge_findings, state_of

Values = NDArray[np.float64]
SAMPLES = 400


def interval_of(values: Values) -> tuple[float, float]:
    return judging_interval(len(values), lambda weights: weights @ values / weights.sum(1))


@pytest.mark.parametrize("count", [8, 11, 24, 100])
@pytest.mark.parametrize(
    "draw",
    [
        lambda generator, count: generator.normal(0.005, 0.01, count),
        lambda generator, count: generator.exponential(0.005, count),
        lambda generator, count: generator.laplace(0.005, 0.01, count),
    ],
    ids=["normal", "skewed", "long tails"],
)
def test_a_loss_of_the_limit_itself_is_hardly_ever_certified(
    count: int, draw: Callable[[np.random.Generator, int], Values]
) -> None:
    """The true loss is the limit, 0.005. Of 400 samples 5 % and three standard errors are 33."""
    generator = np.random.default_rng(20260)
    limits = {"dice_pooled": 0.005}
    certified = 0
    for _ in range(SAMPLES):
        losses = draw(generator, count)
        low, high = interval_of(losses)
        finding = Finding("dice_pooled", -float(losses.mean()), (-high, -low), count)
        certified += state_of(judge_findings([finding], limits)) == "holds"
    assert certified <= 33


def test_a_small_loss_is_certified_once_there_are_enough_images() -> None:
    """A true loss of 0.001 with a spread of 0.01: eight images seldom tell, 200 nearly always."""
    generator = np.random.default_rng(1)
    shares = {
        count: np.mean(
            [interval_of(generator.normal(0.001, 0.01, count))[1] <= 0.005 for _ in range(200)]
        )
        for count in (8, 200)
    }
    assert shares[8] < 0.3
    assert shares[200] > 0.97


@pytest.mark.parametrize("count", [8, 24, 100])
def test_few_images_reach_farther_than_the_percentile_bootstrap(count: int) -> None:
    values = np.random.default_rng(3).normal(0, 1, count)
    inner = bootstrap_intervals(count, lambda weights: {"": weights @ values / count})[""]
    low, high = interval_of(values)
    assert low < inner[0] < inner[1] < high
    assert (high - low) / (inner[1] - inner[0]) < (1.6 if count == 8 else 1.25)


def test_one_image_that_loses_reaches_as_far_as_a_share_of_such_images() -> None:
    """Of 11 images one loses 1: the exact 97.5 % end of 1 of 11 (Clopper and Pearson) is 0.413."""
    _, high = interval_of(np.eye(11)[0])
    assert high == pytest.approx(0.413, abs=0.03)


def test_what_is_the_same_in_all_images_has_no_width() -> None:
    assert interval_of(np.zeros(20)) == (0, 0)
    assert interval_of(np.array([0.25])) == (0.25, 0.25)


def test_where_the_reference_is_nothing_the_resample_is_left_out() -> None:
    reference = np.zeros(12)
    reference[:6] = 2.0
    ours = reference * 1.5

    def growth(weights: NDArray[np.int64]) -> Values:
        theirs = weights @ reference
        return weights @ ours / np.where(theirs == 0, np.nan, theirs) - 1

    assert judging_interval(12, growth) == pytest.approx((0.5, 0.5))


@pytest.mark.parametrize(("freedom", "end"), [(7, 2.3646), (10, 2.2281), (30, 2.0423)])
def test_ends_of_students_t(freedom: int, end: float) -> None:
    assert student_end(freedom) == pytest.approx(end, abs=2e-3)
