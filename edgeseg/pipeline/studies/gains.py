"""What students gain by a teacher, over seeds and images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeseg.metrics.bootstrap import bootstrap_intervals
from edgeseg.metrics.clusters import Clusters
from edgeseg.metrics.counts import Counts, dice_from_counts

PLAIN = "labels only"  # the row that the others are compared with
TEACHER = "teacher "  # begins the rows of teachers


def teacher_rows(names: Sequence[str]) -> list[str]:
    """Names of the teachers' rows, each its own."""
    rows: list[str] = []
    for index, name in enumerate(names):
        before = names[:index].count(name)
        rows.append(f"{TEACHER}{name}" + (f" {before + 1}" if before else ""))
    return rows


@dataclass(frozen=True)
class StudyRow:
    """Scores of one row of the table, pooled Dice in 0..1.

    Attributes:
        name: Of the row.
        dice: Of each seed.
        gain: Mean over the seeds of the difference to the first row of students; None for it and
            for teachers.
        gain_ci95: Its 95 % paired bootstrap interval over images.
        gains: Of each seed.
    """

    name: str
    dice: tuple[float, ...]
    gain: float | None = None
    gain_ci95: tuple[float, float] | None = None
    gains: tuple[float, ...] = ()


def summarize(
    counts: Mapping[str, Sequence[Counts]], clusters: Clusters | None = None
) -> list[StudyRow]:
    """Table of a study.

    Args:
        counts: For each row one array (images, foreground classes, 3) a seed, the same images
            throughout.
        clusters: Of the images, over which intervals resample.
    """
    plain = np.stack(counts[PLAIN])
    rows = []
    for name, runs in counts.items():
        stacked = np.stack(runs)
        dice = tuple(float(value) for value in _pooled_dice(stacked))
        if name == PLAIN or name.startswith(TEACHER):
            rows.append(StudyRow(name, dice))
            continue
        gains = _pooled_dice(stacked) - _pooled_dice(plain)
        interval = _gain_interval(stacked, plain, clusters)
        rows.append(
            StudyRow(
                name, dice, float(gains.mean()), interval, tuple(float(gain) for gain in gains)
            )
        )
    return rows


def _pooled_dice(
    counts: NDArray[np.int64], weights: NDArray[np.int64] | None = None
) -> NDArray[np.float64]:
    """Pooled Dice of counts (seeds, images, classes, 3): (seeds,), or (resamples, seeds)."""
    if weights is None:
        return np.asarray(dice_from_counts(counts.sum(1)).mean(-1))
    pooled = np.einsum("ri,sick->rsck", weights, counts)
    return np.asarray(dice_from_counts(pooled).mean(-1))


def _gain_interval(
    counts: NDArray[np.int64], plain: NDArray[np.int64], clusters: Clusters | None
) -> tuple[float, float]:
    """Interval of the mean gain over seeds; all runs see the same resample of images."""

    def statistic(weights: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
        gains = _pooled_dice(counts, weights) - _pooled_dice(plain, weights)
        return {"gain": gains.mean(-1)}

    return bootstrap_intervals(counts.shape[1], statistic, clusters)["gain"]
