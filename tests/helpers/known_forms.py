"""Forms of a network of whose masks all is known."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgeseg.metrics.paired import PairedSample, pair_labels
from edgeseg.metrics.scores import MetricSet, ReferenceScores
from edgeseg.pipeline.studies.limits import Form

SIDE = 20


def sample(lost: NDArray[np.int64]) -> PairedSample:
    """Images with a square of 100 pixels, of which a candidate misses so many in each."""
    truth = np.zeros((len(lost), SIDE, SIDE), np.uint8)
    truth[:, :10, :10] = 1
    labels = truth.reshape(len(lost), -1).copy()
    for row, count in zip(labels, lost, strict=True):
        row[np.flatnonzero(row)[:count]] = 0
    names = [f"image{index}" for index in range(len(lost))]
    reference = ReferenceScores(truth, truth, 2, MetricSet(("dice_pooled",)))
    places = range(len(lost))
    return pair_labels(names, labels.reshape(truth.shape), truth, reference, places)


def form(name: str, *, val: list[int], test: list[int]) -> Form:
    return Form(name, {"val": sample(np.array(val)), "test": sample(np.array(test))})
