"""Looks for the fastest form of a network that keeps what the limits ask for.

Greedy: first come the coarse questions (rewritten or not, float precisions, ways to quantise,
runtime variants); what is built for a single precision where nothing is measured is always among
them. Then, while seconds remain, single rewrites, and regions of convolutions in INT8 or float.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ..errors import TargetError
from .candidate import Choice
from .constraints import Finding, Limits
from .evaluator import Finish, Laboratory
from .leaderboard import WORTHWHILE, Contest, Trial, is_nearer
from .regions import Region, Site, group_sites, single_sites
from .space import Menu

HOPELESS = 0.8  # no runtime variant makes up for so much
LEVEL = 1.02  # so far two that do the same work may lie apart
SAVED_BYTES = 3  # by a weight in int8 in place of float32
REWRITES_SHARE = 0.5  # of the seconds that are left may go to single rewrites


@dataclass(frozen=True)
class Outcome:
    """What a search found.

    Attributes:
        choice: The winner.
        score: Of it, on all images.
        objection: What it breaks, where nothing keeps the limits on size and memory.
        plain: Of the plain export.
        trials: All candidates, in the order in which they were tried.
        final: Those of the last run, the winner among them.
        skipped: Candidates for which no seconds were left.
    """

    choice: Choice
    score: Finding
    objection: str
    plain: Finding
    trials: tuple[Trial, ...]
    final: tuple[tuple[Choice, Finish], ...]
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
        menu: Menu,
        laboratory: Laboratory,
        limits: Limits,
        budget_s: float,
        seconds_used: Callable[[], float],
        on_trial: Callable[[Trial], None] = lambda trial: None,
    ) -> None:
        self.menu = menu
        self.laboratory = laboratory
        self.limits = limits
        self.budget_s = budget_s
        self.contest = Contest(laboratory, limits, seconds_used, on_trial)
        self.budget_s += seconds_used()  # the plain export is no candidate

    def run(self) -> Outcome:
        """Search.

        Raises:
            TargetError: No candidate can be chosen; the message names the reasons.
        """
        self._try_float()
        self._try_quantized()
        self._try_plain_graphs()
        if self.contest.leaders:
            self._try_calibrators()
            self._try_single_rewrites()
            self._try_regions()
            self._try_calibrators()
        return self._confirm()

    # The coarse questions

    def _try_float(self) -> None:
        full = self.menu.fixed[0]
        self._enter_with_variants(replace(full, rewrites=()), "float")
        self._enter_with_variants(full, "float")
        if self.contest.trials[full].objection:
            self._try_smaller(full)
        for choice in self.menu.fixed[1:]:
            if not choice.method:
                self._enter_with_variants(choice, "precision")
                self._try_precision(choice, self._leading_rewrites())

    def _try_precision(self, fixed: Choice, rewrites: tuple[str, ...]) -> None:
        choice = replace(fixed, rewrites=rewrites)
        self._enter_with_variants(choice, "precision", until=self.budget_s)

    def _try_plain_graphs(self) -> None:
        """After what is more likely to win, in case that time runs out."""
        for fixed in self.menu.fixed[1:]:
            if fixed.method:
                self._try_methods(fixed, ())
            else:
                self._try_precision(fixed, ())

    def _try_smaller(self, refused: Choice) -> None:
        """Leave out rewrites one by one, those first that make the graph largest, until no limit
        objects."""
        names = list(refused.rewrites)
        left = {  # bytes of the graph without it: some make it large only together with others
            name: self.laboratory.graph_bytes([one for one in names if one != name])
            for name in names
        }
        for name in sorted(names, key=lambda one: left[one])[:-1]:
            names.remove(name)
            choice = replace(refused, rewrites=self.laboratory.effective(names))
            trial = self._enter_with_variants(choice, "float", until=self.budget_s)
            if trial is not None and not trial.objection:
                return

    def _try_quantized(self) -> None:
        for fixed in self.menu.fixed:
            if fixed.method:
                self._enter_with_variants(fixed, "int8")
                self._try_methods(fixed, self._leading_rewrites())
        self._try_calibrators()

    def _try_methods(self, fixed: Choice, rewrites: tuple[str, ...]) -> None:
        for name, options, has_plan in self.menu.methods:
            whole = replace(fixed, method=name, method_options=options, rewrites=rewrites)
            made = self._made_by_rewrites(rewrites) if has_plan else ()
            part = replace(whole, float_nodes=made)
            trial = self._enter_with_variants(part, "int8", until=self.budget_s)
            if made:
                if trial is not None and not trial.finding.refusal:
                    smaller = self._fitted(part, trial.finding)
                    self._enter_with_variants(smaller, "int8", until=self.budget_s)
                self._enter_with_variants(whole, "int8", until=self.budget_s)

    def _fitted(self, choice: Choice, finding: Finding) -> Choice:
        """The same with those convolutions in INT8 too, the largest first, that make it larger than
        the plain export."""
        excess = finding.artifact_bytes - self.contest.plain.artifact_bytes
        weights = {site.name: site.weights for site in self.laboratory.sites(choice.rewrites)}
        in_float = sorted(choice.float_nodes, key=lambda name: weights.get(name, 0))
        while in_float and excess > 0:
            excess -= SAVED_BYTES * weights.get(in_float.pop(), 0)
        return replace(choice, float_nodes=tuple(sorted(in_float)))

    def _try_calibrators(self) -> None:
        """Choose the ranges of INT8 otherwise: they cost no time."""
        leading, poor = self._leading_plan(), self._poor_plan()
        for name in self.menu.calibrators:
            if leading is not None:
                choice = replace(leading, method=name, method_options=())
                self.contest.enter(choice, "int8", until=self.budget_s)
            elif poor is not None:
                choice = replace(poor, method=name, method_options=())
                self._enter_with_variants(choice, "int8", until=self.budget_s)

    def _poor_plan(self) -> Choice | None:
        """INT8 by a plan whose masks are not good enough, if no INT8 is good otherwise."""
        tried = [one for one in self.contest.trials.values() if one.choice.method]
        plans = [one for one in tried if self.menu.makes_plan(one.choice.method)]
        poor = [one for one in plans if self.limits.objection_to_masks(one.finding)]
        good = [one for one in tried if not self.limits.objection_to_masks(one.finding)]
        return poor[0].choice if poor and all(one.objection for one in good) else None

    def _leading_plan(self) -> Choice | None:
        """The leader if it is INT8 by a plan, else the fastest such if it is INT8 as fast."""
        contest = self.contest
        if not contest.leaders or not contest.leader.method:
            return None
        if self.menu.makes_plan(contest.leader.method):
            return contest.leader
        best = contest.trials[contest.leader].over_plain or 0.0
        for choice in contest.by_speed():
            if self.menu.makes_plan(choice.method):
                is_level = (contest.trials[choice].over_plain or 0.0) * LEVEL >= best
                return choice if is_level else None
        return None

    def _enter_with_variants(
        self, choice: Choice, stage: str, *, until: float | None = None
    ) -> Trial | None:
        trial = self.contest.enter(choice, stage, until=until)
        if trial is not None and trial.ratio is not None and trial.ratio.speedup >= HOPELESS:
            for variant in self.menu.variants.get(choice.precision, ()):
                other = replace(choice, runtime=variant)
                self.contest.enter(other, "runtime", until=self.budget_s)
        return trial

    def _leading_rewrites(self) -> tuple[str, ...]:
        return self.contest.leader.rewrites if self.contest.leaders else ()

    def _made_by_rewrites(self, rewrites: tuple[str, ...]) -> tuple[str, ...]:
        """Convolutions that hold statistics, which INT8 would round: those that only the graph with
        such rewrites has."""
        others = tuple(name for name in rewrites if name not in self.menu.statistics)
        original = {site.name for site in self.laboratory.sites(others)}
        made = [site.name for site in self.laboratory.sites(rewrites)]
        return tuple(sorted(name for name in made if name not in original))

    # While seconds remain

    def _try_single_rewrites(self) -> None:
        """Leave out each rewrite of the leader, and add each that it lacks, until none leads."""
        contest = self.contest
        used = contest.seconds_used()
        until = used + max(self.budget_s - used, 0.0) * REWRITES_SHARE
        before = None
        while contest.leader != before:
            before = contest.leader
            for name in reversed(self.menu.rewrites):
                if contest.is_out_of_time(until):
                    continue
                leader = contest.leader
                now = leader.rewrites
                names = [one for one in self.menu.rewrites if (one in now) != (one == name)]
                rewrites = self.laboratory.effective(names)
                choice = replace(leader, rewrites=rewrites)
                if self.menu.makes_plan(leader.method):
                    choice = replace(choice, float_nodes=self._kept_in_float(rewrites))
                word = "without" if name in now else "with"
                contest.enter(choice, "rewrites", until=until, region=f"{word} {name}")

    def _kept_in_float(self, rewrites: tuple[str, ...]) -> tuple[str, ...]:
        """As the leader keeps them, in a graph of other rewrites."""
        there = {site.name for site in self.laboratory.sites(rewrites)}
        kept = there.intersection(self.contest.leader.float_nodes)
        return tuple(sorted(kept.union(self._made_by_rewrites(rewrites))))

    def _try_regions(self) -> None:
        """Give regions the other precision, then single convolutions of those where that came near
        to a gain."""
        leader = self.contest.leader
        quantized = [choice for choice in self.menu.fixed if choice.method]
        plans = [(name, options) for name, options, has_plan in self.menu.methods if has_plan]
        if (
            not quantized
            or not plans
            or (leader.method and not self.menu.makes_plan(leader.method))
        ):
            return
        name, options = plans[0]
        base = replace(quantized[0], method=name, method_options=options)
        if self.menu.makes_plan(leader.method):
            base = leader
        sites = self.laboratory.sites(leader.rewrites)
        protected = set(self._made_by_rewrites(leader.rewrites))
        original = [site for site in sites if site.name not in protected]
        promising: set[str] = set()
        for region in group_sites(original):
            if self._is_promising(self._turn(region, base, sites)):
                promising.update(region.convolutions)
        # Those that rewrites made come last and one by one: INT8 may harm what they compute.
        singles = single_sites([site for site in original if site.name in promising])
        if promising:
            singles += single_sites([site for site in sites if site.name in protected])
        for region in singles:
            self._turn(region, base, sites)

    def _turn(self, region: Region, base: Choice, sites: Sequence[Site]) -> Trial | None:
        """Give the convolutions of a region the other precision.

        Args:
            base: What float leaders become with a first region in INT8.
            sites: All of the graph.
        """
        leader = self.contest.leader
        every = {site.name for site in sites}
        in_float = set(leader.float_nodes) if leader.method else every
        inside = set(region.convolutions)
        becomes_int8 = inside <= in_float
        changed = in_float - inside if becomes_int8 else in_float | inside
        if changed == every:
            return None  # nothing would be INT8
        choice = replace(leader, float_nodes=tuple(sorted(changed)))
        if not leader.method:
            runtime = self._variant_like(leader, base.precision)
            choice = replace(
                base, rewrites=leader.rewrites, float_nodes=choice.float_nodes, runtime=runtime
            )
        where = "in INT8" if becomes_int8 else "in float"
        return self.contest.enter(
            choice, "region", until=self.budget_s, region=f"{region.name} {where}"
        )

    def _is_promising(self, trial: Trial | None) -> bool:
        """Whether a part of a region may be worth what the whole was not."""
        if trial is None or trial.finding.refusal:
            return trial is not None
        if trial.ratio is not None:
            return trial.ratio.high > 1
        return not self.limits.objection_to_costs(trial.finding, self.contest.plain)

    def _variant_like(self, leader: Choice, precision: str) -> str:
        """The runtime variant that leaves the float part of INT8 as the leader computes it."""
        variants = self.menu.variants.get(precision, ())
        if leader.runtime in variants:
            return leader.runtime
        like = [name for name in variants if leader.precision in name.split()]
        return like[0] if like else ""

    # The last run

    def _confirm(self) -> Outcome:
        """Look at all images, and let the leader take turns with each single precision."""
        contest = self.contest
        choice, score, objection = self._first_that_keeps(
            [*contest.leaders[-1:], *contest.by_speed()]
        )
        rivals = [one for one in self.menu.fixed if one in contest.trials and one != choice]
        rivals = [one for one in rivals if not contest.trials[one].objection]
        runners = [choice, *rivals]
        finishes = self.laboratory.line_up(runners)
        final = tuple(zip(runners, finishes, strict=True))
        faster = [one for one in final if self._outruns(*one, contest.trials[choice].finding)]
        for rival, _ in sorted(faster, key=lambda one: -one[1].over_first.speedup):
            rival_score = contest.keeps_limits(rival)
            if rival_score is not None:
                choice, score = rival, rival_score
                break
        trials = tuple(contest.trials.values())
        return Outcome(choice, score, objection, contest.plain, trials, final, contest.skipped)

    def _outruns(self, rival: Choice, finish: Finish, finding: Finding) -> bool:
        """Whether a rival is faster than the winner, clearly so where its masks are farther."""
        is_farther = is_nearer(finding, self.contest.trials[rival].finding)
        least = WORTHWHILE if is_farther else 1.0
        return finish.over_first.low > 1 and finish.over_first.speedup >= least

    def _first_that_keeps(self, choices: Sequence[Choice]) -> tuple[Choice, Finding, str]:
        """The first that no limit objects to; where there is none, the smallest of full precision
        that is only too large or too hungry, and the objection to that."""
        for choice in dict.fromkeys(choices):
            score = self.contest.keeps_limits(choice)
            if score is not None:
                return choice, score, ""
        trials = list(self.contest.trials.values())
        for trial in sorted(trials, key=lambda one: one.finding.artifact_bytes):
            is_full = trial.choice.precision == self.menu.fixed[0].precision
            if is_full and not trial.finding.refusal:
                score = self.laboratory.score(trial.choice)
                if not score.refusal and not self.limits.objection_to_masks(score):
                    return trial.choice, score, trial.objection
        reasons = "; ".join(f"{trial.choice.name}: {trial.objection}" for trial in trials)
        raise TargetError(
            f"No form of the network can be chosen. {reasons}. Loosen --max-dice-drop or "
            "--min-agreement, or name a --precision."
        )
