"""Measures of a grey foreground map against a binary truth, from the papers that define them.

Each takes one image: `foreground` (H, W), 0..1, and `truth` (H, W), bool, and gives a float in
0..1. Written from the papers' equations; where the equations leave a case open, the papers' MATLAB
code decides and the docstring says so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..lazy import require
from .metric import Metric, ScoredImage

Map = NDArray[np.floating[Any]]
Mask = NDArray[np.bool_]


def mean_absolute_error(foreground: Map, truth: Mask) -> float:
    """Mean over pixels of |map - truth|. 0 is perfect.

    Source: Perazzi et al. 2012, Saliency filters, CVPR.
    """
    return float(np.abs(foreground.astype(np.float64) - truth).mean())


def weighted_f_measure(foreground: Map, truth: Mask) -> float:
    """F measure whose errors count less beside hits and more far from the object; beta is 1.

    An empty truth scores 0, whatever the map.

    Source: Margolin et al. 2014, How to evaluate foreground maps?, CVPR; the Gaussian (standard
    deviation 5, window 7x7) as in their code.
    """
    ndimage: Any = require("scipy.ndimage", purpose="The weighted F measure")
    if not truth.any():
        return 0.0
    error = np.abs(foreground.astype(np.float64) - truth)
    distance, nearest = ndimage.distance_transform_edt(~truth, return_indices=True)
    # The background takes over the error of the nearest object pixel, so that smoothing does not
    # blur what lies outside into the object.
    spread = error[tuple(nearest)]
    smooth = ndimage.gaussian_filter(spread, 5.0, radius=3, mode="constant")
    missed = np.minimum(error, smooth)[truth]
    importance = 2 - np.exp(np.log(0.5) / 5 * distance[~truth])
    extra = float((error[~truth] * importance).sum())
    hit = float((1 - missed).sum())
    recall = hit / missed.size
    precision = hit / (hit + extra) if hit else 0.0
    return 2 * precision * recall / (precision + recall) if hit else 0.0


def s_measure(foreground: Map, truth: Mask) -> float:
    """Structural similarity of the objects and of four regions, half each.

    An empty truth scores 1 - mean of the map, a full one the mean.

    Source: Fan et al. 2017, Structure-measure, ICCV, arXiv:1708.00786; alpha and lambda 0.5.
    """
    values = foreground.astype(np.float64)
    share = float(truth.mean())
    if share in (0.0, 1.0):
        return float(values.mean()) if share else float(1 - values.mean())
    objects = share * _object_score(values[truth]) + (1 - share) * _object_score(1 - values[~truth])
    return max(0.0, (objects + _region_score(values, truth)) / 2)


def _object_score(values: NDArray[np.float64]) -> float:
    """High and even values are an object."""
    mean = values.mean()
    spread = values.std(ddof=1) if values.size > 1 else 0.0
    return float(2 * mean / (mean**2 + 1 + spread))


def _region_score(values: NDArray[np.float64], truth: Mask) -> float:
    """Similarity of the quarters that meet at the truth's centroid, weighted by their area."""
    # Rounded up at .5 as MATLAB does, and the centroid's own row and column lie above and left.
    row, column = (int(np.floor(axis.mean() + 0.5)) + 1 for axis in np.nonzero(truth))
    score = 0.0
    for rows in (slice(None, row), slice(row, None)):
        for columns in (slice(None, column), slice(column, None)):
            part = truth[rows, columns]
            if part.size:  # a centroid at the border leaves quarters without pixels
                score += part.size / truth.size * _similarity(values[rows, columns], part)
    return score


def _similarity(values: NDArray[np.float64], truth: Mask) -> float:
    """SSIM of a whole region; 1 where neither side varies, as in the paper's code."""
    mean, true_mean = values.mean(), truth.mean()
    degrees = max(truth.size - 1, 1)
    variances = (np.square(values - mean).sum() + np.square(truth - true_mean).sum()) / degrees
    covariance = ((values - mean) * (truth - true_mean)).sum() / degrees
    numerator = 4 * mean * true_mean * covariance
    denominator = (mean**2 + true_mean**2) * variances
    if denominator == 0:
        return 1.0
    return float(numerator / denominator)


def e_measure(foreground: Map, truth: Mask) -> float:
    """Enhanced alignment of the map, cut at twice its mean (at most 1), with the truth.

    An empty truth scores the share of pixels below the cut, a full one the share above. That cut
    is the adaptive one of the published code; some tables print the best cut of 256 instead.

    Source: Fan et al. 2018, Enhanced-alignment measure, IJCAI, arXiv:1805.10421. Unlike
    their code, which divides by the pixels less one, a perfect map scores exactly 1.
    """
    values = foreground.astype(np.float64)
    found = values >= min(2 * values.mean(), 1.0)
    if truth.all() or not truth.any():
        return float((found == truth).mean())
    ours, theirs = found - found.mean(), truth - truth.mean()
    alignment = 2 * ours * theirs / (ours**2 + theirs**2)
    return float(np.square(alignment + 1).mean() / 4)


def _of_map(measure: Callable[[Map, Mask], float]) -> Callable[[ScoredImage], float]:
    return lambda image: measure(image.foreground[0], image.truth == 1)


WEIGHTED_F = Metric(
    name="weighted_f",
    title="weighted F measure",
    definition="F measure whose errors count less beside hits and more far from the object, "
    "beta 1, mean over images",
    source="Margolin et al. 2014, CVPR",
    from_image=_of_map(weighted_f_measure),
    needs_probabilities=True,
    is_binary=True,
    packages=("scipy",),
)
S_MEASURE = Metric(
    name="s_measure",
    title="S measure",
    definition="structural similarity of objects and of regions, half each, mean over images",
    source="Fan et al. 2017, ICCV",
    from_image=_of_map(s_measure),
    needs_probabilities=True,
    is_binary=True,
)
E_MEASURE = Metric(
    name="e_measure",
    title="E measure",
    definition="enhanced alignment of the map, cut at twice its mean, with the truth, mean over "
    "images",
    source="Fan et al. 2018, IJCAI",
    from_image=_of_map(e_measure),
    needs_probabilities=True,
    is_binary=True,
)
MAE = Metric(
    name="mae",
    title="mean absolute error",
    definition="mean of abs(p - t) over pixels, then over images",
    source="Perazzi et al. 2012, CVPR",
    better="lower",
    from_image=_of_map(mean_absolute_error),
    needs_probabilities=True,
    is_binary=True,
)
