"""Accuracy of an artefact, and what it lost against the float model on the same images."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseg.contract import InputContract, OutputContract
from edgeseg.data.folder import FolderDataset
from edgeseg.metrics.agreement import PER
from edgeseg.metrics.counts import (
    Counts,
    bootstrap_intervals,
    count_overlap,
    delta_intervals,
    delta_scores,
    dice_per_image,
    score_intervals,
    scores_from_counts,
)
from edgeseg.metrics.hausdorff import can_measure_distances, hd95_per_image, relative_growth

Labels = NDArray[np.uint8]  # (images, h, w)


@dataclass(frozen=True)
class Accuracy:
    """Scores in 0..1, keys as `edgeseg.metrics.counts.scores_from_counts` gives them.

    Attributes:
        accuracy, accuracy_ci95: Of the artefact against the true masks.
        delta, delta_ci95: Minus the float model's; the interval is that of paired resampling.
        flips_per_10k: Pixels per 10,000 whose label differs from the float model's.
        worst_image: The image that lost most Dice, with what it lost and its flips.
        hd95_px: 95th percentile Hausdorff distance to the true masks, mean over images, in pixels
            of the network's input; None where MONAI is not installed.
        hd95_growth, hd95_growth_ci95: By which share of the float model's it is above that; the
            interval is that of paired resampling. None where the float model's is 0.
    """

    accuracy: dict[str, float]
    accuracy_ci95: dict[str, tuple[float, float]]
    delta: dict[str, float]
    delta_ci95: dict[str, tuple[float, float]]
    flips_per_10k: float
    worst_image: dict[str, Any]
    hd95_px: float | None = None
    hd95_growth: float | None = None
    hd95_growth_ci95: tuple[float, float] | None = None


def true_labels(dataset: FolderDataset, inputs: InputContract, outputs: OutputContract) -> Labels:
    """True label maps at the network's size, (images, h, w)."""
    count = len(outputs.classes)
    return np.stack(
        [
            outputs.shrink_labels(pair.read_labels(count), inputs.height, inputs.width)
            for pair in dataset
        ]
    )


def count_all(labels: Labels, truth: Labels, outputs: OutputContract) -> Counts:
    count = len(outputs.classes)
    pairs = zip(labels, truth, strict=True)
    return np.stack([count_overlap(mine, true, count) for mine, true in pairs])


class Reference:
    """The float model's label maps, which those of artefacts are compared with.

    Args:
        labels: The float model's, (images, h, w).
        truth: As large.
        names: Of the images.
        outputs: Of the model.
    """

    def __init__(
        self, labels: Labels, truth: Labels, names: Sequence[str], outputs: OutputContract
    ) -> None:
        self.labels = labels
        self.truth = truth
        self.names = names
        self.outputs = outputs
        self.counts = count_all(labels, truth, outputs)

    def compare(self, labels: Labels) -> Accuracy:
        """Score label maps against the truth and against the float model's."""
        counts = count_all(labels, self.truth, self.outputs)
        flips = np.array([(a != b).mean() for a, b in zip(labels, self.labels, strict=True)]) * PER
        lost = dice_per_image(counts) - dice_per_image(self.counts)
        worst = int(np.lexsort((-flips, lost))[0])
        return Accuracy(
            **self._border_distances(labels),
            accuracy=scores_from_counts(counts),
            accuracy_ci95=score_intervals(counts),
            delta=delta_scores(counts, self.counts),
            delta_ci95=delta_intervals(counts, self.counts),
            flips_per_10k=float(flips.mean()),
            worst_image={
                "name": self.names[worst],
                "delta_dice": float(lost[worst]),
                "flips_per_10k": float(flips[worst]),
            },
        )

    def _border_distances(self, labels: Labels) -> dict[str, Any]:
        """Fields of `Accuracy` about HD95."""
        if not can_measure_distances():
            return {}
        theirs = self.hd95
        ours = theirs.copy()
        differs = (labels != self.labels).any((1, 2))
        ours[differs] = self._hd95_of(labels[differs], self.truth[differs])
        fields: dict[str, Any] = {"hd95_px": float(ours.mean())}
        growth = relative_growth(ours.mean(), theirs.mean())
        if growth is not None:

            def resampled(weights: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
                before, after = weights @ theirs, weights @ ours
                growths = after[before > 0] / before[before > 0] - 1
                return {"growth": growths.astype(np.float64)}

            intervals = bootstrap_intervals(len(ours), resampled)
            fields |= {"hd95_growth": float(growth), "hd95_growth_ci95": intervals["growth"]}
        return fields

    @functools.cached_property
    def hd95(self) -> NDArray[np.float64]:
        """The float model's, (images,), in pixels; it takes as long as all other scores."""
        return self._hd95_of(self.labels, self.truth)

    def _hd95_of(self, labels: Labels, truth: Labels) -> NDArray[np.float64]:
        return hd95_per_image(labels, truth, len(self.outputs.classes))
