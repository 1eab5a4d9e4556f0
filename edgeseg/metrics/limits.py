"""Whether a change of a metric stays within a margin that was stated before: non-inferiority.

The margin is kept when the whole 95 % interval of the paired difference loses less than it, and
broken when the whole interval loses more. Else the images cannot tell (Piaggio et al., Reporting of
Noninferiority and Equivalence Randomized Trials, JAMA 2012, figure 1; a two-sided 95 % interval is
a one-sided test at 2.5 %). Intervals are those of `edgeseg.metrics.bootstrap.judging_interval`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ..errors import UsageError
from .bootstrap import Interval
from .clusters import IMAGES, LEAST_CLUSTERS, counted
from .metric import MAX_CHANGE
from .quantities import FLIPS, QUANTITIES, WORST_FLIPS, Limited, find_limited, is_worst
from .table import all_metrics, find_metric

LEAST_IMAGES = LEAST_CLUSTERS
MOST_TOLD = 10_000  # a number of images above that is no advice
KEEPS, LOSES, UNCLEAR = "keeps", "loses", "cannot tell"
HOLDS, BROKEN, OPEN = "holds", "broken", "open"
STATES = {KEEPS: HOLDS, LOSES: BROKEN, UNCLEAR: OPEN}


@dataclass(frozen=True)
class MarginVerdict:
    """Attributes:
    metric: Its name, or that of another quantity (`edgeseg.metrics.quantities`).
    allowed: The margin, in the metric's terms of change.
    change, interval: What changed, with its 95 % interval; of a worst image the interval has no
        width.
    verdict: "keeps", "loses" or "cannot tell".
    images: On how many it was judged: of images, or of what several belong to.
    images_needed: About how many of the kind would tell, where these cannot; None where no number
        would, as the change is the margin itself.
    unit: What is counted, such as "volumes"; see `edgeseg.metrics.clusters`.
    part: Which of the images were looked at, "small" those with small objects; empty for all.
    image: Name of the worst image.
    """

    metric: str
    allowed: float
    change: float
    interval: Interval
    verdict: str
    images: int
    images_needed: int | None = None
    unit: str = IMAGES
    part: str = ""
    image: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> MarginVerdict:
        low, high = record["interval"]
        return cls(**{**record, "interval": (float(low), float(high))})

    @property
    def state(self) -> str:
        """Of the limit: "holds", "broken" or "open"."""
        return STATES[self.verdict]

    @property
    def is_within(self) -> bool:
        """Whether the change itself, whatever its interval, lies within the margin."""
        return find_limited(self.metric).loss(self.change) <= self.allowed

    @property
    def text(self) -> str:
        """For people: "keeps pooled Dice within 0.005: -0.0004 (-0.0012..+0.0003)"."""
        limited = find_limited(self.metric)
        margin = limited.format_limit(self.allowed)
        title = f"{limited.title} of {self.part} objects" if self.part else limited.title
        verbs = {
            KEEPS: f"keeps {title} within {margin}",
            LOSES: f"does not keep {title} within {margin}"
            if self.metric in (FLIPS, WORST_FLIPS)
            else f"loses more than {margin} of {title}",
            UNCLEAR: f"cannot tell whether {title} stays within {margin}",
        }
        text = f"{verbs[self.verdict]}: {self._found(limited)}"
        if self.images_needed is not None:
            text += f" on {counted(self.images, self.unit)}; {self.advice}"
        return text

    @property
    def advice(self) -> str:
        """How many images would tell."""
        if self.images_needed is None:
            return "no number of images tells what is the limit itself"
        if self.images < LEAST_IMAGES:
            return f"at least {LEAST_IMAGES} are needed"
        if self.images_needed > MOST_TOLD:
            return f"more than {MOST_TOLD:,} would tell"
        return f"about {self.images_needed} would tell"

    def _found(self, limited: Limited) -> str:
        change = limited.format_change(self.change)
        if is_worst(self.metric):
            return f"{change} at worst{f', on {self.image}' if self.image else ''}"
        low, high = (limited.format_change(end) for end in self.interval)
        return f"{change} ({low}..{high})"


def judge_margin(
    metric: Limited,
    change: float,
    interval: Interval,
    allowed: float,
    images: int,
    unit: str = IMAGES,
    part: str = "",
) -> MarginVerdict:
    """The verdict on one metric.

    Args:
        change: In the metric's terms (`Metric.change`).
        interval: 95 %, paired.
        allowed: How much may be lost, 0 or more, in the same terms.
        images: On how many independent ones these were computed.
        unit: What these are, such as "volumes".
        part: See `MarginVerdict`.
    """
    loss = metric.loss(change)
    found = (metric.name, allowed, change, interval)
    if not math.isfinite(loss):
        return MarginVerdict(*found, LOSES, images, None, unit, part)
    low, high = sorted((metric.loss(interval[0]), metric.loss(interval[1])))
    if images < LEAST_IMAGES:
        return MarginVerdict(*found, UNCLEAR, images, LEAST_IMAGES, unit, part)
    # An interval of no width at the margin itself is within it: that much was allowed.
    verdict = KEEPS if high <= allowed else LOSES if low > allowed else UNCLEAR
    needed = None
    if verdict == UNCLEAR:
        reach = high - loss if loss <= allowed else loss - low
        needed = images_that_tell(images, reach, abs(allowed - loss))
    return MarginVerdict(*found, verdict, images, needed, unit, part)


def judge_worst(
    quantity: Limited,
    change: float,
    allowed: float,
    images: int,
    image: str,
    unit: str = IMAGES,
) -> MarginVerdict:
    """The verdict on what must hold on each image: one that breaks it proves that it is broken.

    Args:
        change: Of the image that lost most, in the quantity's terms.
        images, unit: How many independent ones were looked at, and what they are.
        image: Its name.
    """
    found = (quantity.name, allowed, change, (change, change))
    if not quantity.loss(change) <= allowed:
        return MarginVerdict(*found, LOSES, images, None, unit, image=image)
    if images < LEAST_IMAGES:
        return MarginVerdict(*found, UNCLEAR, images, LEAST_IMAGES, unit, image=image)
    return MarginVerdict(*found, KEEPS, images, None, unit, image=image)


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
        metric = find_limited(name)
        if not 0 <= allowed < math.inf:
            raise UsageError(
                f"{MAX_CHANGE} {name}={allowed:g} is no allowed change. Give a number from 0 on, "
                f"such as {MAX_CHANGE} {name}={metric.allowed_change or 0.01:g}."
            )
    return {**usual, **(asked or {})}


def stated_limits(asked: Mapping[str, float] | None = None) -> dict[str, float]:
    """As `stated_margins`, with what auto allows of flips and of the worst images."""
    masks = {name: quantity.allowed_change for name, quantity in QUANTITIES.items()}
    return {**stated_margins(), **masks, **stated_margins(asked)}


def require_label_metrics(asked: Iterable[str]) -> None:
    """Refuse margins for metrics that label maps do not tell.

    Raises:
        UsageError: It names one, and those that can be named.
    """
    able = [*(metric.name for metric in all_metrics() if metric.bench), *QUANTITIES]
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
