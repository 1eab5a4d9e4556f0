"""Scores of whatever predicts, on labelled images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..contract import InputContract, OutputContract, resize_plane
from ..progress import Stage
from .agreement import Predictor
from .clusters import Clusters
from .scores import MetricSet, ScoreTable, score_probabilities


def predict_labelled(
    predict: Predictor,
    dataset: Iterable[Any],
    inputs: InputContract,
    outputs: OutputContract,
    stage: Stage | None = None,
    size: tuple[int, int] | None = None,
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.uint8]]]:
    """Probabilities (1, C, H, W) and true labels (H, W) of labelled pairs.

    A step of the stage ends when the next pair is asked for.

    Args:
        predict: Prepared image (1, C, H, W) to probabilities.
        size: (height, width) of both, to which probabilities are resized as for a user's mask; None
            is the network's.
    """
    height, width = size or (inputs.height, inputs.width)
    for pair in dataset:
        image, labels = pair.read_both(len(outputs.classes), inputs, outputs.ignore)
        truth = outputs.shrink_labels(labels, height, width)
        found = predict(inputs.prepare(image))
        if found.shape[2:] != (height, width):
            planes = resize_plane(found[0].transpose(1, 2, 0), height, width)
            found = np.ascontiguousarray(planes.transpose(2, 0, 1)[None])
        yield found, truth
        if stage is not None:
            stage.advance()


def score_labelled(
    predict: Predictor,
    dataset: Iterable[Any],
    inputs: InputContract,
    outputs: OutputContract,
    *sets: MetricSet,
    stage: Stage | None = None,
    clusters: Clusters | None = None,
    size: tuple[int, int] | None = None,
) -> tuple[ScoreTable, ...]:
    """Scores of a predictor on labelled pairs: a table for each set.

    Args:
        clusters: Of the pairs, for intervals; see `edgeseg.data.clusters.clusters_of`.
        size: At which masks are compared; see `predict_labelled`.
    """
    predictions = predict_labelled(predict, dataset, inputs, outputs, stage, size)
    return score_probabilities(predictions, outputs, *sets, clusters=clusters)
