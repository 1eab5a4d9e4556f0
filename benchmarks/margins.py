"""Whether the artefacts of a report stay within stated margins of the FP32 reference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from edgeseg.errors import UsageError
from edgeseg.metrics.clusters import IMAGES, Clusters
from edgeseg.metrics.findings import judge_findings
from edgeseg.metrics.limits import BROKEN, KEEPS, OPEN, UNCLEAR, MarginVerdict, judge_changes
from edgeseg.metrics.metric import MAX_CHANGE
from edgeseg.metrics.paired import PairedSample
from edgeseg.metrics.quantities import QUANTITIES
from edgeseg.metrics.scores import MetricSet, ScoreTable
from edgeseg.metrics.table import METRICS, find_metric

from .report import Report


def judge_row(
    row: Mapping[str, Any], margins: Mapping[str, float], images: int, unit: str = IMAGES
) -> list[MarginVerdict]:
    """The verdict on each metric that has a margin and was scored.

    Args:
        margins: Allowed change by metric (`Metric.change`).
        images, unit: On how many independent ones it was scored; see `independent_images`.
    """
    changes: dict[str, float] = {}
    intervals: dict[str, tuple[float, float]] = {}
    for name in (name for name in margins if name not in QUANTITIES):
        key = "relative_change" if find_metric(name).is_change_relative else "delta"
        interval = (row.get(f"{key}_ci95") or {}).get(name)
        if interval is not None:
            changes[name] = row[key][name]
            intervals[name] = (float(interval[0]), float(interval[1]))
    return judge_changes(margins, changes, intervals, images, unit)


def independent_images(data: Mapping[str, Any]) -> tuple[int, str]:
    """Of a report's `data`: how many draws its intervals consist of, and what is drawn."""
    clusters = data.get("clusters")
    if clusters is None:
        return data.get("images", 0), IMAGES
    return clusters["count"], clusters["kind"]


def with_verdicts(report: Report, margins: Mapping[str, float]) -> Report:
    """The same with the verdicts of each artefact as `margins`.

    Baselines have none, nor has an artefact on other numbers of threads, which is in it anyway.
    """
    rows = [
        row
        if row["is_baseline"] or row.get("is_sweep")
        else {**row, "margins": [one.to_json() for one in _judge(report, row, margins)]}
        for row in report.rows
    ]
    return replace(report, rows=rows)


def _judge(
    report: Report, row: Mapping[str, Any], margins: Mapping[str, float]
) -> list[MarginVerdict]:
    """Verdicts by the values of single images, as auto judges; by the intervals of the row where
    there are none. Of parts of the images only what is broken is told."""
    sample = sample_of(report, row, margins)
    if sample is None:
        return judge_row(row, margins, *independent_images(report.data))
    verdicts = judge_findings(sample.findings(), margins)
    return [one for one in verdicts if not one.part or one.state == BROKEN]


def sample_of(
    report: Report, row: Mapping[str, Any], margins: Mapping[str, float]
) -> PairedSample | None:
    """A row beside its FP32 reference, image by image; None where one of them was not scored."""
    references = {one["reference_key"]: one.get("per_image") for one in report.reference}
    own, other = row.get("per_image"), references.get(row.get("reference_key"))
    if not own or not other:
        return None
    theirs = np.asarray(other["counts"], np.int64)
    names = report.data.get("names") or [str(place) for place in range(len(theirs))]
    known = [name for name in margins if name in METRICS]
    metrics = MetricSet(
        tuple(
            name
            for name in known
            if find_metric(name).from_counts is not None
            or (name in own["values"] and name in other["values"])
        )
    )
    clusters = Clusters.from_json(report.data.get("clusters"))
    return PairedSample(
        names,
        np.asarray(own["flips_per_10k"], np.float64),
        (theirs[:, 1:, 0] + theirs[:, 1:, 2]).sum(-1),
        range(len(theirs)),
        _table(metrics, own, clusters),
        _table(metrics, other, clusters),
        clusters,
    )


def _table(metrics: MetricSet, sample: Mapping[str, Any], clusters: Clusters | None) -> ScoreTable:
    values = {
        name: np.asarray(scores, np.float64)
        for name, scores in sample["values"].items()
        if name in metrics.names
    }
    return ScoreTable(metrics, np.asarray(sample["counts"], np.int64), values, clusters)


def build_limits_text(row: Mapping[str, Any]) -> str:
    """What the bundle of a row says of its limits, where they do not hold by the val images of its
    build: a sentence without its name; empty where they hold, or were not judged."""
    limits = row.get("limits")
    if not limits or limits["state"] not in (OPEN, BROKEN):
        return ""
    images = f"the {limits['images']} val images of its build"
    if limits["state"] == BROKEN:
        return f"breaks a limit on its masks, by {images}"
    taken = ", and was taken by --accept-uncertain" if limits["is_accepted"] else ""
    return f"is not known to keep the limits on its masks: {images} cannot tell{taken}"


def verdicts_of(row: Mapping[str, Any]) -> list[MarginVerdict]:
    """What `with_verdicts` has written; none in older reports."""
    return [MarginVerdict.from_json(record) for record in row.get("margins") or ()]


def require_scored(report: Report, asked: Mapping[str, float]) -> None:
    """Refuse a margin that no artefact could be held against.

    Raises:
        UsageError: A metric that was asked for is in no row.
    """
    judged = {one.metric for row in report.rows for one in verdicts_of(row)}
    missing = [name for name in asked if name not in judged]
    if missing:
        raise UsageError(
            f"{MAX_CHANGE} names {', '.join(missing)}, of which this run has no change: either no "
            "image has a mask, or label maps do not tell it. Give masks, or name one of "
            f"{', '.join(sorted(judged)) or 'the metrics that edgeseg bench prints'}."
        )


def keeps_margins(report: Report, asked: Mapping[str, float]) -> bool:
    """Whether each artefact keeps each margin that was asked for: one that cannot be told is not
    kept."""
    return all(
        one.verdict == KEEPS or (one.part != "" and one.verdict == UNCLEAR)
        for row in report.rows
        for one in verdicts_of(row)
        if one.metric in asked
    )
