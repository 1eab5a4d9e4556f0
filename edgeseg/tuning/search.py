"""Looks for the fastest form of a network that keeps what the limits ask for.

Greedy: first come the coarse questions (rewritten or not, float precisions, ways to quantise,
runtime variants); what is built for a single precision where nothing is measured is always among
them. Then, while seconds remain, single rewrites, and regions of convolutions in INT8 or float.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ..errors import TargetError
from ..metrics.limits import BROKEN, OPEN
from .candidate import Candidate
from .constraints import Constraints, Evaluation
from .evaluator import Evaluator, FinalTiming
from .leaderboard import WORTHWHILE, Leaderboard, Trial, is_nearer
from .regions import (
    QuantizableConv,
    Region,
    convs_of_statistics,
    group_convs,
    single_convs,
)
from .space import SearchSpace

HOPELESS = 0.8  # no runtime variant makes up for so much
LEVEL = 1.02  # so far two that do the same work may lie apart
SAVED_BYTES = 3  # by a weight in int8 in place of float32
REWRITES_SHARE = 0.5  # of the seconds that are left may go to single rewrites


@dataclass(frozen=True)
class TuningResult:
    """What a search found.

    Attributes:
        candidate: The winner.
        score: Of it, on all images.
        violation: What it breaks, where nothing keeps the limits on size and memory.
        plain: Of the plain export.
        trials: All candidates, in the order in which they were tried.
        states: What is known of the limits of each trial, see `Leaderboard.state`.
        final: Those of the last run, the winner among them.
        skipped: Candidates for which no seconds were left.
    """

    candidate: Candidate
    score: Evaluation
    violation: str
    plain: Evaluation
    trials: tuple[Trial, ...]
    states: tuple[str, ...]
    final: tuple[tuple[Candidate, FinalTiming], ...]
    skipped: int


class Search:
    """One search.

    Args:
        budget_s: From then on only what must be known is asked.
        seconds_used: What it has cost so far.
        on_trial: Called with each trial.
    """

    def __init__(
        self,
        space: SearchSpace,
        evaluator: Evaluator,
        constraints: Constraints,
        budget_s: float,
        seconds_used: Callable[[], float],
        on_trial: Callable[[Trial], None] = lambda trial: None,
    ) -> None:
        self.space = space
        self.evaluator = evaluator
        self.constraints = constraints
        self.budget_s = budget_s
        self.leaderboard = Leaderboard(evaluator, constraints, seconds_used, on_trial)
        self.budget_s += seconds_used()  # the plain export is no candidate

    def run(self) -> TuningResult:
        """Search.

        Raises:
            TargetError: No candidate can be chosen; the message names the reasons.
        """
        self._try_float()
        self._try_quantized()
        self._try_plain_graphs()
        if self.leaderboard.leaders:
            self._try_calibrators()
            self._try_single_rewrites()
            self._try_regions()
            self._try_calibrators()
        return self._confirm()

    # The coarse questions

    def _try_float(self) -> None:
        full = self.space.fixed[0]
        self._enter_with_variants(replace(full, rewrites=()), "float")
        self._enter_with_variants(full, "float")
        if self.leaderboard.trials[full].violation:
            self._try_smaller(full)
        for candidate in self.space.fixed[1:]:
            if not candidate.method:
                self._enter_with_variants(candidate, "precision")
                self._try_precision(candidate, self._leading_rewrites())

    def _try_precision(self, fixed: Candidate, rewrites: tuple[str, ...]) -> None:
        candidate = replace(fixed, rewrites=rewrites)
        self._enter_with_variants(candidate, "precision", until=self.budget_s)

    def _try_plain_graphs(self) -> None:
        """After what is more likely to win, in case that time runs out."""
        for fixed in self.space.fixed[1:]:
            if fixed.method:
                self._try_methods(fixed, ())
            else:
                self._try_precision(fixed, ())

    def _try_smaller(self, refused: Candidate) -> None:
        """Leave out rewrites one by one, those first that make the graph largest, until no limit
        objects."""
        names = list(refused.rewrites)
        left = {  # bytes of the graph without it: some make it large only together with others
            name: self.evaluator.graph_bytes([one for one in names if one != name])
            for name in names
        }
        for name in sorted(names, key=lambda one: left[one])[:-1]:
            names.remove(name)
            candidate = replace(refused, rewrites=self.evaluator.effective(names))
            trial = self._enter_with_variants(candidate, "float", until=self.budget_s)
            if trial is not None and not trial.violation:
                return

    def _try_quantized(self) -> None:
        for fixed in self.space.fixed:
            if fixed.method:
                self._enter_with_variants(fixed, "int8")
                self._try_methods(fixed, self._leading_rewrites())
        self._try_calibrators()
        self._try_more_in_float()

    def _try_methods(self, fixed: Candidate, rewrites: tuple[str, ...]) -> None:
        for name, options, has_plan in self.space.methods:
            whole = replace(fixed, method=name, method_options=options, rewrites=rewrites)
            made = self._of_statistics(rewrites) if has_plan else ()
            part = replace(whole, float_nodes=made)
            trial = self._enter_with_variants(part, "int8", until=self.budget_s)
            if made:
                if trial is not None and not trial.evaluation.refusal:
                    smaller = self._fitted(part, trial.evaluation)
                    self._enter_with_variants(smaller, "int8", until=self.budget_s)
                self._enter_with_variants(whole, "int8", until=self.budget_s)

    def _fitted(self, candidate: Candidate, evaluation: Evaluation) -> Candidate:
        """The same with those convolutions in INT8 too, the largest first, that make it larger than
        the plain export."""
        excess = evaluation.artifact_bytes - self.leaderboard.plain.artifact_bytes
        weights = {conv.name: conv.weights for conv in self.evaluator.convs(candidate.rewrites)}
        in_float = sorted(candidate.float_nodes, key=lambda name: weights.get(name, 0))
        while in_float and excess > 0:
            excess -= SAVED_BYTES * weights.get(in_float.pop(), 0)
        return replace(candidate, float_nodes=tuple(sorted(in_float)))

    def _try_calibrators(self) -> None:
        """Choose the ranges of INT8 otherwise: they cost no time."""
        leading, poor = self._leading_plan(), self._poor_plan()
        for name in self.space.calibrators:
            if leading is not None:
                candidate = replace(leading, method=name, method_options=())
                self.leaderboard.enter(candidate, "int8", until=self.budget_s)
            elif poor is not None:
                candidate = replace(poor, method=name, method_options=())
                self._enter_with_variants(candidate, "int8", until=self.budget_s)

    def _try_more_in_float(self) -> None:
        """Where no INT8 is good: in float first what INT8 changes the masks most by, then depthwise
        convolutions, which have few products to save."""
        for choose in (self.evaluator.kept_in_float, self._with_depthwise):
            poor = self._poor_plan()
            if poor is None or self.leaderboard.is_out_of_time(self.budget_s):
                return
            kept = choose(poor)
            if len(kept) < len(self.evaluator.convs(poor.rewrites)):
                candidate = replace(poor, float_nodes=kept)
                self._enter_with_variants(candidate, "int8", until=self.budget_s)

    def _with_depthwise(self, candidate: Candidate) -> tuple[str, ...]:
        convs = self.evaluator.convs(candidate.rewrites)
        depthwise = {conv.name for conv in convs if conv.is_depthwise}
        return tuple(sorted(depthwise.union(candidate.float_nodes)))

    def _poor_plan(self) -> Candidate | None:
        """INT8 by a plan whose masks are not good enough, if no INT8 is good otherwise."""
        tried = [one for one in self.leaderboard.trials.values() if one.candidate.method]
        plans = [one for one in tried if self.space.makes_plan(one.candidate.method)]
        poor = [one for one in plans if self._is_poor(one)]
        good = [one for one in tried if not self._is_poor(one)]
        return poor[0].candidate if poor and all(one.violation for one in good) else None

    def _is_poor(self, trial: Trial) -> bool:
        """Whether its masks break a limit, or are not known to keep it and would have to be."""
        state = self.leaderboard.state(trial)
        return state == BROKEN or (state == OPEN and bool(trial.violation))

    def _leading_plan(self) -> Candidate | None:
        """The leader if it is INT8 by a plan, else the fastest such if it is INT8 as fast."""
        leaderboard = self.leaderboard
        if not leaderboard.leaders or not leaderboard.leader.method:
            return None
        if self.space.makes_plan(leaderboard.leader.method):
            return leaderboard.leader
        best = leaderboard.trials[leaderboard.leader].over_plain or 0.0
        for candidate in leaderboard.by_speed():
            if self.space.makes_plan(candidate.method):
                is_level = (leaderboard.trials[candidate].over_plain or 0.0) * LEVEL >= best
                return candidate if is_level else None
        return None

    def _enter_with_variants(
        self, candidate: Candidate, stage: str, *, until: float | None = None
    ) -> Trial | None:
        trial = self.leaderboard.enter(candidate, stage, until=until)
        if trial is None or trial.violation:
            return trial  # a variant computes the same
        if trial.ratio is not None and trial.ratio.speedup >= HOPELESS:
            for variant in self.space.variants.get(candidate.precision, ()):
                other = replace(candidate, variant=variant)
                self.leaderboard.enter(other, "variant", until=self.budget_s)
        return trial

    def _leading_rewrites(self) -> tuple[str, ...]:
        return self.leaderboard.leader.rewrites if self.leaderboard.leaders else ()

    def _of_statistics(self, rewrites: tuple[str, ...]) -> tuple[str, ...]:
        return convs_of_statistics(self.evaluator.convs, rewrites, self.space.statistics)

    # While seconds remain

    def _try_single_rewrites(self) -> None:
        """Leave out each rewrite of the leader, and add each that it lacks, until none leads."""
        leaderboard = self.leaderboard
        used = leaderboard.seconds_used()
        until = used + max(self.budget_s - used, 0.0) * REWRITES_SHARE
        before = None
        while leaderboard.leader != before:
            before = leaderboard.leader
            for name in reversed(self.space.rewrites):
                if leaderboard.is_out_of_time(until):
                    continue
                leader = leaderboard.leader
                now = leader.rewrites
                names = [one for one in self.space.rewrites if (one in now) != (one == name)]
                rewrites = self.evaluator.effective(names)
                candidate = replace(leader, rewrites=rewrites)
                if self.space.makes_plan(leader.method):
                    candidate = replace(candidate, float_nodes=self._kept_in_float(rewrites))
                word = "without" if name in now else "with"
                leaderboard.enter(candidate, "rewrites", until=until, region=f"{word} {name}")

    def _kept_in_float(self, rewrites: tuple[str, ...]) -> tuple[str, ...]:
        """As the leader keeps them, in a graph of other rewrites."""
        there = {conv.name for conv in self.evaluator.convs(rewrites)}
        kept = there.intersection(self.leaderboard.leader.float_nodes)
        return tuple(sorted(kept.union(self._of_statistics(rewrites))))

    def _try_regions(self) -> None:
        """Give regions the other precision, then single convolutions of those where that came near
        to a gain."""
        leader = self.leaderboard.leader
        quantized = [candidate for candidate in self.space.fixed if candidate.method]
        plans = [(name, options) for name, options, has_plan in self.space.methods if has_plan]
        if (
            not quantized
            or not plans
            or (leader.method and not self.space.makes_plan(leader.method))
        ):
            return
        name, options = plans[0]
        base = replace(quantized[0], method=name, method_options=options)
        if self.space.makes_plan(leader.method):
            base = leader
        convs = self.evaluator.convs(leader.rewrites)
        protected = set(self._of_statistics(leader.rewrites))
        original = [conv for conv in convs if conv.name not in protected]
        promising: set[str] = set()
        for region in group_convs(original):
            if self._is_promising(self._turn(region, base, convs)):
                promising.update(region.convolutions)
        # Those that rewrites made come last and one by one: INT8 may harm what they compute.
        singles = single_convs([conv for conv in original if conv.name in promising])
        if promising:
            singles += single_convs([conv for conv in convs if conv.name in protected])
        for region in singles:
            self._turn(region, base, convs)

    def _turn(
        self, region: Region, base: Candidate, convs: Sequence[QuantizableConv]
    ) -> Trial | None:
        """Give the convolutions of a region the other precision.

        Args:
            base: What float leaders become with a first region in INT8.
            sites: All of the graph.
        """
        leader = self.leaderboard.leader
        every = {conv.name for conv in convs}
        in_float = set(leader.float_nodes) if leader.method else every
        inside = set(region.convolutions)
        becomes_int8 = inside <= in_float
        changed = in_float - inside if becomes_int8 else in_float | inside
        if changed == every:
            return None  # nothing would be INT8
        candidate = replace(leader, float_nodes=tuple(sorted(changed)))
        if not leader.method:
            variant = self._variant_like(leader, base.precision)
            candidate = replace(
                base, rewrites=leader.rewrites, float_nodes=candidate.float_nodes, variant=variant
            )
        where = "in INT8" if becomes_int8 else "in float"
        return self.leaderboard.enter(
            candidate, "region", until=self.budget_s, region=f"{region.name} {where}"
        )

    def _is_promising(self, trial: Trial | None) -> bool:
        """Whether a part of a region may be worth what the whole was not."""
        if trial is None or trial.evaluation.refusal:
            return trial is not None
        if trial.ratio is not None:
            return trial.ratio.high > 1
        return not self.constraints.cost_violation(trial.evaluation, self.leaderboard.plain)

    def _variant_like(self, leader: Candidate, precision: str) -> str:
        """The runtime variant that leaves the float part of INT8 as the leader computes it."""
        variants = self.space.variants.get(precision, ())
        if leader.variant in variants:
            return leader.variant
        like = [name for name in variants if leader.precision in name.split()]
        return like[0] if like else ""

    # The last run

    def _confirm(self) -> TuningResult:
        """Look at all images, and let the leader take turns with each single precision."""
        leaderboard = self.leaderboard
        candidate, score, violation = self._first_that_keeps(
            [*leaderboard.leaders[-1:], *leaderboard.by_speed()]
        )
        rivals = [one for one in self.space.fixed if one in leaderboard.trials and one != candidate]
        rivals = [one for one in rivals if not leaderboard.trials[one].violation]
        runners = [candidate, *rivals]
        timings = self.evaluator.time_finalists(runners)
        final = tuple(zip(runners, timings, strict=True))
        faster = [
            one for one in final if self._outruns(*one, leaderboard.trials[candidate].evaluation)
        ]
        for rival, _ in sorted(faster, key=lambda one: -one[1].over_first.speedup):
            rival_score = leaderboard.meets_constraints(rival)
            if rival_score is not None:
                candidate, score = rival, rival_score
                break
        trials = tuple(leaderboard.trials.values())
        states = tuple(leaderboard.state(trial) for trial in trials)
        plain, skipped = leaderboard.plain, leaderboard.skipped
        return TuningResult(candidate, score, violation, plain, trials, states, final, skipped)

    def _outruns(self, rival: Candidate, timing: FinalTiming, evaluation: Evaluation) -> bool:
        """Whether a rival is faster than the winner, clearly so where its masks are farther."""
        is_farther = is_nearer(evaluation, self.leaderboard.trials[rival].evaluation)
        least = WORTHWHILE if is_farther else 1.0
        return timing.over_first.low > 1 and timing.over_first.speedup >= least

    def _first_that_keeps(
        self, candidates: Sequence[Candidate]
    ) -> tuple[Candidate, Evaluation, str]:
        """The first that no limit objects to; where there is none, the smallest of full precision
        that is only too large or too hungry, and the violation to that."""
        for candidate in dict.fromkeys(candidates):
            score = self.leaderboard.meets_constraints(candidate)
            if score is not None:
                return candidate, score, ""
        trials = list(self.leaderboard.trials.values())
        for trial in sorted(trials, key=lambda one: one.evaluation.artifact_bytes):
            is_full = trial.candidate.precision == self.space.fixed[0].precision
            if is_full and not trial.evaluation.refusal:
                score = self.evaluator.score(trial.candidate)
                if not score.refusal and not self.constraints.accuracy_violation(score):
                    return trial.candidate, score, trial.violation
        reasons = "; ".join(f"{trial.candidate.name}: {trial.violation}" for trial in trials)
        raise TargetError(
            f"No form of the network can be chosen. {reasons}. Loosen "
            f"{' or '.join(self.constraints.options)}, or name a --precision."
        )
