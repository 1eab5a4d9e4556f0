"""Whether a change of a metric stays within a margin that was stated before: non-inferiority.

The margin is kept when the whole 95 % interval of the paired difference loses less than it, and
broken when the whole interval loses more. Else the images cannot tell (Piaggio et al., Reporting of
Noninferiority and Equivalence Randomized Trials, JAMA 2012, figure 1; a two-sided 95 % interval is
a one-sided test at 2.5 %).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ..errors import UsageError
from .bootstrap import Interval
from .clusters import IMAGES, LEAST_CLUSTERS, counted
from .metric import MAX_CHANGE, Metric
from .table import all_metrics, find_metric

LEAST_IMAGES = LEAST_CLUSTERS
MOST_TOLD = 10_000  # a number of images above that is no advice
KEEPS, LOSES, UNCLEAR = "keeps", "loses", "cannot tell"


@dataclass(frozen=True)
class MarginVerdict:
    """Attributes:
    metric: Its name.
    allowed: The margin, in the metric's terms of change.
    change, interval: What changed, with its 95 % interval.
    verdict: "keeps", "loses" or "cannot tell".
    images: On how many it was judged: of images, or of what several belong to.
    images_needed: About how many of the kind would tell, where these cannot; None where no number
        would, as the change is the margin itself.
    unit: What is counted, such as "volumes"; see `edgeseg.metrics.clusters`.
    """

    metric: str
    allowed: float
    change: float
    interval: Interval
    verdict: str
    images: int
    images_needed: int | None = None
    unit: str = IMAGES

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> MarginVerdict:
        low, high = record["interval"]
        return cls(**{**record, "interval": (float(low), float(high))})

    @property
    def text(self) -> str:
        """For people: "keeps pooled Dice within 0.005: -0.0004 (-0.0012..+0.0003)"."""
        metric = find_metric(self.metric)
        low, high = (metric.format_change(end) for end in self.interval)
        margin = metric.format_limit(self.allowed)
        verbs = {
            KEEPS: f"keeps {metric.title} within {margin}",
            LOSES: f"loses more than {margin} of {metric.title}",
            UNCLEAR: f"cannot tell whether {metric.title} stays within {margin}",
        }
        text = f"{verbs[self.verdict]}: {metric.format_change(self.change)} ({low}..{high})"
        if self.images_needed is not None:
            needed = self.images_needed
            if self.images < LEAST_IMAGES:
                amount = f"at least {LEAST_IMAGES} are needed"
            elif needed > MOST_TOLD:
                amount = f"more than {MOST_TOLD:,} would tell"
            else:
                amount = f"about {needed} would tell"
            text += f" on {counted(self.images, self.unit)}; {amount}"
        return text


def judge_margin(
    metric: Metric,
    change: float,
    interval: Interval,
    allowed: float,
    images: int,
    unit: str = IMAGES,
) -> MarginVerdict:
    """The verdict on one metric.

    Args:
        change: In the metric's terms (`Metric.change`).
        interval: 95 %, paired.
        allowed: How much may be lost, 0 or more, in the same terms.
        images: On how many independent ones these were computed.
        unit: What these are, such as "volumes".
    """
    loss = metric.loss(change)
    low, high = sorted((metric.loss(interval[0]), metric.loss(interval[1])))
    if images < LEAST_IMAGES:
        return MarginVerdict(
            metric.name, allowed, change, interval, UNCLEAR, images, LEAST_IMAGES, unit
        )
    # An interval of no width at the margin itself is within it: that much was allowed.
    verdict = KEEPS if high <= allowed else LOSES if low > allowed else UNCLEAR
    needed = None
    if verdict == UNCLEAR:
        reach = high - loss if loss <= allowed else loss - low
        needed = images_that_tell(images, reach, abs(allowed - loss))
    return MarginVerdict(metric.name, allowed, change, interval, verdict, images, needed, unit)


def images_that_tell(images: int, reach: float, distance: float) -> int | None:
    """How many images bring the end of an interval to its margin: its reach falls by their root.

    Args:
        images: On which the interval was computed.
        reach: From the change to that end.
        distance: From the change to the margin; 0 has no answer.
    """
    if not distance > 0:
        return None
    return max(math.ceil(images * (reach / distance) ** 2), images + 1)


def stated_margins(asked: Mapping[str, float] | None = None) -> dict[str, float]:
    """Margins by metric: those that were asked for, else what auto may lose of each metric.

    Raises:
        UnknownNameError: There is no such metric.
        UsageError: A margin is negative or no number.
    """
    usual = {
        metric.name: metric.allowed_change
        for metric in all_metrics()
        if metric.allowed_change is not None
    }
    for name, allowed in (asked or {}).items():
        metric = find_metric(name)
        if not 0 <= allowed < math.inf:
            raise UsageError(
                f"{MAX_CHANGE} {name}={allowed:g} is no allowed change. Give a number from 0 on, "
                f"such as {MAX_CHANGE} {name}={metric.allowed_change or 0.01:g}."
            )
    return {**usual, **(asked or {})}


def require_label_metrics(asked: Iterable[str]) -> None:
    """Refuse margins for metrics that label maps do not tell.

    Raises:
        UsageError: It names one, and those that can be named.
    """
    able = [metric.name for metric in all_metrics() if metric.bench]
    for name in asked:
        if name not in able:
            raise UsageError(
                f"{MAX_CHANGE} {name}: {find_metric(name).title} is not scored here, where masks "
                f"are label maps. Name one of {', '.join(able)}."
            )


def judge_changes(
    margins: Mapping[str, float],
    changes: Mapping[str, float],
    intervals: Mapping[str, Interval],
    images: int,
    unit: str = IMAGES,
) -> list[MarginVerdict]:
    """The verdict on each metric that has a margin and an interval.

    Args:
        changes, intervals: By metric, each in its own terms (`Metric.change`).
        images, unit: On how many independent ones, and what they are; see `judge_margin`.
    """
    return [
        judge_margin(find_metric(name), changes[name], intervals[name], allowed, images, unit)
        for name, allowed in margins.items()
        if name in changes and name in intervals
    ]
