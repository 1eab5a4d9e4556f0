"""How far the probabilities of a network lie from how often it is right."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgeseg.contract import IGNORED, OutputContract
from edgeseg.metrics.bootstrap import Interval, Weights, judging_interval
from edgeseg.metrics.clusters import Clusters

BINS = 15  # of confidence, 0..1, equally wide


def count_bins(
    probabilities: NDArray[np.float32], truth: NDArray[np.uint8], outputs: OutputContract
) -> NDArray[np.float64]:
    """Pixels of an image by confidence.

    The confidence of a pixel is the probability of the class that it is given.

    Args:
        probabilities: (1, C, H, W), 0..1; one channel is the foreground's.
        truth: Class indices (H, W); pixels of which nothing is known are left out.

    Returns:
        (bins, 3): pixels, the sum of their confidence, and how many of them are right.
    """
    labels = outputs.labels(probabilities)
    planes = probabilities[0].astype(np.float64)
    best = np.where(labels > 0, planes[0], 1 - planes[0]) if len(planes) == 1 else planes.max(0)
    known = truth != IGNORED
    confidence, right = best[known], (labels == truth)[known]
    places = np.clip((confidence * BINS).astype(int), 0, BINS - 1)
    parts = (None, confidence, right.astype(np.float64))
    return np.stack([np.bincount(places, part, BINS) for part in parts], axis=1)


def calibration_error(
    counts: NDArray[np.float64], clusters: Clusters | None = None
) -> tuple[float, Interval]:
    """Expected calibration error over all pixels, 0..1, with its 95 % interval over images.

    Args:
        counts: Of `count_bins`, (images, bins, 3).
        clusters: Of the images.

    Source: Guo et al. 2017, arXiv:1706.04599, equation 3, with 15 bins.
    """

    def statistic(weights: Weights) -> NDArray[np.float64]:
        summed = np.einsum("ri,ibk->rbk", weights, counts)
        pixels, confidence, right = np.moveaxis(summed, 2, 0)
        error: NDArray[np.float64] = np.abs(right - confidence).sum(1) / pixels.sum(1)
        return error

    even: Weights = np.ones((1, len(counts)), np.int64)
    return float(statistic(even)[0]), judging_interval(len(counts), statistic, clusters)
