"""Whether the artefacts of a report stay within stated margins of the FP32 reference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from edgeseg.errors import UsageError
from edgeseg.metrics.clusters import IMAGES
from edgeseg.metrics.limits import KEEPS, MarginVerdict, judge_changes
from edgeseg.metrics.metric import MAX_CHANGE
from edgeseg.metrics.table import find_metric

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
    for name in margins:
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
    images = independent_images(report.data)
    rows = [
        row
        if row["is_baseline"] or row.get("is_sweep")
        else {**row, "margins": [one.to_json() for one in judge_row(row, margins, *images)]}
        for row in report.rows
    ]
    return replace(report, rows=rows)


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
        one.verdict == KEEPS
        for row in report.rows
        for one in verdicts_of(row)
        if one.metric in asked
    )
