"""Scoring a network on labelled images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..data.folder import FolderDataset
from ..errors import UnknownNameError, UsageError
from ..lazy import require_installed
from ..metrics.counts import (
    Counts,
    count_overlap,
    delta_intervals,
    delta_scores,
    score_intervals,
    scores_from_counts,
)
from ..metrics.scores import (
    ALL_METRICS,
    METRICS,
    ImageScores,
    MetricSet,
    ScoreTable,
    gather_scores,
    score_image,
)
from ..models import ModelSpec
from ..progress import SILENT, Progress

if TYPE_CHECKING:
    pass


@dataclass(frozen=True)
class ChosenMetrics:
    """A set of metrics for one model.

    Attributes:
        name: "paper", or "all".
        metrics: Those that apply to the model.
        left_out: Names of those that are defined for one foreground class, of which it has more.
    """

    name: str
    metrics: MetricSet
    left_out: tuple[str, ...]


def choose_metrics(spec: ModelSpec, name: str) -> ChosenMetrics:
    """The set of that name: what the model's paper prints, or all; all where there is no paper.

    Raises:
        UnknownNameError: No such set.
        MissingBackendError: A package that the set needs is not installed.
    """
    sets = {"paper": spec.paper_metrics or ALL_METRICS, "all": ALL_METRICS}
    if name not in sets:
        raise UnknownNameError("set of metrics", name, sets)
    left_out = sets[name].binary_names() if len(spec.outputs.classes) > 2 else ()
    metrics = sets[name].without(left_out)
    require_installed(metrics.packages, purpose=f"--metrics {name}")
    return ChosenMetrics(name if spec.paper_metrics else "all", metrics, left_out)


def evaluate_model(
    spec: ModelSpec,
    weights: Path | None,
    dataset: FolderDataset,
    progress: Progress = SILENT,
    metrics: str | None = None,
    against: tuple[ModelSpec, Path | None] | None = None,
) -> dict[str, Any]:
    """Score the float torch network.

    Args:
        metrics: "paper" or "all" adds that set.
        against: Another network with its weights, to be compared with image by image.

    Returns:
        JSON record: `model`, `images`, `accuracy` and `accuracy_ci95` by score; `metrics` where a
        set was asked for; `against` with the other network's scores and, as `difference` and
        `difference_ci95`, this network's minus those.

    Raises:
        UsageError: The other network looks for other classes, or a checkpoint is missing.
    """
    if against is not None and len(against[0].outputs.classes) != len(spec.outputs.classes):
        raise UsageError(
            f"{against[0].name} knows {len(against[0].outputs.classes)} classes, {spec.name} "
            f"{len(spec.outputs.classes)}. Compare networks of the same classes."
        )
    chosen = None if metrics is None else choose_metrics(spec, metrics)
    weights_path = spec.resolve_weights(weights)
    if against is not None:
        against[0].resolve_weights(against[1], "--against-weights")
    with progress.stage("load the model"):
        network = spec.load_network(weights_path)
    from ..training.predict import predict_pairs

    overlaps = []
    images: list[ImageScores] = []
    with progress.stage("evaluate", total=len(dataset)) as stage:
        pairs = predict_pairs(network, dataset, spec.inputs, spec.outputs, stage=stage)
        for mask, truth in pairs:
            predicted = spec.outputs.labels(mask)
            overlaps.append(count_overlap(predicted, truth, len(spec.outputs.classes)))
            if chosen is not None:
                images.append(score_image(mask, truth, spec.outputs, chosen.metrics))
    counts = np.stack(overlaps)
    record = {
        "model": spec.name,
        "weights": weights_path.name,
        "splits": list(dataset.splits),
        "images": len(dataset),
        "accuracy": scores_from_counts(counts),
        "accuracy_ci95": score_intervals(counts),
    }
    if chosen is not None:
        names = [pair.name for pair in dataset]
        record["metrics"] = _metrics_record(chosen, gather_scores(images, chosen.metrics), names)
    if against is not None:
        record["against"] = _compare_with(*against, counts, dataset, progress)
    return record


def _compare_with(
    spec: ModelSpec,
    weights: Path | None,
    counts: Counts,
    dataset: FolderDataset,
    progress: Progress,
) -> dict[str, Any]:
    """Scores of another network, and what `counts` differ from it."""
    from ..training.predict import predict_counts

    weights_path = spec.resolve_weights(weights, "--against-weights")
    network = spec.load_network(weights_path)
    with progress.stage(f"evaluate {spec.name}", total=len(dataset)) as stage:
        theirs = predict_counts(network, dataset, spec.inputs, spec.outputs, stage=stage)
    return {
        "model": spec.name,
        "weights": weights_path.name,
        "accuracy": scores_from_counts(theirs),
        "accuracy_ci95": score_intervals(theirs),
        "difference": delta_scores(counts, theirs),
        "difference_ci95": delta_intervals(counts, theirs),
    }


def _metrics_record(chosen: ChosenMetrics, table: ScoreTable, names: list[str]) -> dict[str, Any]:
    intervals = table.intervals()
    return {
        "set": chosen.name,
        "stretches_maps": chosen.metrics.stretches_maps,
        "scores": {
            name: {
                "value": value,
                "ci95": intervals[name],
                "definition": METRICS[name].definition,
                "source": METRICS[name].source,
            }
            for name, value in table.scores().items()
        },
        "left_out": list(chosen.left_out),
        "empty_images": table.count_empty(),
        "image_names": names,
        "per_image": {name: values.tolist() for name, values in table.per_image.items()},
    }
