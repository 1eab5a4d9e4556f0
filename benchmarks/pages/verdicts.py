"""What a row of a report amounts to, in a few words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgeseg.metrics.metric import Metric
from edgeseg.metrics.table import all_metrics

FASTER, SLOWER, SAME, UNTIMED = "faster", "slower", "as fast", "not timed"
KEEPS, LOSES, UNCLEAR, UNSCORED = "keeps", "loses", "cannot tell", "not scored"


@dataclass(frozen=True)
class Verdict:
    """Attributes:
    speed: Whether the interval of the speed-up lies above, below or around 1.
    accuracy: "keeps" where the whole interval of each metric's change lies within what auto may
        lose, "loses" where one lies beyond it, else "cannot tell".
    reason: The metric that decides the accuracy, with its interval.
    """

    speed: str
    accuracy: str
    reason: str


def verdict_of(row: dict[str, Any]) -> Verdict:
    """The verdict on an artefact against its baseline and the FP32 reference."""
    accuracy, reason = _accuracy_verdict(row)
    return Verdict(_speed_verdict(row), accuracy, reason)


def _speed_verdict(row: dict[str, Any]) -> str:
    interval = row.get("speedup_ci95")
    if not interval:
        return UNTIMED
    low, high = interval
    return FASTER if low > 1 else SLOWER if high < 1 else SAME


def _accuracy_verdict(row: dict[str, Any]) -> tuple[str, str]:
    judged = [
        (metric, interval)
        for metric in all_metrics()
        if metric.allowed_change is not None and (interval := change_interval(metric, row))
    ]
    if not judged:
        return UNSCORED, ""
    worst = (KEEPS, "")
    for metric, (low, high) in judged:
        assert metric.allowed_change is not None
        losses = sorted((metric.loss(low), metric.loss(high)))
        text = f"{metric.title} {metric.format_change(low)} to {metric.format_change(high)}"
        if losses[0] > metric.allowed_change:
            return LOSES, text
        if losses[1] > metric.allowed_change and worst[0] == KEEPS:
            worst = (UNCLEAR, text)
    return worst


def change_interval(metric: Metric, row: dict[str, Any]) -> tuple[float, float] | None:
    """95 % interval of what changed of a metric, in its terms; None where it was not scored."""
    key = "relative_change_ci95" if metric.is_change_relative else "delta_ci95"
    interval = (row.get(key) or {}).get(metric.name)
    return None if interval is None else (float(interval[0]), float(interval[1]))
