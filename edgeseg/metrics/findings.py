"""What was found of a candidate beside the FP32 reference, and which limits that keeps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .bootstrap import Interval
from .clusters import IMAGES
from .limits import (
    BROKEN,
    HOLDS,
    OPEN,
    MarginVerdict,
    judge_margin,
    judge_worst,
)
from .quantities import find_limited, is_worst


@dataclass(frozen=True)
class Finding:
    """What is known of one metric or quantity, whatever is allowed of it.

    Attributes:
        name: See `edgeseg.metrics.quantities.find_limited`.
        change, interval: In its terms; 95 %. That of a worst image has no width.
        images: On how many independent ones; see `edgeseg.metrics.clusters`.
        part: Which of the images; empty for all.
        image: Name of the worst image.
        unit: What is counted, such as "volumes".
    """

    name: str
    change: float
    interval: Interval
    images: int
    part: str = ""
    image: str = ""
    unit: str = IMAGES

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Finding:
        low, high = record["interval"]
        return cls(**{**record, "interval": (float(low), float(high))})


def judge_findings(
    findings: Iterable[Finding], limits: Mapping[str, float]
) -> tuple[MarginVerdict, ...]:
    """A verdict on each finding that has a limit, in the order of the limits; all images first.

    Args:
        limits: Most that may be lost, by name.
    """
    known = list(findings)
    verdicts = []
    for name, allowed in limits.items():
        limited = find_limited(name)
        for one in (one for one in known if one.name == name):
            if is_worst(name):
                verdict = judge_worst(limited, one.change, allowed, one.images, one.image, one.unit)
            else:
                verdict = judge_margin(
                    limited, one.change, one.interval, allowed, one.images, one.unit, one.part
                )
            verdicts.append(verdict)
    return tuple(sorted(verdicts, key=lambda verdict: bool(verdict.part)))


def state_of(verdicts: Sequence[MarginVerdict]) -> str:
    """Of all limits together: "broken" where one is, also by a part of the images; "open" where
    all images cannot tell; else "holds". A part that cannot tell leaves nothing open."""
    states = [verdict.state for verdict in verdicts]
    if BROKEN in states:
        return BROKEN
    return OPEN if any(one.state == OPEN and not one.part for one in verdicts) else HOLDS


def deciding(verdicts: Sequence[MarginVerdict]) -> MarginVerdict | None:
    """The verdict that `state_of` goes by: the first that is broken, else the open one that needs
    most images; None where all hold."""
    broken = [verdict for verdict in verdicts if verdict.state == BROKEN]
    if broken:
        return broken[0]
    undecided = [verdict for verdict in verdicts if verdict.state == OPEN and not verdict.part]
    # One that no number of images tells comes before those that some number does.
    return max(undecided, key=lambda one: one.images_needed or float("inf"), default=None)
