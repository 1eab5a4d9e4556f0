"""What a row of a report amounts to, in a few words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgeseg.metrics.clusters import IMAGES
from edgeseg.metrics.limits import KEEPS, LOSES, UNCLEAR, stated_margins
from edgeseg.metrics.metric import Metric

from ..margins import judge_row, verdicts_of

FASTER, SLOWER, SAME, UNTIMED = "faster", "slower", "as fast", "not timed"
UNSCORED = "not scored"


@dataclass(frozen=True)
class Verdict:
    """Attributes:
    speed: Whether the interval of the speed-up lies above, below or around 1.
    accuracy: "keeps" where each metric stays within its margin (`edgeseg.metrics.limits`), which is
        the stated one or what auto may lose; "loses" where one does not, else "cannot tell".
    reason: The metric that decides the accuracy, with its interval.
    """

    speed: str
    accuracy: str
    reason: str


def verdict_of(row: dict[str, Any], images: int, unit: str = IMAGES) -> Verdict:
    """The verdict on an artefact against its baseline and the FP32 reference.

    Args:
        images, unit: On how many independent ones it was scored.
    """
    accuracy, reason = _accuracy_verdict(row, images, unit)
    return Verdict(_speed_verdict(row), accuracy, reason)


def _speed_verdict(row: dict[str, Any]) -> str:
    interval = row.get("speedup_ci95")
    if not interval:
        return UNTIMED
    low, high = interval
    return FASTER if low > 1 else SLOWER if high < 1 else SAME


def _accuracy_verdict(row: dict[str, Any], images: int, unit: str) -> tuple[str, str]:
    verdicts = verdicts_of(row) or judge_row(row, stated_margins(), images, unit)
    if not verdicts:
        return UNSCORED, ""
    for word in (LOSES, UNCLEAR):
        for one in verdicts:
            if one.verdict == word:
                return word, one.text
    return KEEPS, ""


def change_interval(metric: Metric, row: dict[str, Any]) -> tuple[float, float] | None:
    """95 % interval of what changed of a metric, in its terms; None where it was not scored."""
    key = "relative_change_ci95" if metric.is_change_relative else "delta_ci95"
    interval = (row.get(key) or {}).get(metric.name)
    return None if interval is None else (float(interval[0]), float(interval[1]))
