"""Predictions of a network on labelled images, and their scores."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ..contract import InputContract, OutputContract
from ..metrics.scores import OVERLAP, MetricSet, ScoreTable, score_probabilities
from ..models.logits import failing_network
from ..progress import Stage


def predict_pairs(
    network: nn.Module,
    dataset: Iterable[Any],
    inputs: InputContract,
    outputs: OutputContract,
    device: torch.device | str = "cpu",
    stage: Stage | None = None,
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.uint8]]]:
    """Probabilities (1, C, H, W) and true labels (H, W) of labelled pairs, at the network's size.

    A step of the stage ends when the next pair is asked for.
    """
    network.eval()
    for pair in dataset:
        image, labels = pair.read_both(len(outputs.classes), inputs.channels, outputs.ignore)
        truth = outputs.shrink_labels(labels, inputs.height, inputs.width)
        with torch.inference_mode(), failing_network(network):
            mask = network(torch.from_numpy(inputs.prepare(image)).to(device))
        yield mask.float().cpu().numpy(), truth
        if stage is not None:
            stage.advance()


def predict_scores(
    network: nn.Module,
    dataset: Iterable[Any],
    inputs: InputContract,
    outputs: OutputContract,
    *sets: MetricSet,
    device: torch.device | str = "cpu",
    stage: Stage | None = None,
) -> tuple[ScoreTable, ...]:
    """Scores of a network on labelled pairs, at the network's size: a table for each set."""
    predictions = predict_pairs(network, dataset, inputs, outputs, device, stage)
    return score_probabilities(predictions, outputs, *sets)


def predict_overlap(
    network: nn.Module,
    dataset: Iterable[Any],
    inputs: InputContract,
    outputs: OutputContract,
    *,
    device: torch.device | str = "cpu",
    stage: Stage | None = None,
) -> ScoreTable:
    """As `predict_scores`, of Dice and IoU."""
    (table,) = predict_scores(
        network, dataset, inputs, outputs, OVERLAP, device=device, stage=stage
    )
    return table
