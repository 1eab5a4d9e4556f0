"""What a comparison of two reports is asked for, and what it gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from edgeseg.errors import UnknownNameError
from edgeseg.metrics.bootstrap import Interval
from edgeseg.metrics.table import METRICS, find_metric

SPEED, FLIPS = "speed", "flips"
# What is looked at where nothing else is asked for; metrics add what auto may lose of them.
SPEED_MARGIN = 0.05
FLIPS_MARGIN = 10.0


@dataclass(frozen=True)
class RunRatio:
    """See `edgeseg.benchmarks.latency.quick_ratio`.

    Attributes:
        waited: Share of the time that one of the two waited for its core; 0 where nothing told.
    """

    log: float
    without: tuple[float, ...]
    waited: float = 0.0

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> RunRatio:
        """Read what a report holds.

        Raises:
            ValueError: A number is none.
        """
        ratio = cls(record["log"], tuple(record["without"]), record.get("waited", 0.0))
        if not np.isfinite([ratio.log, ratio.waited, *ratio.without]).all():
            raise ValueError("the ratio of times is no number")
        return ratio

    @property
    def spread(self) -> float:
        """Standard deviation, by what leaving out a group of rounds changes; 0 of a single one."""
        count = len(self.without)
        if count < 2:
            return 0.0
        return float(np.sqrt((count - 1) * np.var(self.without)))


@dataclass(frozen=True)
class Change:
    """What changed of one quantity from one report to the other.

    Attributes:
        artifact: Name of the row.
        quantity: "speed", "flips", or the name of a metric.
        title: For people.
        change: Of "speed" how much longer a run takes, as a share; of flips the difference for
            10,000 pixels; of a metric as `Metric.change` has it.
        interval: 95 %.
        margin: What is no matter.
        verdict: "slower", "faster", "worse" or "better" where the change is larger than the margin
            and its interval leaves out zero; "same" where the interval lies within the margin;
            else "cannot tell".
        is_failure: Whether --fail-on named it and it became slower or worse.
        text: The change with its interval, for people.
    """

    artifact: str
    quantity: str
    title: str
    change: float
    interval: Interval
    margin: float
    verdict: str
    is_failure: bool
    text: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Comparison:
    """Attributes:
    changes: Of each artefact that both reports have.
    missing: Names of artefacts that only one has.
    lost: Those of them that the second report lacks.
    notes: What differs and may explain a change, such as versions.
    """

    changes: tuple[Change, ...]
    missing: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def failures(self) -> tuple[Change, ...]:
        return tuple(change for change in self.changes if change.is_failure)

    def to_json(self) -> dict[str, Any]:
        return {
            "changes": [change.to_json() for change in self.changes],
            "missing": list(self.missing),
            "lost": list(self.lost),
            "notes": list(self.notes),
            "fails": bool(self.failures),
        }


@dataclass(frozen=True)
class Margins:
    """Attributes:
    by_quantity: Margin of each quantity that is compared, by its name.
    gates: Those that make the comparison fail.
    """

    by_quantity: Mapping[str, float]
    gates: frozenset[str] = field(default_factory=frozenset)

    @classmethod
    def of(cls, fail_on: Mapping[str, float]) -> Margins:
        """The usual margins, and those that are asked for, which are gates.

        Raises:
            UnknownNameError: There is no such quantity.
        """
        usual = {SPEED: SPEED_MARGIN, FLIPS: FLIPS_MARGIN}
        for name in METRICS.names():
            allowed = find_metric(name).allowed_change
            if allowed is not None:
                usual[name] = allowed
        for name in fail_on:
            if name not in usual and name not in METRICS:
                raise UnknownNameError("quantity", name, (SPEED, FLIPS, *METRICS.names()))
        return cls({**usual, **fail_on}, frozenset(fail_on))
