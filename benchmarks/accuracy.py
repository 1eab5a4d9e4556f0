"""Accuracy of an artefact, and what it lost against the FP32 reference on the same images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseg.contract import InputContract, OutputContract
from edgeseg.data.folder import FolderDataset
from edgeseg.metrics.agreement import PER
from edgeseg.metrics.bootstrap import Interval
from edgeseg.metrics.clusters import Clusters
from edgeseg.metrics.counts import dice_from_counts
from edgeseg.metrics.scores import Labels, MetricSet, ReferenceScores, ScoreTable
from edgeseg.metrics.table import metrics_of_label_maps


@dataclass(frozen=True)
class Accuracy:
    """Scores and changes by the names of `edgeseg.metrics.table`.

    Attributes:
        accuracy, accuracy_ci95: Of the artefact against the true masks.
        delta, delta_ci95: Minus the reference's; the interval is that of paired resampling.
        relative_change, relative_change_ci95: Over the reference's, less 1, likewise; a metric
            whose reference is 0 has none.
        flips_per_10k: Pixels per 10,000 whose label differs from the reference's.
        worst_image: The image that lost most Dice, with what it lost and its flips.
        per_image: What another run is compared with, in the order of the images: `counts` (images,
            classes, 3) as `edgeseg.metrics.counts` gives them, `values` by metric, and
            `flips_per_10k`.
    """

    accuracy: dict[str, float]
    accuracy_ci95: dict[str, Interval]
    delta: dict[str, float]
    delta_ci95: dict[str, Interval]
    relative_change: dict[str, float]
    relative_change_ci95: dict[str, Interval]
    flips_per_10k: float
    worst_image: dict[str, Any]
    per_image: dict[str, Any]


def true_labels(dataset: FolderDataset, inputs: InputContract, outputs: OutputContract) -> Labels:
    """True label maps at the network's size, (images, h, w)."""
    count, size = len(outputs.classes), (inputs.height, inputs.width)
    return np.stack(
        [outputs.shrink_labels(pair.read_labels(count, outputs.ignore), *size) for pair in dataset]
    )


def bench_metrics(outputs: OutputContract) -> MetricSet:
    """What a benchmark scores: the metrics that say so and can be computed on this machine."""
    chosen = metrics_of_label_maps(len(outputs.classes), lambda metric: bool(metric.bench))
    return MetricSet(tuple(metric.name for metric in chosen))


class Reference:
    """The FP32 reference's label maps, which those of artefacts are compared with.

    Args:
        labels: The reference's, (images, h, w).
        truth: As large.
        names: Of the images.
        outputs: Of the model.
        clusters: Of the images; see `edgeseg.data.clusters.clusters_of`.
    """

    def __init__(
        self,
        labels: Labels,
        truth: Labels,
        names: Sequence[str],
        outputs: OutputContract,
        clusters: Clusters | None = None,
    ) -> None:
        self.labels = labels
        self.truth = truth
        self.names = names
        metrics = bench_metrics(outputs)
        self.scores = ReferenceScores(labels, truth, len(outputs.classes), metrics, clusters)

    def compare(self, labels: Labels) -> Accuracy:
        """Score label maps against the truth and against the reference's."""
        ours, theirs = self.scores.score(labels), self.scores.table
        flips = np.array([(a != b).mean() for a, b in zip(labels, self.labels, strict=True)]) * PER
        lost = _dice_by_image(ours) - _dice_by_image(theirs)
        worst = int(np.lexsort((-flips, lost))[0])
        return Accuracy(
            accuracy=ours.scores(),
            accuracy_ci95=ours.intervals(),
            delta=ours.differences(theirs),
            delta_ci95=ours.difference_intervals(theirs),
            relative_change=ours.relative_changes(theirs),
            relative_change_ci95=ours.relative_change_intervals(theirs),
            flips_per_10k=float(flips.mean()),
            worst_image={
                "name": self.names[worst],
                "delta_dice": float(lost[worst]),
                "flips_per_10k": float(flips[worst]),
            },
            per_image={
                "counts": ours.counts.tolist(),
                "values": {name: values.tolist() for name, values in ours.per_image.items()},
                "flips_per_10k": flips.tolist(),
            },
        )


def _dice_by_image(table: ScoreTable) -> NDArray[np.float64]:
    return np.asarray(dice_from_counts(table.counts[:, 1:]).mean(-1))
