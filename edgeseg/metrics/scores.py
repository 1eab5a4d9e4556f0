"""The one engine that scores a set of images: values, intervals, and changes to a reference.

Pooled scores come from the pixel counts of all images together, every other one is the mean over
images of a score of each, so that an interval costs no second look at the pixels. Intervals are
those of the percentile bootstrap over images, or over what they belong to (`clusters`); those of
changes are paired: the compared and the reference see the same resample.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..contract import OutputContract
from ..errors import UnknownNameError
from .bootstrap import Interval, bootstrap_intervals, judging_interval
from .clusters import Clusters, clusters_of_part, draws_of
from .counts import count_classes
from .metric import ClassCounts, Metric, ScoredImage
from .table import METRICS, find_metric

Scores = dict[str, float]
Labels = NDArray[np.uint8]  # (images, h, w)
Resampled = dict[str, NDArray[np.float64]]  # a value for each resample, by metric


@dataclass(frozen=True)
class MetricSet:
    """Metrics that belong together.

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
                raise UnknownNameError("metric", name, METRICS.names())

    @cached_property
    def metrics(self) -> tuple[Metric, ...]:
        return tuple(find_metric(name) for name in self.names)

    @property
    def packages(self) -> tuple[str, ...]:
        """Import names that computing all of it needs."""
        return tuple(dict.fromkeys(p for metric in self.metrics for p in metric.packages))

    def binary_names(self) -> tuple[str, ...]:
        """Those that are defined for one foreground class only."""
        return tuple(metric.name for metric in self.metrics if metric.is_binary)

    def without(self, names: Sequence[str]) -> MetricSet:
        """The same without some."""
        kept = tuple(name for name in self.names if name not in names)
        return MetricSet(kept, self.stretches_maps)


# What a record of accuracy holds wherever no other set is asked for.
OVERLAP = MetricSet(("dice_pooled", "dice_image", "iou_pooled", "iou_image"))


def every_metric() -> MetricSet:
    """All there are, those of other packages last."""
    return MetricSet(METRICS.names())


def stretch_map(probabilities: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """Stretch to 0..1 from the array's own minimum and maximum; a flat one stays as it is."""
    low, high = probabilities.min(), probabilities.max()
    return probabilities if high == low else (probabilities - low) / (high - low)


@dataclass(frozen=True)
class ImageScores:
    """What one image adds.

    Attributes:
        counts: (classes, 3), see `count_classes`.
        values: Scores of metrics with `Metric.from_image`, by name.
    """

    counts: ClassCounts
    values: dict[str, float]


def score_image(image: ScoredImage, metrics: MetricSet) -> ImageScores:
    """Score one image.

    Pixels whose truth is `IGNORED` count as background that was found.

    Raises:
        MissingBackendError: One of `metrics.packages` is not installed.
        ValueError: A metric needs probabilities, and the image has label maps only.
    """
    image = image.without_ignored()
    values = {
        metric.name: metric.from_image(image)
        for metric in metrics.metrics
        if metric.from_image is not None
    }
    return ImageScores(count_classes(image.predicted, image.truth, image.class_count), values)


@dataclass(frozen=True)
class ScoreTable:
    """Scores of a set of images.

    Attributes:
        metrics: What was asked for.
        counts: (images, classes, 3), background first.
        per_image: The values whose mean is the score, (images,), by name; pooled scores have
            none. Two artefacts are compared on the same images by the difference of theirs.
        clusters: Of the images, over which intervals resample; None where images are independent.
    """

    metrics: MetricSet
    counts: ClassCounts
    per_image: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    clusters: Clusters | None = None

    @property
    def independent(self) -> tuple[int, str]:
        """How many draws an interval consists of, and what is drawn."""
        return draws_of(len(self.counts), self.clusters)

    def only(self, images: Sequence[int]) -> ScoreTable:
        """The table of some of the images, by their places."""
        places = list(images)
        values = {name: scores[places] for name, scores in self.per_image.items()}
        clusters = clusters_of_part(self.clusters, places)
        return ScoreTable(self.metrics, self.counts[places], values, clusters)

    def of_clusters(self) -> ScoreTable | None:
        """The table of clusters, each scored as a whole, such as volumes; None without clusters.

        It has those metrics that are a mean of scores of counts.
        """
        if self.clusters is None:
            return None
        shape = self.clusters.count, *self.counts.shape[1:]
        counts = np.zeros(shape, self.counts.dtype)
        np.add.at(counts, list(self.clusters.of_images), self.counts)
        means = [one for one in self.metrics.metrics if one.from_counts and not one.is_pooled]
        values = {one.name: one.from_counts(counts) for one in means if one.from_counts}
        return ScoreTable(MetricSet(tuple(values)), counts, values)

    def scores(self) -> Scores:
        """Value by name, in the order of the set."""
        once = np.ones((1, len(self.counts)), np.int64)
        return {name: float(values[0]) for name, values in self._resampled(once).items()}

    def intervals(self) -> dict[str, Interval]:
        """95 % percentile bootstrap interval of each score."""
        return bootstrap_intervals(len(self.counts), self._resampled, self.clusters)

    def differences(self, reference: ScoreTable) -> Scores:
        """Scores minus those of a reference on the same images, in the same order.

        Raises:
            ValueError: The reference has another number of images, or other metrics.
        """
        self._require_same_images(reference)
        ours, theirs = self.scores(), reference.scores()
        return {name: ours[name] - theirs[name] for name in ours}

    def difference_intervals(self, reference: ScoreTable) -> dict[str, Interval]:
        """95 % paired bootstrap interval of each difference."""

        def statistic(weights: NDArray[np.int64]) -> Resampled:
            ours, theirs = self._resampled(weights), reference._resampled(weights)
            return {name: ours[name] - theirs[name] for name in ours}

        self._require_same_images(reference)
        return bootstrap_intervals(len(self.counts), statistic, self.clusters)

    def relative_changes(self, reference: ScoreTable) -> Scores:
        """Score / reference - 1 of each metric whose reference is not 0."""
        self._require_same_images(reference)
        ours, theirs = self.scores(), reference.scores()
        return {name: ours[name] / theirs[name] - 1 for name in ours if theirs[name]}

    def relative_change_intervals(self, reference: ScoreTable) -> dict[str, Interval]:
        """95 % paired bootstrap interval of each relative change, over those resamples in which
        the reference is not 0."""
        names = self.relative_changes(reference)

        def statistic(weights: NDArray[np.int64]) -> Resampled:
            ours, theirs = self._resampled(weights), reference._resampled(weights)
            changes: Resampled = {}
            for name in names:
                has_reference = theirs[name] > 0
                ratios = ours[name][has_reference] / theirs[name][has_reference]
                changes[name] = np.asarray(ratios - 1, np.float64)
            return changes

        return bootstrap_intervals(len(self.counts), statistic, self.clusters)

    def change_interval(self, reference: ScoreTable, metric: Metric) -> Interval:
        """95 % paired interval of what a metric changed, in its own terms, as limits are judged by
        (`judging_interval`). The metric is among those of `changes`."""
        self._require_same_images(reference)
        own, other = (replace(one, metrics=MetricSet((metric.name,))) for one in (self, reference))

        def statistic(weights: NDArray[np.int64]) -> NDArray[np.float64]:
            ours, theirs = (one._resampled(weights)[metric.name] for one in (own, other))
            if not metric.is_change_relative:
                return ours - theirs
            # Not a number where the reference is 0.
            return ours / np.where(theirs == 0, np.nan, theirs) - 1

        return judging_interval(len(self.counts), statistic, self.clusters)

    def changes(self, reference: ScoreTable) -> Scores:
        """What each metric changed, in its own terms (`Metric.change`); none for a share of 0."""
        self._require_same_images(reference)
        ours, theirs = self.scores(), reference.scores()
        changes = {
            metric.name: metric.change(ours[metric.name], theirs[metric.name])
            for metric in self.metrics.metrics
        }
        return {name: change for name, change in changes.items() if change is not None}

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

    def _require_same_images(self, reference: ScoreTable) -> None:
        if len(self.counts) != len(reference.counts) or self.metrics.names != (
            reference.metrics.names
        ):
            raise ValueError(
                f"{', '.join(self.metrics.names)} of {len(self.counts)} images cannot be compared "
                f"with {', '.join(reference.metrics.names)} of {len(reference.counts)}. Score both "
                "by one set on the same images."
            )

    def _resampled(self, weights: NDArray[np.int64]) -> Resampled:
        """Scores for each row of `weights` (resamples, images): how often each was drawn."""
        pooled_counts = np.tensordot(weights, self.counts, axes=1)
        image_share = weights / weights.sum(1, keepdims=True)
        scores = {}
        for metric in self.metrics.metrics:
            if metric.is_pooled and metric.from_counts is not None:
                scores[metric.name] = metric.from_counts(pooled_counts)
            else:
                scores[metric.name] = image_share @ self.per_image[metric.name]
        return scores


def gather_scores(
    images: Sequence[ImageScores], metrics: MetricSet, clusters: Clusters | None = None
) -> ScoreTable:
    """Put the images' scores together.

    Args:
        clusters: See `ScoreTable`.

    Raises:
        ValueError: There is no image, or clusters are those of other images.
    """
    if not images:
        raise ValueError("There is no image to score. Name a split that has some.")
    if clusters is not None and len(clusters.of_images) != len(images):
        raise ValueError(
            f"{len(images)} images were scored, and {len(clusters.of_images)} are in clusters. "
            "Name the clusters of the same images."
        )
    counts = np.stack([image.counts for image in images])
    per_image = {}
    for metric in metrics.metrics:
        if metric.from_image is not None:
            per_image[metric.name] = np.array([image.values[metric.name] for image in images])
        elif metric.from_counts is not None and not metric.is_pooled:
            per_image[metric.name] = metric.from_counts(counts)
    return ScoreTable(metrics, counts, per_image, clusters)


def score_probabilities(
    predictions: Iterable[tuple[NDArray[np.floating[Any]], Labels]],
    outputs: OutputContract,
    *sets: MetricSet,
    clusters: Clusters | None = None,
) -> tuple[ScoreTable, ...]:
    """Score a network's output by some sets of metrics: a table for each.

    Args:
        predictions: Probabilities (1, C, H, W) and true class indices (H, W) of each image. It is
            read once.
        clusters: See `ScoreTable`.

    Raises:
        MissingBackendError: A package that a set needs is not installed.
        ValueError: There is no image.
    """
    images: list[list[ImageScores]] = [[] for _ in sets]
    class_count = len(outputs.classes)
    for probabilities, truth in predictions:
        for metrics, scored in zip(sets, images, strict=True):
            maps = stretch_map(probabilities) if metrics.stretches_maps else probabilities
            # The foreground is channel 0 of a sigmoid mask and all but channel 0 of a softmax.
            foreground = maps[0, 1 - class_count :]
            image = ScoredImage(outputs.labels(maps), truth, class_count, foreground)
            scored.append(score_image(image, metrics))
    return tuple(
        gather_scores(scored, metrics, clusters)
        for metrics, scored in zip(sets, images, strict=True)
    )


class ReferenceScores:
    """Scores of a reference's label maps, which those of other label maps are compared with.

    Args:
        labels, truth: Class indices, (images, h, w).
        class_count: Background included.
        clusters: See `ScoreTable`.

    Attributes:
        table: The reference's own scores.

    Raises:
        MissingBackendError: One of `metrics.packages` is not installed.
        ValueError: There is no image, or a metric needs probabilities.
    """

    def __init__(
        self,
        labels: Labels,
        truth: Labels,
        class_count: int,
        metrics: MetricSet,
        clusters: Clusters | None = None,
    ) -> None:
        self._labels = labels
        self._truth = truth
        self._class_count = class_count
        self._images = [
            self._score(predicted, true, metrics)
            for predicted, true in zip(labels, truth, strict=True)
        ]
        self.table = gather_scores(self._images, metrics, clusters)

    def score(self, labels: Labels) -> ScoreTable:
        """Scores of other label maps of the same images; equal ones are not computed again.

        Raises:
            ValueError: It is another number of label maps.
        """
        metrics = self.table.metrics
        images = [
            known if np.array_equal(predicted, own) else self._score(predicted, true, metrics)
            for predicted, own, true, known in zip(
                labels, self._labels, self._truth, self._images, strict=True
            )
        ]
        return gather_scores(images, metrics, self.table.clusters)

    def _score(
        self, predicted: NDArray[np.uint8], true: NDArray[np.uint8], metrics: MetricSet
    ) -> ImageScores:
        return score_image(ScoredImage(predicted, true, self._class_count), metrics)
