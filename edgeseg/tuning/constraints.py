"""What a candidate must keep."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ..errors import UsageError
from ..lazy import require_installed
from ..metrics.agreement import PER
from ..metrics.findings import Finding, deciding, judge_findings, state_of
from ..metrics.limits import BROKEN, HOLDS, OPEN, MarginVerdict
from ..metrics.metric import Metric
from ..metrics.quantities import (
    FLIPS,
    QUANTITIES,
    WORST_FLIPS,
    Quantity,
    find_limited,
    is_worst,
    options_of,
)
from ..metrics.table import find_metric, metrics_of_label_maps

MIN_AGREEMENT = "--min-agreement"
ACCEPT_UNCERTAIN = "--accept-uncertain"
OFF = "none"
# Two runs of one artefact differ by so much in peak memory.
MEMORY_SHARE = 0.03
MEMORY_BYTES = 2_000_000


@dataclass(frozen=True)
class Evaluation:
    """What is known of a candidate before it is timed.

    Attributes:
        refusal: Why it cannot be made, or does not run; the rest is then nothing.
        artifact_bytes: Size on disk of what ships.
        peak_rss_bytes: Most memory while loading and running, above that of the bare runtime.
        flips_per_10k: Pixels per 10,000 whose label is not the FP32 reference's.
        changes: What it changed of the reference's score, by metric and in its terms
            (`edgeseg.metrics.metric.Metric.change`). Empty without labels; a metric that needs
            many images is missing on the few that reject a candidate.
        images: How many these were counted on.
        layers: What is known of its INT8 part, such as how many convolutions are in it.
        is_accident: Whether the refusal is the machine's, which may be another time: no memory, no
            disk, a process killed from outside.
        findings: The same with intervals, of the worst images, and by size: what limits judge.
        is_exact: Whether it computes in full precision and each probability was found within a
            tolerance of PyTorch's: images that cannot tell leave nothing open then.
    """

    refusal: str = ""
    artifact_bytes: int = 0
    peak_rss_bytes: int = 0
    flips_per_10k: float = 0.0
    changes: Mapping[str, float] = field(default_factory=dict)
    images: int = 0
    layers: Mapping[str, int] = field(default_factory=dict)
    is_accident: bool = False
    findings: tuple[Finding, ...] = ()
    is_exact: bool = False

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Evaluation:
        findings = tuple(Finding.from_json(one) for one in record["findings"])
        return cls(**{**record, "findings": findings})


@dataclass(frozen=True)
class Constraints:
    """Attributes:
    max_change: How much may be lost of each metric or quantity, by name and in its terms: the
        difference of the scores, a share of the FP32 reference's, or flips. What is not named is
        free.
    min_agreement: Share of pixels with the reference's label, 0..1, where that was asked for in
        place of the limit on flips; None otherwise.
    accept_uncertain: Whether a candidate may be chosen where the images cannot tell, if what they
        show lies within each limit.

    Raises:
        UnknownNameError: There is no such metric.
        UsageError: A share is not between 0 and 1, or another value is negative or no number.
    """

    max_change: Mapping[str, float] = field(default_factory=dict)
    min_agreement: float | None = None
    accept_uncertain: bool = False

    def __post_init__(self) -> None:
        for name, allowed in self.max_change.items():
            _require_limit(name, allowed)
        if self.min_agreement is not None:
            _require_share(MIN_AGREEMENT, self.min_agreement)

    @property
    def limits(self) -> dict[str, float]:
        """Most that may be lost, by name; agreement is a limit on flips."""
        if self.min_agreement is None:
            return dict(self.max_change)
        return {FLIPS: PER * (1 - self.min_agreement), **self.max_change}

    @property
    def options(self) -> list[str]:
        """The options that loosen them."""
        return options_of(self.max_change) + [MIN_AGREEMENT] * (self.min_agreement is not None)

    def judge(self, evaluation: Evaluation) -> tuple[MarginVerdict, ...]:
        """A verdict on each limit that something is known of."""
        return judge_findings(evaluation.findings, self.limits)

    def violation(self, evaluation: Evaluation, plain: Evaluation) -> str:
        """Why a candidate must not be chosen; empty when it may.

        Args:
            plain: Of the plain export.
        """
        if evaluation.refusal:
            return evaluation.refusal
        return self.accuracy_violation(evaluation) or self.cost_violation(evaluation, plain)

    def hopelessness(self, evaluation: Evaluation, plain: Evaluation) -> str:
        """Why a candidate need not be timed, after a look at few images: what these prove to be
        broken is broken, and the rest is decided on all."""
        if evaluation.refusal:
            return evaluation.refusal
        broken = [one for one in self.judge(evaluation) if one.state == BROKEN]
        return _reason(broken[0]) if broken else self.cost_violation(evaluation, plain)

    def state(self, evaluation: Evaluation) -> str:
        """Whether its limits hold, are broken, or are open as the images cannot tell."""
        state = state_of(self.judge(evaluation))
        return HOLDS if state == OPEN and evaluation.is_exact else state

    def accuracy_violation(self, evaluation: Evaluation) -> str:
        """Why the predictions of a candidate are not good enough, or not known to be."""
        verdicts = self.judge(evaluation)
        state = self.state(evaluation)
        if state == HOLDS:
            return ""
        if state == OPEN and self.accept_uncertain:
            beyond = [one for one in verdicts if one.state == OPEN and not one.is_within]
            beyond = [one for one in beyond if not one.part]
            return _reason(beyond[0]) if beyond else ""
        verdict = deciding(verdicts)
        assert verdict is not None
        return _reason(verdict)

    @staticmethod
    def cost_violation(evaluation: Evaluation, plain: Evaluation) -> str:
        """Why a candidate is too large or too hungry."""
        if evaluation.artifact_bytes > plain.artifact_bytes:
            return (
                f"its {evaluation.artifact_bytes / 1e3:.0f} kB are more than the "
                f"{plain.artifact_bytes / 1e3:.0f} kB of the plain export"
            )
        most = plain.peak_rss_bytes * (1 + MEMORY_SHARE) + MEMORY_BYTES
        if evaluation.peak_rss_bytes > most:
            return (
                f"it takes {evaluation.peak_rss_bytes / 1e6:.1f} MB of memory, the plain export "
                f"{plain.peak_rss_bytes / 1e6:.1f} MB"
            )
        return ""

    def to_json(self) -> dict[str, Any]:
        return {
            "max_change": dict(self.max_change),
            "min_agreement": self.min_agreement,
            "accept_uncertain": self.accept_uncertain,
        }


def limited_metrics(asked: Mapping[str, float | None], class_count: int) -> tuple[Metric, ...]:
    """The metrics that constraints limit: those with a default that can be computed here, and
    those that were asked for.

    Args:
        asked: Allowed changes by metric or quantity; None takes a limit away.
        class_count: Of the network, background included.

    Raises:
        UnknownNameError: There is no such metric.
        UsageError: Label maps of so many classes cannot be scored by it.
        MissingBackendError: A package that it needs is not installed.
    """
    by_default = metrics_of_label_maps(
        class_count, lambda metric: metric.allowed_change is not None
    )
    chosen = {metric.name: metric for metric in by_default}
    for name, allowed in asked.items():
        if find_limited(name).name in QUANTITIES:
            continue
        metric = find_metric(name)
        if allowed is None:
            chosen.pop(name, None)
            continue
        if metric.needs_probabilities:
            raise UsageError(
                f"{metric.limit_option}: auto compares label maps, and {metric.title} is computed "
                f"from probabilities. {_limitable(class_count)}"
            )
        if metric.is_binary and class_count > 2:
            raise UsageError(
                f"{metric.limit_option}: {metric.title} is defined for one foreground class, and "
                f"this network has {class_count - 1}. {_limitable(class_count)}"
            )
        require_installed(metric.packages, purpose=metric.limit_option)
        chosen[name] = metric
    return tuple(chosen.values())


def choose_constraints(
    asked: Mapping[str, float | None],
    min_agreement: float | None,
    class_count: int,
    *,
    has_labels: bool,
    accept_uncertain: bool = False,
) -> Constraints:
    """What was asked for and the defaults; without labels those that need none.

    Args:
        asked: Allowed changes by metric or quantity; None takes a limit away.

    Raises:
        UsageError: One is asked for that needs labels, and there are none; agreement and flips are
            limited both; or as `limited_metrics`.
    """
    allowed = {**{name: one.allowed_change for name, one in QUANTITIES.items()}}
    if min_agreement is not None:
        if asked.get(FLIPS) is not None:
            raise UsageError(
                f"{MIN_AGREEMENT} {min_agreement:g} and {QUANTITIES[FLIPS].limit_option} "
                f"{asked[FLIPS]:g} limit the same pixels. Give one of them."
            )
        del allowed[FLIPS]
    if has_labels:
        for metric in limited_metrics(asked, class_count):
            allowed[metric.name] = metric.allowed_change or 0.0
    else:
        _require_no_truth(asked)
        allowed = {name: most for name, most in allowed.items() if not QUANTITIES[name].needs_truth}
    chosen = {name: asked.get(name, most) for name, most in allowed.items()}
    limits = {name: most for name, most in chosen.items() if most is not None}
    return Constraints(_metrics_first(limits), min_agreement, accept_uncertain)


def _metrics_first(limits: Mapping[str, float]) -> dict[str, float]:
    """Limits in the order in which they are told: metrics, flips, the worst images."""
    order = {name: place for place, name in enumerate(QUANTITIES, start=1)}
    return dict(sorted(limits.items(), key=lambda one: order.get(one[0], 0)))


def _require_no_truth(asked: Mapping[str, float | None]) -> None:
    for name, allowed in asked.items():
        limited = find_limited(name)
        if isinstance(limited, Quantity) and not limited.needs_truth:
            continue
        if allowed is not None:
            raise UsageError(
                f"{limited.limit_option} needs masks of the val images, and there are none. Add "
                f"them to --data, or use {QUANTITIES[FLIPS].limit_option} or {MIN_AGREEMENT}."
            )


def _limitable(class_count: int) -> str:
    names = [metric.name for metric in metrics_of_label_maps(class_count, lambda metric: True)]
    return f"Limit one of these: {', '.join((*names, *QUANTITIES))}."


def _reason(verdict: MarginVerdict) -> str:
    """Why a candidate must not be chosen, in the words of a sentence about it."""
    limited = find_limited(verdict.metric)
    loss = limited.format_change(limited.loss(verdict.change), "")
    most = limited.format_limit(verdict.allowed)
    if verdict.image:
        where = f"on {verdict.image}, one of {verdict.images} images"
    else:
        where = f"on {verdict.images} images"
        where += f" with {verdict.part} objects" if verdict.part else ""
    verb = "falls" if limited.better == "higher" else "grows"
    if limited.name in (FLIPS, WORST_FLIPS):
        found = f"{loss} of {PER:,} pixels flip"
    else:
        found = f"{limited.title} {verb} by {loss}"
    if not is_worst(verdict.metric):
        low, high = sorted(limited.loss(end) for end in verdict.interval)
        found += f" ({limited.format_change(low, '')}..{limited.format_change(high, '')})"
    if verdict.state == BROKEN:
        return f"{found} {where}, and at most {most} is allowed"
    return (
        f"{found} {where}, which cannot tell whether it is at most {most}: {verdict.advice}; "
        f"{ACCEPT_UNCERTAIN} takes it all the same"
    )


def _require_limit(name: str, allowed: float) -> None:
    """Refuse a limit that nothing could keep, or that anything keeps.

    Raises:
        UsageError: Names the option and what to write.
    """
    limited = find_limited(name)
    if name in (FLIPS, WORST_FLIPS):
        if not 0 <= allowed <= PER:
            raise UsageError(
                f"{limited.limit_option} {allowed:g} is not between 0 and {PER}. It counts pixels "
                f"of {PER:,}; {OFF} takes the limit away."
            )
    elif isinstance(limited, Metric) and limited.unit and not limited.is_change_relative:
        if not 0 <= allowed < math.inf:
            raise UsageError(
                f"{limited.limit_option} {allowed:g} is no allowed change. Give a number of "
                f"{limited.unit} from 0 on."
            )
    else:
        _require_share(limited.limit_option, allowed)


def _require_share(option: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise UsageError(
            f"{option} {value:g} is not between 0 and 1. It is a share: write 0.01 for 1 %."
        )
