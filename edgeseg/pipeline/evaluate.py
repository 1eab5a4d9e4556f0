"""Scoring a network on labelled images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ..data.clusters import clusters_of
from ..data.depth import tell_depth
from ..data.folder import FolderDataset, tell_files
from ..data.groups import places_of, read_groups
from ..errors import UnknownNameError, UsageError
from ..lazy import require_installed
from ..metrics.bootstrap import Interval
from ..metrics.labelled import score_labelled
from ..metrics.limits import MarginVerdict, judge_changes, stated_margins
from ..metrics.metric import MAX_CHANGE
from ..metrics.scores import OVERLAP, MetricSet, ScoreTable, every_metric
from ..models import ModelSpec, TrainedModel
from ..models.spec import size_to_compare
from ..progress import SILENT, Progress
from ..reference.find import open_reference
from .builder.request import open_split

CHECKED_IMAGES = 4


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


@dataclass(frozen=True)
class EvaluateRequest:
    """Which network to score, on what, and with which other one to compare it.

    Attributes:
        model: Name, or "package.module:Class".
        weights: Checkpoint; None takes the shipped one.
        spec: TOML file that describes a network of the user's own.
        data: Folder with labelled images; None takes the sample that the package carries.
        splits: Splits of the data to score together.
        size: (height, width) of the input of both networks; None is the model's default.
        metrics: "paper" or "all" adds that set of metrics.
        against: Name of another registered model, to be compared with image by image.
        against_weights: Checkpoint of that model; None takes the shipped one.
        against_size: (height, width) of that model's input; None takes `size`.
        max_change: How much of each metric the network may lose against the other one, by name.

    Raises:
        UsageError: `against_weights`, `against_size` or `max_change` without `against`, or a
            margin that is none.
    """

    model: str
    weights: Path | None = None
    spec: Path | None = None
    data: Path | None = None
    splits: tuple[str, ...] = ("test",)
    size: tuple[int, int] | None = None
    metrics: str | None = None
    against: str | None = None
    against_weights: Path | None = None
    against_size: tuple[int, int] | None = None
    max_change: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.max_change and self.against is None:
            raise UsageError(f"{MAX_CHANGE} belongs to --against. Name the other network, too.")
        stated_margins(self.max_change)
        given = {"weights": self.against_weights, "size": self.against_size}
        for word, value in given.items():
            if value is not None and self.against is None:
                raise UsageError(f"--against-{word} belongs to --against. Name the network, too.")


def evaluate_model(request: EvaluateRequest, progress: Progress = SILENT) -> dict[str, Any]:
    """Score the FP32 reference of a network on labelled images.

    Returns:
        JSON record, see `score_model`.

    Raises:
        EdgesegError: Of any kind.
    """
    model = TrainedModel.find(request.model, request.spec, request.size, request.weights)
    against = None
    if request.against is not None:
        size = request.against_size or request.size
        against = TrainedModel.find(
            request.against, None, size, request.against_weights, "--against-weights"
        )
    dataset = open_split(request.data, *request.splits, axis=model.spec.inputs.axis)
    return score_model(
        model, dataset, progress, request.metrics, against, max_change=request.max_change
    )


def score_model(
    model: TrainedModel,
    dataset: FolderDataset,
    progress: Progress = SILENT,
    metrics: str | None = None,
    against: TrainedModel | None = None,
    *,
    max_change: Mapping[str, float] = MappingProxyType({}),
) -> dict[str, Any]:
    """Score the FP32 reference of a network.

    Args:
        metrics: "paper" or "all" adds that set.
        against: Another network, to be compared with image by image.
        max_change: How much of each metric may be lost against it, by name.

    Returns:
        JSON record: `model`, `source` (its paper), `data`, `images`; `clusters` where these are not
        independent, with scores of each as a whole; `accuracy` and `accuracy_ci95` by metric;
        `groups` where the folder has a groups.csv, by column and group; `metrics` where a set was
        asked for; `against` with the other network's scores and, as `difference` and
        `difference_ci95`, this network's minus those, also of the metrics of that set; as
        `margins`, whether it stays within them; and, where inputs differ in size, as `scored_at`
        the larger, at which masks of both are compared.

    Raises:
        UsageError: The other network has other classes, or a margin names what is not scored.
    """
    spec = model.spec
    size = None if against is None else size_to_compare(spec, against.spec)
    chosen = None if metrics is None else choose_metrics(spec, metrics)
    sets = (OVERLAP,) if chosen is None else (OVERLAP, chosen.metrics)
    tell_files(dataset, progress)
    tell_depth([pair.image_path for pair in dataset], spec.inputs, progress)
    with progress.stage("load the model") as stage:
        reference = open_reference(model, stage.note)
        reference.answer(list(dataset)[:CHECKED_IMAGES])  # refuses unsound answers
        predict = reference.predictor()
    clusters = clusters_of(dataset)  # which also tells what is wrong in groups.csv
    ends = spec.inputs, spec.outputs
    with progress.stage("evaluate", total=len(dataset)) as stage:
        score = partial(score_labelled, stage=stage, clusters=clusters, size=size)
        tables = score(predict, dataset, *ends, *sets)
    record: dict[str, Any] = {
        "model": spec.name,
        "weights": model.weights.name,
        "source": spec.source,
        "data": dataset.root.name,
        "splits": list(dataset.splits),
        "images": len(dataset),
        **_of_clusters(tables[0]),
        "accuracy": tables[0].scores(),
        "accuracy_ci95": tables[0].intervals(),
        **_by_groups(tables[0], dataset),
    }
    if chosen is not None:
        record["metrics"] = _metrics_record(chosen, tables[1], [pair.name for pair in dataset])
    if against is not None:
        record["against"] = _compare_with(against, tables, dataset, max_change, size, progress)
    return record


def _of_clusters(table: ScoreTable) -> dict[str, Any]:
    """The record's `clusters`, with scores of each as a whole; empty without any."""
    wholes = table.of_clusters()
    if wholes is None or table.clusters is None:
        return {}
    scored = {"accuracy": wholes.scores(), "accuracy_ci95": wholes.intervals()}
    return {"clusters": {**table.clusters.to_json(), **scored}}


def _by_groups(table: ScoreTable, dataset: FolderDataset) -> dict[str, Any]:
    """The record's `groups`; none without a groups.csv."""
    groups = read_groups(dataset)
    scored = {column: score_groups(table, values) for column, values in groups.items()}
    return {"groups": scored} if scored else {}


def score_groups(table: ScoreTable, values: list[str]) -> dict[str, Any]:
    """Number of images and scores with intervals of each group.

    Args:
        values: The group of each image of the table.
    """
    scored = {}
    for group, places in places_of(values).items():
        part = table.only(places)
        scored[group] = {
            "images": len(places),
            **({} if part.clusters is None else {"clusters": part.clusters.to_json()}),
            "accuracy": part.scores(),
            "accuracy_ci95": part.intervals(),
        }
    return scored


def _compare_with(
    model: TrainedModel,
    tables: Sequence[ScoreTable],
    dataset: FolderDataset,
    max_change: Mapping[str, float],
    size: tuple[int, int] | None,
    progress: Progress,
) -> dict[str, Any]:
    """Scores of another network, and what the first one's `tables` differ from them."""
    spec, predict = model.spec, open_reference(model).predictor()
    # Only a map of one channel can be stretched.
    comparable = [
        table
        for table in tables
        if not (table.metrics.stretches_maps and spec.outputs.channels > 1)
    ]
    sets = [table.metrics for table in comparable]
    with progress.stage(f"evaluate {spec.name}", total=len(dataset)) as stage:
        clusters = tables[0].clusters
        ends = spec.inputs, spec.outputs
        theirs = score_labelled(
            predict, dataset, *ends, *sets, stage=stage, clusters=clusters, size=size
        )
    accuracy, *others = (
        {
            "accuracy": other.scores(),
            "accuracy_ci95": other.intervals(),
            "difference": own.differences(other),
            "difference_ci95": own.difference_intervals(other),
        }
        for own, other in zip(comparable, theirs, strict=True)
    )
    record: dict[str, Any] = {"model": spec.name, "weights": model.weights.name, **accuracy}
    if others:
        (record["metrics"],) = others
    if size is not None:
        record["scored_at"] = [*size]
    if max_change:
        record["margins"] = [one.to_json() for one in _judge(max_change, comparable, theirs)]
    return record


def _judge(
    margins: Mapping[str, float],
    ours: Sequence[ScoreTable],
    theirs: Sequence[ScoreTable],
) -> list[MarginVerdict]:
    """Whether one network stays within margins of the other.

    Raises:
        UsageError: One names a metric that neither set holds.
    """
    changes: dict[str, float] = {}
    intervals: dict[str, Interval] = {}
    for own, other in zip(ours, theirs, strict=True):
        changes |= own.changes(other)
        for metric in own.metrics.metrics:
            if metric.name in margins:
                intervals[metric.name] = own.change_interval(other, metric)
    for name in margins:
        if name not in changes:
            raise UsageError(
                f"{MAX_CHANGE} names {name}, which was not compared. Add --metrics all, or name "
                f"one of {', '.join(changes)}."
            )
    return judge_changes(margins, changes, intervals, *ours[0].independent)


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
