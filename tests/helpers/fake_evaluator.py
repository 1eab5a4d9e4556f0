"""An evaluator with a machine of its own making: no process, no clock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from edgeseg.metrics.findings import Finding
from edgeseg.tuning.candidate import Candidate
from edgeseg.tuning.constraints import Constraints, Evaluation
from edgeseg.tuning.evaluator import FinalTiming, Ratio
from edgeseg.tuning.regions import QuantizableConv
from edgeseg.tuning.search import Search, TuningResult
from edgeseg.tuning.space import SearchSpace

PLAIN_MS = 10.0
FIXED = (
    Candidate("fp32", ("fold",)),
    Candidate("bf16"),
    Candidate("int8", method="tool"),
)
SPACE = SearchSpace(
    fixed=FIXED,
    rewrites=("fold", "norm", "resize"),
    methods=(("plan", (), True), ("tool", (), False)),
    variants={"int8": ("float part in bf16",)},
    statistics=frozenset({"norm"}),
)
CONVS = [QuantizableConv(f"conv{index}", (64 >> index // 2, 64), 100 - index) for index in range(4)]


class FakeEvaluator:
    """Counts what it is asked; each question takes a second.

    Args:
        latency_ms: Of a candidate.
        finding: Of a candidate; left out, one that no limit objects to.
        ineffective: Rewrites that find nothing to do.
    """

    def __init__(
        self,
        latency_ms: Callable[[Candidate], float],
        evaluation: Callable[[Candidate], Evaluation] = lambda candidate: Evaluation(
            "", 100, 100, 1.0, {"dice_pooled": 0.0}, 40
        ),
        ineffective: tuple[str, ...] = (),
    ) -> None:
        self.latency_ms = latency_ms
        self.evaluation = evaluation
        self.ineffective = ineffective
        self.asked: list[str] = []
        self.scores: dict[Candidate, Evaluation] = {}

    @property
    def seconds(self) -> float:
        return float(len(self.asked))

    def evaluate_plain(self) -> Evaluation:
        self.asked.append("evaluate plain")
        return Evaluation("", 100, 100)

    def evaluate(self, candidate: Candidate) -> Evaluation:
        self.asked.append(f"evaluate {candidate.name}")
        return self.evaluation(candidate)

    def score(self, candidate: Candidate) -> Evaluation:
        self.asked.append(f"score {candidate.name}")
        return self.scores.get(candidate, self.evaluation(candidate))

    def race(self, challenger: Candidate, incumbent: Candidate | None, attempt: int = 1) -> Ratio:
        self.asked.append(f"race {challenger.name}")
        return self._ratio(challenger, incumbent)

    def time_finalists(self, candidates: Sequence[Candidate]) -> list[FinalTiming]:
        self.asked.append(f"final timings {len(candidates)}")
        return [
            FinalTiming(self._ratio(one, None), self._ratio(one, candidates[0]))
            for one in candidates
        ]

    def effective(self, rewrites: Sequence[str]) -> tuple[str, ...]:
        return tuple(name for name in rewrites if name not in self.ineffective)

    def graph_bytes(self, rewrites: Sequence[str]) -> int:
        return 100 + 50 * ("resize" in rewrites) + 10 * ("norm" in rewrites)

    def convs(self, rewrites: Sequence[str]) -> list[QuantizableConv]:
        made = {
            "norm": QuantizableConv("mean", (64, 64)),
            "resize": QuantizableConv("small", (32, 32)),
        }
        return [*CONVS, *(conv for name, conv in made.items() if name in rewrites)]

    def kept_in_float(self, candidate: Candidate) -> tuple[str, ...]:
        return candidate.float_nodes

    def _ratio(self, challenger: Candidate, incumbent: Candidate | None) -> Ratio:
        before = PLAIN_MS if incumbent is None else self.latency_ms(incumbent)
        speedup = before / self.latency_ms(challenger)
        return Ratio(speedup, speedup * 0.995, speedup * 1.005)


LIMITS = Constraints({"dice_pooled": 0.005})
GOOD = Evaluation("", 100, 100, 1.0, {"dice_pooled": 0.0}, 40)


def finding(
    name: str, change: float, reach: float = 0.0, images: int = 40, **place: str
) -> Finding:
    """What was found of a metric, with an interval that reaches so far to both sides."""
    return Finding(name, change, (change - reach, change + reach), images, **place)


def dropping(drop: float, reach: float = 0.0, **changes: Any) -> Evaluation:
    """One that loses so much of pooled Dice."""
    images = changes.get("images", GOOD.images)
    found = (finding("dice_pooled", -drop, reach, images),)
    return replace(GOOD, changes={"dice_pooled": -drop}, findings=found, **changes)


def flipping(flips: float, reach: float = 0.0) -> Evaluation:
    """One of whose pixels so many of 10,000 flip."""
    found = (finding("flips", flips, reach),)
    return replace(GOOD, changes={}, flips_per_10k=flips, findings=found)


def search(
    evaluator: FakeEvaluator,
    budget_s: float = 1e6,
    constraints: Constraints = LIMITS,
    space: SearchSpace = SPACE,
) -> TuningResult:
    return Search(space, evaluator, constraints, budget_s, lambda: evaluator.seconds).run()


def by_rewrites(gains: dict[str, float]) -> object:
    """Latency of float candidates that rewrites change by these factors; others are slow."""

    def latency_ms(candidate: Candidate) -> float:
        latency = 10.0 if candidate.precision == "fp32" else 100.0
        for name in candidate.rewrites:
            latency *= gains[name]
        return latency

    return latency_ms
