"""The scores that papers print, each with one definition and its source.

Pooled scores come from the pixel counts of all images together, every other one is the mean over
images of a score of each, so that an interval costs no second look at the pixels. An image without
what a ratio divides by scores 1 in it; distances say themselves what they do. With several
foreground classes a score is the mean over them, unless its definition says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..contract import OutputContract
from ..errors import UnknownNameError
from .counts import (
    Scores,
    bootstrap_intervals,
    count_classes,
    dice_from_counts,
    iou_from_counts,
    ratio_or_one,
)
from .hausdorff import HD95, hausdorff_distances
from .hausdorff import PACKAGES as DISTANCE_PACKAGES
from .saliency import e_measure, mean_absolute_error, s_measure, weighted_f_measure

ClassCounts = NDArray[np.int64]  # (..., classes, 3), background first; see `count_classes`


@dataclass(frozen=True)
class ScoredImage:
    """One image's prediction beside its truth, at the network's size.

    Attributes:
        foreground: Probabilities of the foreground classes, (classes - 1, H, W).
        predicted, truth: Class indices, (H, W).
    """

    foreground: NDArray[np.floating[Any]]
    predicted: NDArray[np.uint8]
    truth: NDArray[np.uint8]

    @property
    def class_count(self) -> int:
        return len(self.foreground) + 1


def soft_dice(image: ScoredImage) -> float:
    """Dice of probabilities without a cut: 2 sum(p t) / (sum(p) + sum(t))."""
    scores = []
    for index, plane in enumerate(image.foreground.astype(np.float64), start=1):
        truth = image.truth == index
        both = np.asarray(plane.sum() + truth.sum())
        scores.append(ratio_or_one(np.asarray(2 * plane[truth].sum()), both))
    return float(np.mean(scores))


def sensitivity_from_counts(counts: ClassCounts) -> NDArray[np.float64]:
    """True positives / true pixels, mean over foreground classes."""
    hit, _, missed = np.moveaxis(counts[..., 1:, :], -1, 0)
    return np.asarray(ratio_or_one(hit, hit + missed).mean(-1))


def specificity_from_counts(counts: ClassCounts) -> NDArray[np.float64]:
    """True negatives / pixels that are not of the class, mean over foreground classes."""
    hit, extra, missed = np.moveaxis(counts[..., 1:, :], -1, 0)
    negative = _pixels(counts)[..., None] - hit - missed
    return np.asarray(ratio_or_one(negative - extra, negative).mean(-1))


def accuracy_from_counts(counts: ClassCounts) -> NDArray[np.float64]:
    """Pixels whose class is right / pixels."""
    return ratio_or_one(counts[..., 0].sum(-1), _pixels(counts))


def _pixels(counts: ClassCounts) -> NDArray[np.int64]:
    return np.asarray((counts[..., 0] + counts[..., 2]).sum(-1))


def _dice(counts: ClassCounts) -> NDArray[np.float64]:
    return np.asarray(dice_from_counts(counts[..., 1:, :]).mean(-1))


def _iou(counts: ClassCounts) -> NDArray[np.float64]:
    return np.asarray(iou_from_counts(counts[..., 1:, :]).mean(-1))


def _iou_of_all_classes(counts: ClassCounts) -> NDArray[np.float64]:
    return np.asarray(iou_from_counts(counts).mean(-1))


def _mean_hausdorff(percentile: float | None = None) -> Callable[[ScoredImage], float]:
    def score(image: ScoredImage) -> float:
        return float(
            hausdorff_distances(
                image.predicted, image.truth, image.class_count, percentile=percentile
            ).mean()
        )

    return score


def _of_map(
    measure: Callable[[NDArray[np.floating[Any]], NDArray[np.bool_]], float],
) -> Callable[[ScoredImage], float]:
    return lambda image: measure(image.foreground[0], image.truth == 1)


@dataclass(frozen=True)
class Metric:
    """One score; exactly one of the three ways to compute it is given.

    Attributes:
        definition: For people, in one line.
        source: Paper that defines it, or whose published code does.
        pooled: From counts summed over all images, (..., classes, 3) to (...).
        counted: The same from the counts of each image, to be averaged.
        imaged: From one image, to be averaged.
        is_binary: Defined for one foreground class only.
        packages: Import names that computing it needs beside numpy.
    """

    definition: str
    source: str
    pooled: Callable[[ClassCounts], NDArray[np.float64]] | None = None
    counted: Callable[[ClassCounts], NDArray[np.float64]] | None = None
    imaged: Callable[[ScoredImage], float] | None = None
    is_binary: bool = False
    packages: tuple[str, ...] = ()


EGEUNET = "EGE-UNet, Ruan et al. 2023"
MINISEG = "MiniSeg, Qiu et al. 2021"
ULITE_M2SNET = "U-Lite, Dinh et al. 2023; M2SNet, Zhao et al. 2023"
HAUSDORFF = "Huttenlocher et al. 1993, as MONAI computes it"

METRICS: dict[str, Metric] = {
    "dice_pooled": Metric("Dice, pixels of all images pooled", EGEUNET, pooled=_dice),
    "dice_image": Metric("Dice, mean over images", MINISEG, counted=_dice),
    "soft_dice_image": Metric(
        "2 sum(p t) / (sum(p) + sum(t)), p not cut, mean over images",
        ULITE_M2SNET,
        imaged=soft_dice,
    ),
    "iou_pooled": Metric("foreground IoU, pixels pooled; EGE-UNet's mIoU", EGEUNET, pooled=_iou),
    "iou_image": Metric(
        "foreground IoU, mean over images; M2SNet's mIoU", ULITE_M2SNET, counted=_iou
    ),
    "miou_pooled": Metric(
        "IoU, mean over all classes with background, pixels pooled; MiniSeg's mIoU",
        MINISEG,
        pooled=_iou_of_all_classes,
    ),
    "accuracy": Metric(
        "share of pixels with the right class", EGEUNET, pooled=accuracy_from_counts
    ),
    "sensitivity_pooled": Metric(
        "share of true pixels that were found, pooled", EGEUNET, pooled=sensitivity_from_counts
    ),
    "sensitivity_image": Metric(
        "share of true pixels that were found, mean over images",
        MINISEG,
        counted=sensitivity_from_counts,
    ),
    "specificity_pooled": Metric(
        "share of other pixels that were left out, pooled", EGEUNET, pooled=specificity_from_counts
    ),
    "specificity_image": Metric(
        "share of other pixels that were left out, mean over images",
        MINISEG,
        counted=specificity_from_counts,
    ),
    "hd_px": Metric(
        "Hausdorff distance of the borders in pixels, mean over images",
        HAUSDORFF,
        imaged=_mean_hausdorff(),
        packages=DISTANCE_PACKAGES,
    ),
    "hd95_px": Metric(
        "95th percentile Hausdorff distance in pixels, mean over images",
        HAUSDORFF,
        imaged=_mean_hausdorff(HD95),
        packages=DISTANCE_PACKAGES,
    ),
    "weighted_f": Metric(
        "weighted F measure, beta 1, mean over images",
        "Margolin et al. 2014, CVPR",
        imaged=_of_map(weighted_f_measure),
        is_binary=True,
        packages=("scipy",),
    ),
    "s_measure": Metric(
        "S measure, alpha 0.5, mean over images",
        "Fan et al. 2017, ICCV",
        imaged=_of_map(s_measure),
        is_binary=True,
    ),
    "e_measure": Metric(
        "E measure, map cut at twice its mean, mean over images",
        "Fan et al. 2018, IJCAI",
        imaged=_of_map(e_measure),
        is_binary=True,
    ),
    "mae": Metric(
        "mean absolute error of the map, mean over images; 0 is best",
        "Perazzi et al. 2012, CVPR",
        imaged=_of_map(mean_absolute_error),
        is_binary=True,
    ),
}


@dataclass(frozen=True)
class MetricSet:
    """Scores that belong together.

    Attributes:
        names: Keys of `METRICS`, in the order to print.
        stretches_maps: Each image's probabilities are stretched from their own minimum and
            maximum to 0..1 before anything is scored. One channel only.
    """

    names: tuple[str, ...]
    stretches_maps: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(self.names))
        for name in self.names:
            if name not in METRICS:
                raise UnknownNameError("metric", name, METRICS)

    @property
    def packages(self) -> tuple[str, ...]:
        """Import names that computing all of it needs."""
        return tuple(dict.fromkeys(p for name in self.names for p in METRICS[name].packages))

    def binary_names(self) -> tuple[str, ...]:
        """Those that are defined for one foreground class only."""
        return tuple(name for name in self.names if METRICS[name].is_binary)

    def without(self, names: Sequence[str]) -> MetricSet:
        """The same without some."""
        kept = tuple(name for name in self.names if name not in names)
        return MetricSet(kept, self.stretches_maps)


ALL_METRICS = MetricSet(tuple(METRICS))


def stretch_map(probabilities: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """Stretch to 0..1 from the array's own minimum and maximum; a flat one stays as it is."""
    low, high = probabilities.min(), probabilities.max()
    return probabilities if high == low else (probabilities - low) / (high - low)


@dataclass(frozen=True)
class ImageScores:
    """What one image adds.

    Attributes:
        counts: (classes, 3), see `count_classes`.
        values: Scores of `Metric.imaged`, by name.
    """

    counts: ClassCounts
    values: dict[str, float]


def score_image(
    probabilities: NDArray[np.floating[Any]],
    truth: NDArray[np.uint8],
    outputs: OutputContract,
    metrics: MetricSet,
) -> ImageScores:
    """Score one image.

    Args:
        probabilities: The network's output, (1, C, H, W).
        truth: Class indices, (H, W).

    Raises:
        MissingBackendError: One of `metrics.packages` is not installed.
    """
    if metrics.stretches_maps:
        probabilities = stretch_map(probabilities)
    class_count = len(outputs.classes)
    # The foreground is channel 0 of a sigmoid mask and all but channel 0 of a softmax.
    image = ScoredImage(probabilities[0, 1 - class_count :], outputs.labels(probabilities), truth)
    values = {}
    for name in metrics.names:
        score = METRICS[name].imaged
        if score is not None:
            values[name] = score(image)
    return ImageScores(count_classes(image.predicted, truth, class_count), values)


@dataclass(frozen=True)
class ScoreTable:
    """Scores of a set of images.

    Attributes:
        metrics: What was asked for.
        counts: (images, classes, 3).
        per_image: The values whose mean is the score, (images,), by name; pooled scores have
            none. Two artefacts are compared on the same images by the difference of theirs.
    """

    metrics: MetricSet
    counts: ClassCounts
    per_image: dict[str, NDArray[np.float64]] = field(default_factory=dict)

    def scores(self) -> Scores:
        """Value by name, in the order of the set."""
        once = np.ones((1, len(self.counts)), np.int64)
        return {name: float(values[0]) for name, values in self._resampled(once).items()}

    def intervals(self) -> dict[str, tuple[float, float]]:
        """95 % percentile bootstrap interval over images of each score."""
        return bootstrap_intervals(len(self.counts), self._resampled)

    def count_empty(self) -> dict[str, int]:
        """Images with a foreground class that is empty in `truth`, `prediction` or `both`."""
        hit, extra, missed = np.moveaxis(self.counts[:, 1:], -1, 0)
        no_truth, no_prediction = hit + missed == 0, hit + extra == 0
        kinds = {
            "truth": no_truth & ~no_prediction,
            "prediction": no_prediction & ~no_truth,
            "both": no_truth & no_prediction,
        }
        return {name: int(concerned.any(1).sum()) for name, concerned in kinds.items()}

    def _resampled(self, weights: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
        """Scores for each row of `weights` (resamples, images): how often each was drawn."""
        pooled_counts = np.tensordot(weights, self.counts, axes=1)
        image_share = weights / weights.sum(1, keepdims=True)
        scores = {}
        for name in self.metrics.names:
            pooled = METRICS[name].pooled
            if pooled is not None:
                scores[name] = pooled(pooled_counts)
            else:
                scores[name] = image_share @ self.per_image[name]
        return scores


def gather_scores(images: Sequence[ImageScores], metrics: MetricSet) -> ScoreTable:
    """Put the images' scores together.

    Raises:
        ValueError: There is no image.
    """
    if not images:
        raise ValueError("There is no image to score.")
    counts = np.stack([image.counts for image in images])
    per_image = {}
    for name in metrics.names:
        counted = METRICS[name].counted
        if counted is not None:
            per_image[name] = counted(counts)
        elif METRICS[name].imaged is not None:
            per_image[name] = np.array([image.values[name] for image in images])
    return ScoreTable(metrics, counts, per_image)
