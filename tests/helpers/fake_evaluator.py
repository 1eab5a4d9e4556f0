"""A laboratory with a machine of its own making: no process, no clock."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edgeseg.tuning.candidate import Choice
from edgeseg.tuning.constraints import Finding
from edgeseg.tuning.evaluator import Finish, Ratio
from edgeseg.tuning.regions import Site
from edgeseg.tuning.space import Menu

PLAIN_MS = 10.0
FIXED = (
    Choice("fp32", ("fold",)),
    Choice("bf16"),
    Choice("int8", method="tool"),
)
MENU = Menu(
    fixed=FIXED,
    rewrites=("fold", "norm", "resize"),
    methods=(("plan", (), True), ("tool", (), False)),
    variants={"int8": ("float part in bf16",)},
    statistics=frozenset({"norm"}),
)
SITES = [Site(f"conv{index}", (64 >> index // 2, 64), 100 - index) for index in range(4)]


class FakeLaboratory:
    """Counts what it is asked; each question takes a second.

    Args:
        latency_ms: Of a choice.
        finding: Of a choice; left out, one that no limit objects to.
        ineffective: Rewrites that find nothing to do.
    """

    def __init__(
        self,
        latency_ms: Callable[[Choice], float],
        finding: Callable[[Choice], Finding] = lambda choice: Finding("", 100, 100, 1.0, 0.0, 4),
        ineffective: tuple[str, ...] = (),
    ) -> None:
        self.latency_ms = latency_ms
        self.finding = finding
        self.ineffective = ineffective
        self.asked: list[str] = []
        self.scores: dict[Choice, Finding] = {}

    @property
    def seconds(self) -> float:
        return float(len(self.asked))

    def examine_plain(self) -> Finding:
        self.asked.append("examine plain")
        return Finding("", 100, 100)

    def examine(self, choice: Choice) -> Finding:
        self.asked.append(f"examine {choice.name}")
        return self.finding(choice)

    def score(self, choice: Choice) -> Finding:
        self.asked.append(f"score {choice.name}")
        return self.scores.get(choice, self.finding(choice))

    def race(self, challenger: Choice, incumbent: Choice | None, attempt: int = 1) -> Ratio:
        self.asked.append(f"race {challenger.name}")
        return self._ratio(challenger, incumbent)

    def line_up(self, choices: Sequence[Choice]) -> list[Finish]:
        self.asked.append(f"line up {len(choices)}")
        return [Finish(self._ratio(one, None), self._ratio(one, choices[0])) for one in choices]

    def effective(self, rewrites: Sequence[str]) -> tuple[str, ...]:
        return tuple(name for name in rewrites if name not in self.ineffective)

    def graph_bytes(self, rewrites: Sequence[str]) -> int:
        return 100 + 50 * ("resize" in rewrites) + 10 * ("norm" in rewrites)

    def sites(self, rewrites: Sequence[str]) -> list[Site]:
        made = {"norm": Site("mean", (64, 64)), "resize": Site("small", (32, 32))}
        return [*SITES, *(site for name, site in made.items() if name in rewrites)]

    def _ratio(self, challenger: Choice, incumbent: Choice | None) -> Ratio:
        before = PLAIN_MS if incumbent is None else self.latency_ms(incumbent)
        speedup = before / self.latency_ms(challenger)
        return Ratio(speedup, speedup * 0.995, speedup * 1.005)
