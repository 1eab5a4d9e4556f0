"""Looks for the fastest form of a network that keeps what the limits ask for.

Greedy: one form leads, others are tried against it in turns, and the faster one leads on. First
come the coarse questions (rewritten or not, float precisions, ways to quantise, runtime variants);
what is built for a single precision where nothing is measured is always among them. Then, while
seconds remain, single rewrites, and regions of convolutions in INT8 or float.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ..errors import EdgesegError, TargetError
from .choice import Choice
from .laboratory import Finish, Laboratory, Ratio
from .limits import Finding, Limits
from .regions import Region, group_sites, single_sites

WORTHWHILE = 1.01  # a smaller gain does not change who leads
CLEAR = 1.1  # by so much no race is won by chance
HOPELESS = 0.8  # no runtime variant makes up for so much
PLAIN = "plain"
REWRITES_SHARE = 0.5  # of the seconds that are left may go to single rewrites


@dataclass(frozen=True)
class Menu:
    """What a target offers.

    Attributes:
        fixed: What is built for each precision where nothing is measured, the float one of full
            precision first.
        rewrites: All rewrites there are.
        methods: Ways to quantise, with options: (name, options, whether it makes a plan).
        variants: Names of runtime variants by precision.
    """

    fixed: tuple[Choice, ...]
    rewrites: tuple[str, ...]
    methods: tuple[tuple[str, tuple[tuple[str, str], ...], bool], ...]
    variants: dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class Trial:
    """One candidate and what became of it; see `record.TrialRecord`."""

    choice: Choice
    stage: str
    region: str
    finding: Finding
    objection: str
    against: Choice | None
    ratio: Ratio | None
    over_plain: float | None
    leads: bool


@dataclass(frozen=True)
class Outcome:
    """What a search found.

    Attributes:
        choice: The winner.
        score: Of it, on all images.
        plain: Of the plain export.
        trials: All candidates, in the order in which they were tried.
        final: Those of the last run, the winner among them.
        skipped: Candidates for which no seconds were left.
    """

    choice: Choice
    score: Finding
    plain: Finding
    trials: tuple[Trial, ...]
    final: tuple[tuple[Choice, Finish], ...]
    skipped: int


class Search:
    """One search.

    Args:
        seconds_used: What it has cost so far.
        budget_s: From then on only what must be known is asked.
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
        self.seconds_used = seconds_used
        self.on_trial = on_trial
        self.trials: dict[Choice, Trial] = {}
        self.leaders: list[Choice] = []
        self.skipped = 0
        self.plain = Finding()

    def run(self) -> Outcome:
        """Search.

        Raises:
            TargetError: No candidate can be chosen; the message names the reasons.
        """
        self.plain = self.laboratory.examine_plain()
        self._try_float()
        self._try_quantized()
        if self.leaders:
            self._try_single_rewrites()
            self._try_regions()
        return self._confirm()

    @property
    def leader(self) -> Choice:
        return self.leaders[-1]

    # The coarse questions

    def _try_float(self) -> None:
        full = self.menu.fixed[0]
        unchanged = replace(full, rewrites=())
        everything = replace(full, rewrites=self.laboratory.effective(self.menu.rewrites))
        for choice in (unchanged, full, everything):
            self._try_with_variants(choice, "float")
        if self.leaders and not self.leader.rewrites:
            self._try_smaller([full, everything])
        for choice in self.menu.fixed[1:]:
            if not choice.method:
                self._try_with_variants(choice, "precision")
                for rewrites in (self._leading_rewrites(), ()):
                    other = replace(choice, rewrites=rewrites)
                    self._try_with_variants(other, "precision", until=self.budget_s)

    def _try_smaller(self, choices: Sequence[Choice]) -> None:
        """Take the first that is too large or too hungry, and leave out its rewrites one by one,
        those first that make the graph largest, until no limit objects."""
        refused = [choice for choice in choices if self.trials[choice].objection]
        if not refused:
            return
        names = list(refused[0].rewrites)
        added = {name: self.laboratory.graph_bytes((name,)) for name in names}
        for name in sorted(names, key=lambda one: -added[one])[:-1]:
            names.remove(name)
            choice = replace(refused[0], rewrites=self.laboratory.effective(names))
            self._try_with_variants(choice, "float", until=self.budget_s)
            if choice in self.trials and not self.trials[choice].objection:
                return

    def _try_quantized(self) -> None:
        for fixed in self.menu.fixed:
            if not fixed.method:
                continue
            self._try_with_variants(fixed, "int8")
            for name, options, has_plan in self.menu.methods:
                for rewrites in (self._leading_rewrites(), ()):
                    choice = replace(fixed, method=name, method_options=options, rewrites=rewrites)
                    if has_plan:
                        choice = replace(choice, float_nodes=self._made_by_rewrites(rewrites))
                    self._try_with_variants(choice, "int8", until=self.budget_s)

    def _try_with_variants(self, choice: Choice, stage: str, *, until: float | None = None) -> None:
        self._try(choice, stage, until=until)
        trial = self.trials.get(choice)
        if trial is None or trial.ratio is None or trial.ratio.speedup < HOPELESS:
            return
        for variant in self.menu.variants.get(choice.precision, ()):
            self._try(replace(choice, runtime=variant), "runtime", until=self.budget_s)

    def _leading_rewrites(self) -> tuple[str, ...]:
        return self.leader.rewrites if self.leaders else ()

    def _kept_in_float(self, rewrites: tuple[str, ...]) -> tuple[str, ...]:
        """As the leader keeps them, in a graph of other rewrites."""
        if not any(
            name == self.leader.method for name, _, has_plan in self.menu.methods if has_plan
        ):
            return ()
        there = {site.name for site in self.laboratory.sites(rewrites)}
        kept = there.intersection(self.leader.float_nodes)
        return tuple(sorted(kept.union(self._made_by_rewrites(rewrites))))

    def _made_by_rewrites(self, rewrites: tuple[str, ...]) -> tuple[str, ...]:
        """Convolutions that only the rewritten graph has: they hold statistics and resizing, which
        INT8 would round."""
        original = {site.name for site in self.laboratory.sites(())}
        made = [site.name for site in self.laboratory.sites(rewrites)]
        return tuple(sorted(name for name in made if name not in original))

    # While seconds remain

    def _try_single_rewrites(self) -> None:
        """Leave out each rewrite of the leader, and add each that it lacks."""
        left = max(self.budget_s - self.seconds_used(), 0.0)
        until = min(self.seconds_used() + left * REWRITES_SHARE, self.budget_s)
        before = None
        while self.leader != before:
            before = self.leader
            for name in reversed(self.menu.rewrites):
                now = self.leader.rewrites
                names = [one for one in self.menu.rewrites if (one in now) != (one == name)]
                rewrites = self.laboratory.effective(names)
                choice = replace(self.leader, rewrites=rewrites)
                if self.leader.method:
                    choice = replace(choice, float_nodes=self._kept_in_float(rewrites))
                word = "without" if name in now else "with"
                self._try(choice, "rewrites", until=until, region=f"{word} {name}")

    def _try_regions(self) -> None:
        quantized = [choice for choice in self.menu.fixed if choice.method]
        plans = [(name, options) for name, options, has_plan in self.menu.methods if has_plan]
        if not quantized or not plans:
            return
        sites = self.laboratory.sites(self.leader.rewrites)
        protected = set(self._made_by_rewrites(self.leader.rewrites))
        original = [site for site in sites if site.name not in protected]
        made = [site for site in sites if site.name in protected]
        name, options = plans[0]
        base = replace(quantized[0], method=name, method_options=options)
        # Those that rewrites made come last and one by one: INT8 may harm what they compute.
        for regions in (group_sites(original), single_sites(original), single_sites(made)):
            for region in regions:
                self._turn(region, base, [site.name for site in sites])

    def _turn(self, region: Region, base: Choice, every: Sequence[str]) -> None:
        """Give the convolutions of a region the other precision."""
        leader = self.leader
        is_quantized = bool(leader.method)
        if is_quantized and leader.method != base.method:
            return  # by a tool that takes no part of the network
        in_float = set(leader.float_nodes) if is_quantized else set(every)
        inside = set(region.convolutions)
        changed = in_float - inside if inside <= in_float else in_float | inside
        if changed == set(every):
            return  # nothing would be INT8
        choice = replace(
            leader if is_quantized else base,
            rewrites=leader.rewrites,
            float_nodes=tuple(sorted(changed)),
        )
        if not is_quantized:
            choice = replace(choice, runtime=self._variant_like(leader, choice.precision))
        where = "in INT8" if inside <= in_float else "in float"
        if choice not in self.trials:
            self._try(choice, "region", until=self.budget_s, region=f"{region.name} {where}")

    def _variant_like(self, leader: Choice, precision: str) -> str:
        """The runtime variant that leaves the float part of INT8 as the leader computes it."""
        variants = self.menu.variants.get(precision, ())
        if leader.runtime in variants:
            return leader.runtime
        like = [name for name in variants if leader.precision in name.split()]
        return like[0] if like else ""

    # One candidate

    def _try(
        self, choice: Choice, stage: str, *, until: float | None = None, region: str = ""
    ) -> None:
        """Examine a candidate and let it race with the leader.

        Args:
            until: Skip it when so many seconds are used; None must be tried.
        """
        if choice in self.trials:
            return
        if until is not None and self.seconds_used() >= until:
            self.skipped += 1
            return
        finding = self.laboratory.examine(choice)
        objection = self.limits.objection(finding, self.plain)
        against = self.leader if self.leaders else None
        ratio, leads = None, False
        if not objection:
            try:
                ratio, leads = self._race(choice, against)
            except EdgesegError as error:
                objection = str(error)
        over_plain = None
        if ratio is not None:
            known = self.trials[against].over_plain if against is not None else 1.0
            over_plain = ratio.speedup * (known or 1.0)
        trial = Trial(choice, stage, region, finding, objection, against, ratio, over_plain, leads)
        self.trials[choice] = trial
        if leads:
            self.leaders.append(choice)
        self.on_trial(trial)

    def _race(self, choice: Choice, against: Choice | None) -> tuple[Ratio, bool]:
        """How fast a candidate is, and whether it leads from now on.

        Of many races some are won by chance: who wins narrowly must win again.
        """
        ratio = self.laboratory.race(choice, against)
        if against is None:
            return ratio, True
        if _is_won(ratio) and ratio.low < CLEAR:
            ratio = self.laboratory.race(choice, against, 2)
        return ratio, _is_won(ratio)

    # The last run

    def _confirm(self) -> Outcome:
        """Look at all images, and let the leader take turns with each single precision."""
        choice, score = self._first_that_keeps([*reversed(self.leaders), *self._as_they_finished()])
        rivals = [one for one in self.menu.fixed if one in self.trials and one != choice]
        rivals = [one for one in rivals if not self.trials[one].objection]
        runners = [choice, *rivals]
        finishes = self.laboratory.line_up(runners)
        final = tuple(zip(runners, finishes, strict=True))
        faster = [one for one in final if one[1].over_first.low > 1]
        for rival, _ in sorted(faster, key=lambda one: -one[1].over_first.speedup):
            rival_score = self.laboratory.score(rival)
            if not self.limits.objection(rival_score, self.plain):
                choice, score = rival, rival_score
                break
        return Outcome(choice, score, self.plain, tuple(self.trials.values()), final, self.skipped)

    def _as_they_finished(self) -> list[Choice]:
        """All that were timed, the fastest first."""
        timed = [trial for trial in self.trials.values() if trial.over_plain is not None]
        return [trial.choice for trial in sorted(timed, key=lambda one: -(one.over_plain or 0.0))]

    def _first_that_keeps(self, choices: Sequence[Choice]) -> tuple[Choice, Finding]:
        for choice in dict.fromkeys(choices):
            score = self.laboratory.score(choice)
            objection = self.limits.objection(score, self.plain)
            if not objection:
                return choice, score
            self.trials[choice] = replace(self.trials[choice], objection=objection)
        reasons = "; ".join(
            f"{trial.choice.name}: {trial.objection}" for trial in self.trials.values()
        )
        raise TargetError(
            f"No form of the network can be chosen. {reasons}. Loosen --max-dice-drop or "
            "--min-agreement, or name a --precision."
        )


def _is_won(ratio: Ratio) -> bool:
    return ratio.low > 1 and ratio.speedup >= WORTHWHILE
