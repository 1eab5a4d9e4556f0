"""What a limit is set on: metrics, and how far masks lie from the FP32 reference's."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, Protocol

from ..errors import UnknownNameError
from .agreement import PER
from .table import METRICS, find_metric

FLIPS, WORST_FLIPS, WORST_DICE = "flips", "worst_flips", "worst_dice"


class Limited(Protocol):
    """What a verdict asks of a metric, or of a quantity beside them; see `Metric`."""

    @property
    def name(self) -> str: ...

    @property
    def title(self) -> str: ...

    @property
    def better(self) -> Literal["higher", "lower"]: ...

    @property
    def allowed_change(self) -> float | None: ...

    @property
    def limit_option(self) -> str: ...

    def loss(self, change: float) -> float: ...

    def format_change(self, change: float, sign: str = "+") -> str: ...

    def format_limit(self, limit: float) -> str: ...


@dataclass(frozen=True)
class Quantity:
    """Something beside the metrics that is told of a candidate and the FP32 reference.

    Attributes:
        name: As in `--max-change` and JSON.
        title: As sentences call it.
        better: Whether more of it is better.
        allowed_change: What auto allows unless told otherwise.
        limit_option: The option that says how much is allowed.
        is_worst: It is that of the one image where most is lost, not a mean over images.
        needs_truth: It compares with true masks.
    """

    name: str
    title: str
    better: Literal["higher", "lower"]
    allowed_change: float
    limit_option: str
    is_worst: bool = False
    needs_truth: bool = False

    def loss(self, change: float) -> float:
        return -change if self.better == "higher" else change

    def format_change(self, change: float, sign: str = "+") -> str:
        return f"{change:{sign}.4f}" if self.better == "higher" else f"{change:.1f}"

    def format_limit(self, limit: float) -> str:
        return f"{limit:g}" if self.better == "higher" else f"{limit:g} of {PER:,} pixels"


QUANTITIES = {
    one.name: one
    for one in (
        Quantity(FLIPS, "the share of flips", "lower", 50.0, "--max-flips"),
        Quantity(
            WORST_FLIPS,
            "the share of flips of any image",
            "lower",
            300.0,
            "--max-worst-flips",
            is_worst=True,
        ),
        Quantity(
            WORST_DICE,
            "Dice of any image",
            "higher",
            0.05,
            "--max-worst-dice-drop",
            is_worst=True,
            needs_truth=True,
        ),
    )
}


def find_limited(name: str) -> Limited:
    """The metric or quantity of that name.

    Raises:
        UnknownNameError: There is neither.
    """
    if name in QUANTITIES:
        return QUANTITIES[name]
    if not is_known(name):
        raise UnknownNameError("metric", name, (*METRICS.names(), *QUANTITIES))
    return find_metric(name)


def is_known(name: str) -> bool:
    """Whether there is a metric or quantity of that name on this machine."""
    return name in QUANTITIES or name in METRICS


def is_worst(name: str) -> bool:
    """Whether a limit of that name is on each image by itself."""
    return name in QUANTITIES and QUANTITIES[name].is_worst


def options_of(names: Iterable[str]) -> list[str]:
    """The options that set limits, without repetition."""
    return list(dict.fromkeys(find_limited(name).limit_option for name in names))
