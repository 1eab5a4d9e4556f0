"""Scores of a network on labelled images while it is trained."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ..contract import InputContract, OutputContract
from ..metrics.clusters import Clusters
from ..metrics.labelled import score_labelled
from ..metrics.scores import OVERLAP, ScoreTable
from ..models.logits import failing_network
from ..progress import Stage


def predict_overlap(
    network: nn.Module,
    dataset: Iterable[Any],
    inputs: InputContract,
    outputs: OutputContract,
    *,
    device: torch.device | str = "cpu",
    stage: Stage | None = None,
    clusters: Clusters | None = None,
    size: tuple[int, int] | None = None,
) -> ScoreTable:
    """Dice and IoU of a network on labelled pairs, with all threads.

    Args:
        clusters: Of the pairs, for intervals; see `edgeseg.data.clusters.clusters_of`.
        size: At which masks are compared (height, width); None is the network's.
    """
    network.eval()

    def predict(image: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode(), failing_network(network):
            mask = network(torch.from_numpy(image).to(device))
        probabilities: NDArray[np.float32] = mask.float().cpu().numpy()
        return probabilities

    (table,) = score_labelled(
        predict, dataset, inputs, outputs, OVERLAP, stage=stage, clusters=clusters, size=size
    )
    return table
