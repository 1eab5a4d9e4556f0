"""What a search asks: of an evaluator, whose answers a timing cache keeps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from .candidate import Candidate
from .constraints import Evaluation
from .regions import QuantizableConv
from .timing_cache import TimingCache


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
class FinalTiming:
    """One of the last run.

    Attributes:
        over_plain: Its speed over the plain export's.
        over_first: Its speed over that of the first one in the run.
    """

    over_plain: Ratio
    over_first: Ratio


class Evaluator(Protocol):
    """Builds and measures candidates.

    A candidate that fails gives an evaluation with a refusal; what else fails raises.
    """

    def evaluate_plain(self) -> Evaluation:
        """Size and memory of the plain export."""

    def evaluate(self, candidate: Candidate) -> Evaluation:
        """Make it, and look at some images."""

    def score(self, candidate: Candidate) -> Evaluation:
        """As `evaluate`, on all images."""

    def race(self, challenger: Candidate, incumbent: Candidate | None, attempt: int = 1) -> Ratio:
        """Speed of one over the other's; None is the plain export.

        Args:
            attempt: Which race of these two it is.
        """

    def time_finalists(self, candidates: Sequence[Candidate]) -> list[FinalTiming]:
        """Let all and the plain export take turns in one long run."""

    def effective(self, rewrites: Sequence[str]) -> tuple[str, ...]:
        """Those of some rewrites that change the graph, in the order in which they are applied;
        all of them where one fails, which `evaluate` then tells."""

    def graph_bytes(self, rewrites: Sequence[str]) -> int:
        """Size of the rewritten graph, before it is compiled."""

    def convs(self, rewrites: Sequence[str]) -> list[QuantizableConv]:
        """Convolutions of the rewritten graph that can be INT8, in order."""

    def kept_in_float(self, candidate: Candidate) -> tuple[str, ...]:
        """Those that must stay in float for few flips, by what INT8 changes of the masks; those of
        the candidate, which is by a plan, where that cannot be found out."""


class CachedEvaluator:
    """An evaluator that answers from the timing cache where it can."""

    def __init__(self, evaluator: Evaluator, timing_cache: TimingCache) -> None:
        self._evaluator = evaluator
        self._timing_cache = timing_cache

    @property
    def seconds(self) -> float:
        """What the answers took."""
        return self._timing_cache.seconds

    def evaluate_plain(self) -> Evaluation:
        return self._find("evaluate plain", self._evaluator.evaluate_plain)

    def evaluate(self, candidate: Candidate) -> Evaluation:
        return self._find("evaluate", lambda: self._evaluator.evaluate(candidate), candidate)

    def score(self, candidate: Candidate) -> Evaluation:
        return self._find("score", lambda: self._evaluator.score(candidate), candidate)

    def race(self, challenger: Candidate, incumbent: Candidate | None, attempt: int = 1) -> Ratio:
        def measure() -> Ratio:
            return self._evaluator.race(challenger, incumbent, attempt)

        question = _question(f"race {attempt}", challenger, incumbent)
        return Ratio(**self._timing_cache.ask(question, lambda: asdict(measure())))

    def time_finalists(self, candidates: Sequence[Candidate]) -> list[FinalTiming]:
        answer = self._timing_cache.ask(
            {"final timings": [candidate.to_json() for candidate in candidates]},
            lambda: {
                "timings": [asdict(one) for one in self._evaluator.time_finalists(candidates)]
            },
        )
        return [
            FinalTiming(Ratio(**one["over_plain"]), Ratio(**one["over_first"]))
            for one in answer["timings"]
        ]

    def effective(self, rewrites: Sequence[str]) -> tuple[str, ...]:
        answer = self._timing_cache.ask(
            {"effective": list(rewrites)},
            lambda: {"rewrites": list(self._evaluator.effective(rewrites))},
        )
        return tuple(answer["rewrites"])

    def graph_bytes(self, rewrites: Sequence[str]) -> int:
        answer = self._timing_cache.ask(
            {"graph bytes": list(rewrites)},
            lambda: {"bytes": self._evaluator.graph_bytes(rewrites)},
        )
        return int(answer["bytes"])

    def convs(self, rewrites: Sequence[str]) -> list[QuantizableConv]:
        return self._evaluator.convs(rewrites)

    def kept_in_float(self, candidate: Candidate) -> tuple[str, ...]:
        answer = self._timing_cache.ask(
            _question("kept in float", candidate),
            lambda: {"convolutions": list(self._evaluator.kept_in_float(candidate))},
        )
        return tuple(answer["convolutions"])

    def _find(
        self, command: str, measure: Callable[[], Evaluation], *candidates: Candidate
    ) -> Evaluation:
        answer = self._timing_cache.ask(
            _question(command, *candidates),
            lambda: asdict(measure()),
            keeps=lambda found: not found["is_accident"],
        )
        return Evaluation.from_json(answer)


def _question(command: str, *candidates: Candidate | None) -> dict[str, Any]:
    return {command: [None if one is None else one.to_json() for one in candidates]}
