"""What a search found, as a manifest keeps it."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TrialRecord(_Record):
    """One candidate.

    `stage` says what it tried: "float", "rewrites", "precision", "runtime", "int8" or "region";
    `region` names the convolutions whose precision it changed. `speedup` with its interval is over
    the candidate `against` ("plain": the plain export), `speedup_over_plain` the product of those
    that lead there; None where it was not timed. Flips are per 10,000 pixels, the drop is of pooled
    Dice against the float network (None without labels), both on the images of the search.
    `verdict` is "leads" when it became the one to beat, "slower" or "refused", and `reason` says
    why it was refused. `layers`: see `edgeseg.records.QuantizationRecord`.
    """

    name: str
    stage: str
    region: str
    candidate: dict[str, Any]
    verdict: str
    reason: str
    against: str
    speedup: float | None
    speedup_ci95: tuple[float, float] | None
    speedup_over_plain: float | None
    flips_per_10k: float | None
    dice_drop: float | None
    artifact_bytes: int | None
    peak_rss_bytes: int | None
    layers: dict[str, int]


class FinalRecord(_Record):
    """A row of the last run, in which all took turns; the first row led before it."""

    name: str
    candidate: dict[str, Any]
    speedup_over_plain: float
    speedup_over_plain_ci95: tuple[float, float]
    speedup_over_first: float
    speedup_over_first_ci95: tuple[float, float]


class TuningRecord(_Record):
    """How `--precision auto` chose.

    `identity` is the network and the target that it holds for, `machine` where it was measured,
    `constraints` what was allowed, `images` how many there were, `plain` the size and memory of the
    plain export. The scores are those of the candidate on all images, and `violation` is what it
    breaks where nothing kept the limits on size and memory.
    """

    candidate: dict[str, Any]
    identity: dict[str, Any]
    machine: dict[str, Any]
    constraints: dict[str, float | None]
    images: dict[str, Any]
    plain: dict[str, int]
    flips_per_10k: float
    dice_drop: float | None
    hd95_growth: float | None = None
    violation: str
    trials: tuple[TrialRecord, ...]
    final: tuple[FinalRecord, ...]
    skipped: int
    search_seconds: float
