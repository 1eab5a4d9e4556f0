"""What a search asks: of a laboratory, whose answers a journal keeps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from .candidate import Choice
from .constraints import Finding
from .regions import Site
from .timing_cache import Journal


@dataclass(frozen=True)
class Ratio:
    """How many times faster one is than another, with the 95 % interval of that."""

    speedup: float
    low: float
    high: float

    @property
    def interval(self) -> tuple[float, float]:
        return self.low, self.high


@dataclass(frozen=True)
class Finish:
    """One of the last run.

    Attributes:
        over_plain: Its speed over the plain export's.
        over_first: Its speed over that of the first one in the run.
    """

    over_plain: Ratio
    over_first: Ratio


class Laboratory(Protocol):
    """Makes and measures. Failures of a candidate are findings; what else fails raises."""

    def examine_plain(self) -> Finding:
        """Size and memory of the plain export."""

    def examine(self, choice: Choice) -> Finding:
        """Make it, and look at some images."""

    def score(self, choice: Choice) -> Finding:
        """As `examine`, on all images."""

    def race(self, challenger: Choice, incumbent: Choice | None, attempt: int = 1) -> Ratio:
        """Speed of one over the other's; None is the plain export.

        Args:
            attempt: Which race of these two it is.
        """

    def line_up(self, choices: Sequence[Choice]) -> list[Finish]:
        """Let all and the plain export take turns in one long run."""

    def effective(self, rewrites: Sequence[str]) -> tuple[str, ...]:
        """Those of some rewrites that change the graph, in the order in which they are applied;
        all of them where one fails, which `examine` then tells."""

    def graph_bytes(self, rewrites: Sequence[str]) -> int:
        """Size of the rewritten graph, before it is compiled."""

    def sites(self, rewrites: Sequence[str]) -> list[Site]:
        """Convolutions of the rewritten graph that can be INT8, in order."""


class RememberingLaboratory:
    """Answers from the journal where it can."""

    def __init__(self, laboratory: Laboratory, journal: Journal) -> None:
        self._laboratory = laboratory
        self._journal = journal

    @property
    def seconds(self) -> float:
        """What the answers took."""
        return self._journal.seconds

    def examine_plain(self) -> Finding:
        return self._find("examine plain", self._laboratory.examine_plain)

    def examine(self, choice: Choice) -> Finding:
        return self._find("examine", lambda: self._laboratory.examine(choice), choice)

    def score(self, choice: Choice) -> Finding:
        return self._find("score", lambda: self._laboratory.score(choice), choice)

    def race(self, challenger: Choice, incumbent: Choice | None, attempt: int = 1) -> Ratio:
        def measure() -> Ratio:
            return self._laboratory.race(challenger, incumbent, attempt)

        question = _question(f"race {attempt}", challenger, incumbent)
        return Ratio(**self._journal.ask(question, lambda: asdict(measure())))

    def line_up(self, choices: Sequence[Choice]) -> list[Finish]:
        answer = self._journal.ask(
            {"line up": [choice.to_json() for choice in choices]},
            lambda: {"finishes": [asdict(one) for one in self._laboratory.line_up(choices)]},
        )
        return [
            Finish(Ratio(**one["over_plain"]), Ratio(**one["over_first"]))
            for one in answer["finishes"]
        ]

    def effective(self, rewrites: Sequence[str]) -> tuple[str, ...]:
        answer = self._journal.ask(
            {"effective": list(rewrites)},
            lambda: {"rewrites": list(self._laboratory.effective(rewrites))},
        )
        return tuple(answer["rewrites"])

    def graph_bytes(self, rewrites: Sequence[str]) -> int:
        answer = self._journal.ask(
            {"graph bytes": list(rewrites)},
            lambda: {"bytes": self._laboratory.graph_bytes(rewrites)},
        )
        return int(answer["bytes"])

    def sites(self, rewrites: Sequence[str]) -> list[Site]:
        return self._laboratory.sites(rewrites)

    def _find(self, command: str, measure: Callable[[], Finding], *choices: Choice) -> Finding:
        answer = self._journal.ask(
            _question(command, *choices),
            lambda: asdict(measure()),
            keeps=lambda found: not found["is_accident"],
        )
        return Finding(**answer)


def _question(command: str, *choices: Choice | None) -> dict[str, Any]:
    return {command: [None if one is None else one.to_json() for one in choices]}
