"""Scores of whatever predicts, on labelled images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..contract import InputContract, OutputContract
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
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.uint8]]]:
    """Probabilities (1, C, H, W) and true labels (H, W) of labelled pairs, at the network's size.

    A step of the stage ends when the next pair is asked for.

    Args:
        predict: Prepared image (1, C, H, W) to probabilities.
    """
    for pair in dataset:
        image, labels = pair.read_both(len(outputs.classes), inputs, outputs.ignore)
        truth = outputs.shrink_labels(labels, inputs.height, inputs.width)
        yield predict(inputs.prepare(image)), truth
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
) -> tuple[ScoreTable, ...]:
    """Scores of a predictor on labelled pairs, at the network's size: a table for each set.

    Args:
        clusters: Of the pairs, for intervals; see `edgeseg.data.clusters.clusters_of`.
    """
    predictions = predict_labelled(predict, dataset, inputs, outputs, stage)
    return score_probabilities(predictions, outputs, *sets, clusters=clusters)
