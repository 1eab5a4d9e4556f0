"""What a candidate must keep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ..errors import UsageError
from ..metrics.agreement import PER

DEFAULT_DICE_DROP = 0.005
DEFAULT_HD95_GROWTH = 0.02
DEFAULT_AGREEMENT = 0.99
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
        flips_per_10k: Pixels per 10,000 whose label is not the float network's.
        dice_drop: Pooled Dice of the float network minus its own; None without labels.
        images: How many these were counted on.
        layers: What is known of its INT8 part, such as how many convolutions are in it.
        hd95_growth: By which share mean HD95 is above the float network's; None where it is not
            measured, as on the few images that reject a candidate.
        is_accident: Whether the refusal is the machine's, which may be another time: no memory, no
            disk, a process killed from outside.
    """

    refusal: str = ""
    artifact_bytes: int = 0
    peak_rss_bytes: int = 0
    flips_per_10k: float = 0.0
    dice_drop: float | None = None
    images: int = 0
    layers: Mapping[str, int] = field(default_factory=dict)
    hd95_growth: float | None = None
    is_accident: bool = False

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Constraints:
    """Attributes:
    max_dice_drop: Of pooled Dice, 0..1; None where there are no labels.
    min_agreement: Share of pixels with the float network's label, 0..1; None leaves it free.
    max_hd95_growth: Share, 0..1; None leaves it free.
    """

    max_dice_drop: float | None
    min_agreement: float | None
    max_hd95_growth: float | None = None

    def __post_init__(self) -> None:
        for switch, value in (
            ("--max-dice-drop", self.max_dice_drop),
            ("--min-agreement", self.min_agreement),
            ("--max-hd95-growth", self.max_hd95_growth),
        ):
            if value is not None and not 0 <= value <= 1:
                raise UsageError(f"{switch} {value:g} is not between 0 and 1. It is a share.")

    def relaxed(self) -> Constraints:
        """Those for a first look at few images, of which one may decide the score: what loses so
        much there is hopeless, and the rest is decided on all."""
        drop, agreement = self.max_dice_drop, self.min_agreement
        return Constraints(
            None if drop is None else min(FEW_SLACK * drop, 1.0),
            None if agreement is None else max(1 - FEW_SLACK * (1 - agreement), 0.0),
            self.max_hd95_growth,
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
        """Why what a candidate finds is not good enough."""
        drop, flips = evaluation.dice_drop, evaluation.flips_per_10k
        if self.max_dice_drop is not None and drop is not None and not drop <= self.max_dice_drop:
            return (
                f"pooled Dice falls by {drop:.4f} on {evaluation.images} images, allowed is "
                f"{self.max_dice_drop:g}"
            )
        growth, most = evaluation.hd95_growth, self.max_hd95_growth
        if most is not None and growth is not None and not growth <= most:
            return (
                f"HD95 grows by {growth:.1%} on {evaluation.images} images, allowed are {most:.1%}"
            )
        if self.min_agreement is not None and not 1 - flips / PER >= self.min_agreement:
            return (
                f"{1 - flips / PER:.2%} of the pixels of {evaluation.images} images agree with the "
                f"float network, asked for are {self.min_agreement:.2%}"
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

    def to_json(self) -> dict[str, float | None]:
        return asdict(self)
