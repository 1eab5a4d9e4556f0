"""Whether the artefacts of one report are faster or slower, better or worse, than another's.

Milliseconds belong to a machine at a time. What is compared is therefore the ratio of each
artefact's quickest inferences to those of the FP32 baseline of its own run, and the scores of the
same images.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseg.errors import UsageError
from edgeseg.metrics.bootstrap import Interval, bootstrap_intervals
from edgeseg.metrics.clusters import Clusters
from edgeseg.metrics.metric import Metric
from edgeseg.metrics.scores import MetricSet, ScoreTable
from edgeseg.metrics.table import find_metric

from .comparison import FLIPS, SPEED, Change, Comparison, Margins, RunRatio
from .latency import MOST_WAITING
from .report import Report

# Each run has its own place in memory, which its rounds do not tell: standard deviation of the
# logarithm of a ratio that is added to what they tell.
BETWEEN_RUNS = 0.003
NORMAL_95 = 1.959964
SPEED_WORDS = "slower", "faster"
UNCLEAR = "cannot tell"


def compare_reports(old: Report, new: Report, margins: Margins) -> Comparison:
    """Compare what two runs measured on one kind of machine with the same images.

    Raises:
        UsageError: The reports cannot be compared; the message says why.
    """
    require_comparable(old, new)
    pairs, missing, gone = _matching_rows(old, new)
    # The images are the same; versions before clusters were looked at wrote none.
    clusters = Clusters.from_json(new.data.get("clusters", old.data.get("clusters")))
    changes = [
        change
        for before, after in pairs
        for change in _changes_of(before, after, margins, clusters)
        if change is not None
    ]
    lost = margins.gates - {change.quantity for change in changes}
    if lost:
        raise UsageError(
            f"--fail-on names {', '.join(sorted(lost))}, of which the reports hold nothing that "
            "can be compared. Leave it out, or measure it with edgeseg bench."
        )
    return Comparison(tuple(changes), missing, gone, tuple(_notes(old, new)))


def require_comparable(old: Report, new: Report) -> None:
    """Refuse reports whose numbers say nothing about each other.

    Raises:
        UsageError: It names the first reason and both values.
    """
    for name, report in (("first", old), ("second", new)):
        if not report.protocol:
            raise UsageError(
                f"The {name} report was written by a version that kept no single images and "
                "rounds. Measure again with edgeseg bench."
            )
    reasons = (
        ("measured by protocol", old.protocol["version"], new.protocol["version"]),
        ("measured with threads", old.protocol["threads"], new.protocol["threads"]),
        ("of the processor", old.environment.get("cpu"), new.environment.get("cpu")),
        ("of images", _images_of(old), _images_of(new)),
    )
    for what, before, after in reasons:
        if before != after:
            raise UsageError(
                f"The reports cannot be compared: the first is {what} {before}, the second "
                f"{after}. Measure both in the same way, on the same machine and images."
            )
    if old.data.get("sha256") != new.data.get("sha256"):
        raise UsageError(
            "The reports cannot be compared: their images or masks have the same names and other "
            "content. Measure both on the same files."
        )


def _images_of(report: Report) -> str:
    data = report.data
    return f"{data['folder']} ({', '.join(data['splits'])}: {data['images']})"


def _matching_rows(
    old: Report, new: Report
) -> tuple[list[tuple[dict[str, Any], dict[str, Any]]], tuple[str, ...], tuple[str, ...]]:
    """Rows of the same name in both, names that only one has, and those that the second lacks.

    Two reports of one artefact each are compared whatever the names are.

    Raises:
        UsageError: No artefact is in both.
        TypeError: A name is no text.
    """
    before, after = (
        {row["name"]: row for row in report.rows if not row["is_baseline"]} for report in (old, new)
    )
    if not all(isinstance(name, str) for name in (*before, *after)):
        raise TypeError("the name of a row is no text")
    if len(before) == len(after) == 1:
        return [(next(iter(before.values())), next(iter(after.values())))], (), ()
    shared = [name for name in before if name in after]
    if not shared:
        raise UsageError(
            f"The reports have no artefact in common: {', '.join(before) or 'none'} and "
            f"{', '.join(after) or 'none'}. Name reports of the same bundles."
        )
    missing = tuple(sorted(before.keys() ^ after.keys()))
    gone = tuple(name for name in before if name not in after)
    return [(before[name], after[name]) for name in shared], missing, gone


def _changes_of(
    before: dict[str, Any], after: dict[str, Any], margins: Margins, clusters: Clusters | None
) -> Iterator[Change | None]:
    for quantity, margin in margins.by_quantity.items():
        is_gate = quantity in margins.gates
        if quantity == SPEED:
            yield _change_of_speed(before, after, margin, is_gate)
        elif quantity == FLIPS:
            yield _change_of_flips(before, after, margin, is_gate, clusters)
        else:
            tables = [_table_of(find_metric(quantity), row, clusters) for row in (before, after)]
            yield _change_of_metric(find_metric(quantity), tables, after["name"], margin, is_gate)


def _change_of_speed(
    before: dict[str, Any], after: dict[str, Any], margin: float, is_gate: bool
) -> Change | None:
    """None where one was not timed."""
    ratios = [row.get("quick_ratio") for row in (before, after)]
    if ratios[0] is None or ratios[1] is None:
        return None
    old, new = (RunRatio.from_json(ratio) for ratio in ratios if ratio)
    value, (low, high) = time_change(old, new)
    verdict = judge_speed(old, new, margin)
    return Change(
        after["name"],
        SPEED,
        "time of a run",
        value,
        (low, high),
        margin,
        verdict,
        is_gate and verdict == "slower",
        f"{value:+.1%} ({low:+.1%}..{high:+.1%})",
    )


def log_change(before: RunRatio, after: RunRatio) -> tuple[float, float]:
    """Change from one run to another, and its standard deviation."""
    variance = before.spread**2 + after.spread**2 + 2 * BETWEEN_RUNS**2
    return after.log - before.log, float(np.sqrt(variance))


def time_change(before: RunRatio, after: RunRatio) -> tuple[float, Interval]:
    """How much longer a run takes, as a share, and the 95 % interval of that."""
    change, spread = log_change(before, after)
    low, value, high = (float(np.expm1(change + side * NORMAL_95 * spread)) for side in (-1, 0, 1))
    return value, (low, high)


def judge_speed(before: RunRatio, after: RunRatio, margin: float) -> str:
    """The verdict on the time of a run.

    With others on its core for much of the time, even quick inferences begin with cold caches.
    """
    if max(before.waited, after.waited) > MOST_WAITING:
        return UNCLEAR
    value, interval = time_change(before, after)
    return judge(value, interval, margin, SPEED_WORDS)


def _change_of_flips(
    before: dict[str, Any],
    after: dict[str, Any],
    margin: float,
    is_gate: bool,
    clusters: Clusters | None,
) -> Change | None:
    samples = [row.get("per_image") for row in (before, after)]
    if any(sample is None for sample in samples):
        return None
    flips = [np.asarray(sample["flips_per_10k"], np.float64) for sample in samples if sample]
    differences = flips[1] - flips[0]
    if not np.isfinite(differences).all():
        raise ValueError("the flips of an image are no number")

    def statistic(weights: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
        return {FLIPS: weights @ differences / weights.sum(1)}

    value = float(differences.mean())
    low, high = bootstrap_intervals(len(differences), statistic, clusters)[FLIPS]
    verdict = judge(value, (low, high), margin, ("worse", "better"))
    return Change(
        after["name"],
        FLIPS,
        "flips in 10,000 pixels",
        value,
        (low, high),
        margin,
        verdict,
        is_gate and verdict == "worse",
        f"{value:+.1f} ({low:+.1f}..{high:+.1f})",
    )


def _change_of_metric(
    metric: Metric, tables: list[ScoreTable | None], name: str, margin: float, is_gate: bool
) -> Change | None:
    """None where one of the rows has no values of it.

    Args:
        tables: Of both rows, the later one last.
    """
    theirs, ours = tables
    if theirs is None or ours is None:
        return None
    if metric.is_change_relative:
        changes, intervals = ours.relative_changes(theirs), ours.relative_change_intervals(theirs)
    else:
        changes, intervals = ours.differences(theirs), ours.difference_intervals(theirs)
    if metric.name not in changes:
        return None
    value, (low, high) = changes[metric.name], intervals[metric.name]
    # Turned so that more is worse, as it is of time and of flips.
    loss = metric.loss(value)
    ends = sorted((metric.loss(low), metric.loss(high)))
    verdict = judge(loss, (ends[0], ends[1]), margin, ("worse", "better"))
    text = " ".join((metric.format_change(value), f"({metric.format_change(low)}.."))
    return Change(
        name,
        metric.name,
        metric.title,
        value,
        (low, high),
        margin,
        verdict,
        is_gate and verdict == "worse",
        f"{text}{metric.format_change(high)})",
    )


def _table_of(metric: Metric, row: dict[str, Any], clusters: Clusters | None) -> ScoreTable | None:
    sample = row.get("per_image")
    if sample is None:
        return None
    counts = np.asarray(sample["counts"], np.int64)
    if metric.is_pooled:
        return ScoreTable(MetricSet((metric.name,)), counts, clusters=clusters)
    if metric.name in sample["values"]:
        values = np.asarray(sample["values"][metric.name], np.float64)
    elif metric.from_counts is not None:
        values = metric.from_counts(counts)
    else:
        return None
    return ScoreTable(MetricSet((metric.name,)), counts, {metric.name: values}, clusters)


def judge(loss: float, interval: Interval, margin: float, words: tuple[str, str]) -> str:
    """A verdict on a loss, which is above zero where the second report is worse.

    Args:
        words: For a loss and for a gain beyond the margin.
    """
    low, high = interval
    tolerance = 1e-9  # a loss of just the margin, in floats
    if loss >= margin - tolerance and low > 0:
        return words[0]
    if loss <= tolerance - margin and high < 0:
        return words[1]
    return "same" if -margin < low and high < margin else UNCLEAR


def _notes(old: Report, new: Report) -> Iterator[str]:
    """What differs without making the comparison void."""
    before, after = old.environment.get("versions", {}), new.environment.get("versions", {})
    for name in sorted({*before, *after}):
        if before.get(name) != after.get(name):
            yield f"{name} {before.get(name)} in the first report, {after.get(name)} in the second"
    for title, report in (("first", old), ("second", new)):
        waited = max((row.get("waited_share") or 0.0 for row in report.rows), default=0.0)
        if waited > MOST_WAITING:
            yield (
                f"processes of the {title} report waited {waited:.0%} of the time for their core: "
                "measure again when the machine is quiet"
            )
    weights = [{row["reference_key"] for row in report.reference} for report in (old, new)]
    if weights[0] != weights[1]:
        yield "the reports have other FP32 references: the network or its weights changed"
