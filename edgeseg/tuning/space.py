"""What a search may choose from."""

from __future__ import annotations

from dataclasses import dataclass

from .candidate import Candidate


@dataclass(frozen=True)
class SearchSpace:
    """What a target offers.

    Attributes:
        fixed: What is built for each precision where nothing is measured, the float one of full
            precision first.
        rewrites: All rewrites there are.
        methods: Ways to quantise, with options: (name, options, whether it makes a plan).
        variants: Names of runtime variants by precision.
        statistics: Rewrites whose convolutions hold means and variances.
        calibrators: Other methods that make plans, which may come nearer than the first.
    """

    fixed: tuple[Candidate, ...]
    rewrites: tuple[str, ...]
    methods: tuple[tuple[str, tuple[tuple[str, str], ...], bool], ...]
    variants: dict[str, tuple[str, ...]]
    statistics: frozenset[str] = frozenset()
    calibrators: tuple[str, ...] = ()

    def makes_plan(self, method: str) -> bool:
        first = any(name == method and has_plan for name, _, has_plan in self.methods)
        return first or method in self.calibrators
