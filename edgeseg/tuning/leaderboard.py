"""One form of a network leads, others are tried against it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from ..errors import DeviceError, DeviceTimeoutError, EdgesegError
from ..metrics.limits import BROKEN
from .candidate import Candidate
from .constraints import Constraints, Evaluation
from .evaluator import Evaluator, Ratio

WORTHWHILE = 1.01  # a smaller gain does not change who leads
CLEAR = 1.1  # by so much no race is won by chance
# So many times the flips of another are clearly fewer, if these are so many fewer per 10,000.
NEARER, FEWER_FLIPS = 0.8, 0.5


@dataclass(frozen=True)
class Trial:
    """One candidate and what became of it; see `edgeseg.bundle.manifest.TrialRecord`.

    Attributes:
        evaluation: On the images that reject a candidate.
        score: On all images; None where it did not come to that, as it is slower.
    """

    candidate: Candidate
    stage: str
    region: str
    evaluation: Evaluation
    violation: str
    against: Candidate | None
    ratio: Ratio | None
    over_plain: float | None
    leads: bool
    score: Evaluation | None = None


class Leaderboard:
    """Who leads, and all trials so far.

    Args:
        seconds_used: What it has cost so far.
        on_trial: Called with each trial.

    Attributes:
        plain: Size and memory of the plain export.
        trials: By candidate, in the order in which they were tried.
        leaders: All that have led, the present one last.
        skipped: Candidates for which no seconds were left.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        constraints: Constraints,
        seconds_used: Callable[[], float],
        on_trial: Callable[[Trial], None] = lambda trial: None,
    ) -> None:
        self.evaluator = evaluator
        self.constraints = constraints
        self.seconds_used = seconds_used
        self.on_trial = on_trial
        self.plain = evaluator.evaluate_plain()
        self.trials: dict[Candidate, Trial] = {}
        self.leaders: list[Candidate] = []
        self.skipped = 0

    @property
    def leader(self) -> Candidate:
        return self.leaders[-1]

    def enter(
        self, candidate: Candidate, stage: str, *, until: float | None = None, region: str = ""
    ) -> Trial | None:
        """Examine a candidate and let it race with the leader; a known one is not tried again.

        What would lead in reduced precision is looked at on all images first: what keeps no limit
        leads nobody astray. An exact form is looked at when it is chosen.

        Args:
            stage, region: For the record.
            until: Skip it when so many seconds are used; None must be tried.

        Returns:
            What came of it; None when it was skipped.
        """
        if candidate in self.trials:
            return self.trials[candidate]
        if until is not None and self.is_out_of_time(until):
            return None
        evaluation = self.evaluator.evaluate(candidate)
        violation = self.constraints.hopelessness(evaluation, self.plain)
        against = self.leader if self.leaders else None
        ratio, leads, over_plain, score = None, False, None, None
        if not violation:
            try:
                ratio, leads = self._race(candidate, evaluation, against)
                if leads and not evaluation.is_exact:
                    score = self.evaluator.score(candidate)
                    violation = self.constraints.violation(score, self.plain)
                    leads = not violation
            except EdgesegError as error:
                if isinstance(error, DeviceError) and not isinstance(error, DeviceTimeoutError):
                    raise  # nothing can be raced
                violation = str(error)
        if ratio is not None:
            known = self.trials[against].over_plain if against is not None else None
            over_plain = ratio.speedup * (known or 1.0)
        trial = Trial(
            candidate,
            stage,
            region,
            evaluation,
            violation,
            against,
            ratio,
            over_plain,
            leads,
            score,
        )
        self.trials[candidate] = trial
        if leads:
            self.leaders.append(candidate)
        self.on_trial(trial)
        return trial

    def is_out_of_time(self, until: float) -> bool:
        """Whether so many seconds are used; a candidate is then counted as skipped."""
        is_out = self.seconds_used() >= until
        self.skipped += is_out
        return is_out

    def meets_constraints(self, candidate: Candidate) -> Evaluation | None:
        """Scores on all images; None where it must not be chosen, which its trial then tells."""
        trial = self.trials[candidate]
        score = trial.score or self.evaluator.score(candidate)
        violation = self.constraints.violation(score, self.plain)
        self.trials[candidate] = replace(trial, violation=violation, score=score)
        return None if violation else score

    def state(self, trial: Trial) -> str:
        """Whether a trial's masks keep the limits: "holds", "broken" or "open"; empty where that is
        not known, as only few images were looked at, or none."""
        known = trial.score or trial.evaluation
        if known.refusal:
            return ""
        state = self.constraints.state(known)
        return state if trial.score is not None or known.is_exact or state == BROKEN else ""

    def by_speed(self) -> list[Candidate]:
        """All that were timed, the fastest first."""
        timed = [trial for trial in self.trials.values() if trial.over_plain is not None]
        return [
            trial.candidate for trial in sorted(timed, key=lambda one: -(one.over_plain or 0.0))
        ]

    def _race(
        self, candidate: Candidate, evaluation: Evaluation, against: Candidate | None
    ) -> tuple[Ratio, bool]:
        """How fast a candidate is, and whether it leads from now on.

        Of many races some are won by chance: who wins narrowly must win again. One that is as fast
        leads when its masks are clearly nearer to the FP32 reference's.
        """
        ratio = self.evaluator.race(candidate, against)
        if against is None:
            return ratio, True
        if _is_won(ratio) and ratio.low < CLEAR:
            ratio = self.evaluator.race(candidate, against, 2)
        if _is_won(ratio):
            return ratio, True
        leader = self.trials[against]
        # Small losses must not add up over many ties.
        fastest = max(self.trials[one].over_plain or 0.0 for one in self.leaders)
        is_as_fast = _is_level(ratio, (leader.over_plain or 0.0) / fastest)
        return ratio, is_as_fast and is_nearer(evaluation, leader.evaluation)


def _is_won(ratio: Ratio) -> bool:
    return ratio.low > 1 and ratio.speedup >= WORTHWHILE


def _is_level(ratio: Ratio, over_fastest: float) -> bool:
    """Whether two cannot be told apart, and one lies within 1 % of the other and of the fastest.

    Args:
        over_fastest: The other's speed over that of the fastest so far.
    """
    return ratio.high >= 1 and min(ratio.low, ratio.speedup * over_fastest) * WORTHWHILE >= 1


def is_nearer(evaluation: Evaluation, other: Evaluation) -> bool:
    """Whether masks are clearly nearer to the FP32 reference's than another's."""
    flips, others = evaluation.flips_per_10k, other.flips_per_10k
    return flips < NEARER * others and others - flips >= FEWER_FLIPS
