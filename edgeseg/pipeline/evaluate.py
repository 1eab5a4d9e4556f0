"""Scoring a network on labelled images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..data.folder import FolderDataset
from ..errors import UnknownNameError, UsageError
from ..lazy import require_installed
from ..metrics.scores import OVERLAP, MetricSet, ScoreTable, every_metric
from ..models import ModelSpec
from ..progress import SILENT, Progress


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
    sets = {"paper": spec.paper_metrics or every_metric(), "all": every_metric()}
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
    """Score the FP32 reference of a network.

    Args:
        metrics: "paper" or "all" adds that set.
        against: Another network with its weights, to be compared with image by image.

    Returns:
        JSON record: `model`, `images`, `accuracy` and `accuracy_ci95` by metric; `metrics` where a
        set was asked for; `against` with the other network's scores and, as `difference` and
        `difference_ci95`, this network's minus those, also of the metrics of that set.

    Raises:
        UsageError: The other network looks for other classes, or a checkpoint is missing.
    """
    if against is not None and len(against[0].outputs.classes) != len(spec.outputs.classes):
        raise UsageError(
            f"{against[0].name} knows {len(against[0].outputs.classes)} classes, {spec.name} "
            f"{len(spec.outputs.classes)}. Compare networks of the same classes."
        )
    chosen = None if metrics is None else choose_metrics(spec, metrics)
    sets = (OVERLAP,) if chosen is None else (OVERLAP, chosen.metrics)
    weights_path = spec.resolve_weights(weights)
    if against is not None:
        against[0].resolve_weights(against[1], "--against-weights")
    with progress.stage("load the model"):
        network = spec.load_network(weights_path)
    from ..training.predict import predict_scores

    with progress.stage("evaluate", total=len(dataset)) as stage:
        tables = predict_scores(network, dataset, spec.inputs, spec.outputs, *sets, stage=stage)
    record = {
        "model": spec.name,
        "weights": weights_path.name,
        "splits": list(dataset.splits),
        "images": len(dataset),
        "accuracy": tables[0].scores(),
        "accuracy_ci95": tables[0].intervals(),
    }
    if chosen is not None:
        record["metrics"] = _metrics_record(chosen, tables[1], [pair.name for pair in dataset])
    if against is not None:
        record["against"] = _compare_with(*against, tables, dataset, progress)
    return record


def _compare_with(
    spec: ModelSpec,
    weights: Path | None,
    tables: Sequence[ScoreTable],
    dataset: FolderDataset,
    progress: Progress,
) -> dict[str, Any]:
    """Scores of another network, and what the first one's `tables` differ from them."""
    from ..training.predict import predict_scores

    weights_path = spec.resolve_weights(weights, "--against-weights")
    network = spec.load_network(weights_path)
    # Only a map of one channel can be stretched.
    comparable = [
        table
        for table in tables
        if not (table.metrics.stretches_maps and spec.outputs.channels > 1)
    ]
    sets = [table.metrics for table in comparable]
    with progress.stage(f"evaluate {spec.name}", total=len(dataset)) as stage:
        theirs = predict_scores(network, dataset, spec.inputs, spec.outputs, *sets, stage=stage)
    accuracy, *others = (
        {
            "accuracy": other.scores(),
            "accuracy_ci95": other.intervals(),
            "difference": own.differences(other),
            "difference_ci95": own.difference_intervals(other),
        }
        for own, other in zip(comparable, theirs, strict=True)
    )
    record: dict[str, Any] = {"model": spec.name, "weights": weights_path.name, **accuracy}
    if others:
        (record["metrics"],) = others
    return record


def _metrics_record(chosen: ChosenMetrics, table: ScoreTable, names: list[str]) -> dict[str, Any]:
    intervals, scores = table.intervals(), table.scores()
    return {
        "set": chosen.name,
        "stretches_maps": chosen.metrics.stretches_maps,
        "scores": {
            metric.name: {
                "value": scores[metric.name],
                "ci95": intervals[metric.name],
                "definition": metric.definition,
                "source": metric.source,
            }
            for metric in chosen.metrics.metrics
        },
        "left_out": list(chosen.left_out),
        "empty_images": table.count_empty(),
        "image_names": names,
        "per_image": {name: values.tolist() for name, values in table.per_image.items()},
    }
