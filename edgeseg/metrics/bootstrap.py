"""Intervals by resampling images, or what they belong to."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from .clusters import Clusters, draws_of

Interval = tuple[float, float]
Weights = NDArray[np.int64]  # (resamples, images): how often each image was drawn

BOOTSTRAP_SAMPLES = 2000
BOOTSTRAP_SEED = 20260
ENDS = (2.5, 97.5)  # percentiles of a 95 % interval
NORMAL_END = 1.959964  # the 97.5th percentile of the normal distribution


def bootstrap_intervals(
    image_count: int,
    statistic: Callable[[Weights], dict[str, NDArray[np.float64]]],
    clusters: Clusters | None = None,
) -> dict[str, Interval]:
    """95 % percentile bootstrap interval over images.

    Args:
        statistic: Values by name, one per row of weights (resamples, images), which say how
            often each image was drawn. Rows have equal sums only where there are no clusters.
        clusters: Of the images, which are then drawn together; None where images are independent.

    Source: Efron 1979, Annals of Statistics 7(1).
    """
    weights = _of_images(_draw(draws_of(image_count, clusters)[0]), clusters)
    intervals = {}
    for name, values in statistic(weights).items():
        low, high = np.percentile(values, ENDS)
        intervals[name] = (float(low), float(high))
    return intervals


def judging_interval(
    image_count: int,
    statistic: Callable[[Weights], NDArray[np.float64]],
    clusters: Clusters | None = None,
) -> Interval:
    """95 % interval by which a limit is judged: of two bootstraps each end is the outer one.

    The percentile bootstrap of few images is too narrow. Its ends are therefore drawn out as far as
    Student's t reaches beyond the normal distribution (Hesterberg 2015, The American Statistician
    69(4), section 4.2). Losses are skewed: most images lose nothing, a few much. So the studentized
    bootstrap (Efron 1982, section 10.10; Hall 1988, Annals of Statistics 16(3)) is asked too, over
    the pseudo-values of the jackknife, each of which is what one image adds to the statistic.

    Args:
        statistic: One value for each row of weights; not a number where it is not defined there,
            as a share of 0. Of all images it is a number.
        clusters: What is drawn, where images are not independent; see `bootstrap_intervals`.
    """
    even: Weights = np.ones((1, image_count), np.int64)
    point = float(statistic(even)[0])
    count, _ = draws_of(image_count, clusters)
    if count < 2:
        return point, point
    drawn = _draw(count)
    low, high = np.nanpercentile(statistic(_of_images(drawn, clusters)), ENDS)
    reach = student_end(count - 1) * math.sqrt(count / (count - 1)) / NORMAL_END
    low, high = point + (low - point) * reach, point + (high - point) * reach
    left_out = statistic(_of_images(1 - np.eye(count, dtype=np.int64), clusters))
    added = count * point - (count - 1) * left_out
    if np.isfinite(added).all() and np.ptp(added) > 0:
        down, up = _studentized_reach(added, drawn)
        low, high = min(low, point - down), max(high, point + up)
    return float(low), float(high)


def student_end(freedom: int) -> float:
    """The 97.5th percentile of Student's t, to 2e-3 from 5 degrees of freedom on.

    Source: Abramowitz and Stegun 1964, 26.7.5.
    """
    z = NORMAL_END
    return (
        z
        + (z**3 + z) / (4 * freedom)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * freedom**3)
    )


def _studentized_reach(values: NDArray[np.float64], weights: Weights) -> tuple[float, float]:
    """How far the mean of values may lie below and above, by resamples in units of their errors."""
    count = len(values)
    centred = values - values.mean()
    variance = float((centred**2).mean())
    means = weights @ centred / count
    # A resample that misses the few images that lose has no spread of its own, and would tell an
    # infinite distance. With this floor one of n such images reaches as far as a binomial share.
    spread = np.maximum(weights @ centred**2 / count - means**2, variance / count)
    low, high = np.percentile(means / np.sqrt(spread / (count - 1)), ENDS)
    error = math.sqrt(variance / (count - 1))
    return float(high) * error, float(-low) * error


def _of_images(drawn: Weights, clusters: Clusters | None) -> Weights:
    """How often each image was drawn, where it is clusters that are drawn."""
    return drawn if clusters is None else clusters.weights(drawn)


@functools.lru_cache(maxsize=16)  # a table asks for the same again and again
def _draw(image_count: int) -> Weights:
    generator = np.random.default_rng(BOOTSTRAP_SEED)
    even = np.full(image_count, 1 / image_count)
    drawn: Weights = generator.multinomial(image_count, even, size=BOOTSTRAP_SAMPLES)
    drawn.flags.writeable = False
    return drawn
