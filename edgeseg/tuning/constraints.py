"""What a candidate must keep."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ..errors import UsageError
from ..lazy import require_installed
from ..metrics.agreement import PER
from ..metrics.metric import Metric
from ..metrics.table import find_metric, metrics_of_label_maps

DEFAULT_AGREEMENT = 0.99
MIN_AGREEMENT = "--min-agreement"
FEW_SLACK = 4.0
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
    """

    refusal: str = ""
    artifact_bytes: int = 0
    peak_rss_bytes: int = 0
    flips_per_10k: float = 0.0
    changes: Mapping[str, float] = field(default_factory=dict)
    images: int = 0
    layers: Mapping[str, int] = field(default_factory=dict)
    is_accident: bool = False

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Constraints:
    """Attributes:
    max_change: How much of each metric may be lost, by name and in its terms: the difference of
        the scores, or a share of the FP32 reference's. Metrics that are not named are free.
    min_agreement: Share of pixels with the reference's label, 0..1; None leaves it free.

    Raises:
        UnknownNameError: There is no such metric.
        UsageError: A share is not between 0 and 1, or another value is negative or no number.
    """

    max_change: Mapping[str, float] = field(default_factory=dict)
    min_agreement: float | None = None

    def __post_init__(self) -> None:
        for name, allowed in self.max_change.items():
            metric = find_metric(name)
            if metric.unit and not metric.is_change_relative:
                if not 0 <= allowed < math.inf:
                    raise UsageError(
                        f"{metric.limit_option} {allowed:g} is no allowed change. Give a number of "
                        f"{metric.unit} from 0 on."
                    )
            else:
                _require_share(metric.limit_option, allowed)
        if self.min_agreement is not None:
            _require_share(MIN_AGREEMENT, self.min_agreement)

    @property
    def options(self) -> list[str]:
        """The options that loosen them."""
        options = [find_metric(name).limit_option for name in self.max_change]
        return options + [MIN_AGREEMENT] * (self.min_agreement is not None)

    def relaxed(self) -> Constraints:
        """Those for a first look at few images, of which one may decide the score: what loses so
        much there is hopeless, and the rest is decided on all."""
        agreement = self.min_agreement
        return Constraints(
            {name: _relaxed(find_metric(name), most) for name, most in self.max_change.items()},
            None if agreement is None else max(1 - FEW_SLACK * (1 - agreement), 0.0),
        )

    def violation(self, evaluation: Evaluation, plain: Evaluation) -> str:
        """Why a candidate must not be chosen; empty when it may.

        Args:
            plain: Of the plain export.
        """
        if evaluation.refusal:
            return evaluation.refusal
        return self.accuracy_violation(evaluation) or self.cost_violation(evaluation, plain)

    def accuracy_violation(self, evaluation: Evaluation) -> str:
        """Why the predictions of a candidate are not good enough."""
        for name, most in self.max_change.items():
            metric, change = find_metric(name), evaluation.changes.get(name)
            # A change that is no number is never allowed.
            if change is not None and not metric.loss(change) <= most:
                verb = "falls" if metric.better == "higher" else "grows"
                return (
                    f"{metric.title} {verb} by {metric.format_change(metric.loss(change), '')} on "
                    f"{evaluation.images} images, and at most {metric.format_limit(most)} is "
                    "allowed"
                )
        flips = evaluation.flips_per_10k
        if self.min_agreement is not None and not 1 - flips / PER >= self.min_agreement:
            return (
                f"{1 - flips / PER:.2%} of the pixels of {evaluation.images} images agree with the "
                f"FP32 reference, and at least {self.min_agreement:.2%} must"
            )
        return ""

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
        return {"max_change": dict(self.max_change), "min_agreement": self.min_agreement}


def limited_metrics(asked: Mapping[str, float], class_count: int) -> tuple[Metric, ...]:
    """The metrics that constraints limit: those with a default that can be computed here, and
    those that were asked for.

    Args:
        asked: Allowed changes by metric.
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
    for name in asked:
        metric = find_metric(name)
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
    asked: Mapping[str, float],
    min_agreement: float | None,
    class_count: int,
    *,
    has_labels: bool,
) -> Constraints:
    """What was asked for and the defaults; without labels it is agreement that counts.

    Args:
        asked: Allowed changes by metric.

    Raises:
        UsageError: A metric is asked for, and there are no labels; or as `limited_metrics`.
    """
    if not has_labels:
        for name in asked:
            raise UsageError(
                f"{find_metric(name).limit_option} needs masks of the val images, and there are "
                f"none. Add them to --data, or use {MIN_AGREEMENT}."
            )
        return Constraints({}, DEFAULT_AGREEMENT if min_agreement is None else min_agreement)
    allowed = {
        metric.name: asked.get(metric.name, metric.allowed_change)
        for metric in limited_metrics(asked, class_count)
    }
    return Constraints(
        {name: most for name, most in allowed.items() if most is not None}, min_agreement
    )


def _limitable(class_count: int) -> str:
    names = [metric.name for metric in metrics_of_label_maps(class_count, lambda metric: True)]
    return f"Limit one of these: {', '.join(names)}."


def _relaxed(metric: Metric, allowed: float) -> float:
    if metric.needs_many_images:
        return allowed
    is_share = metric.is_change_relative or not metric.unit
    return min(FEW_SLACK * allowed, 1.0) if is_share else FEW_SLACK * allowed


def _require_share(option: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise UsageError(
            f"{option} {value:g} is not between 0 and 1. It is a share: write 0.01 for 1 %."
        )
