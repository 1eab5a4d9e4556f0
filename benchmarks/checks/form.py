"""The form of a report, place by place.

Whoever takes a report from a file looks at it with this, so that a place of another type is told by
its name. Places that are not stated here are kept and may hold anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from edgeseg.errors import UsageError

UNCHANGED = "Take the file that edgeseg bench --json-file has written, unchanged."
LARGEST = 1e15  # of anything that is counted or timed
# What a benchmark measures at once: where a row has one of them, it has the others.
TOGETHER = {
    "accuracy": ("accuracy_ci95", "delta", "delta_ci95", "relative_change", "flips_per_10k"),
    "latency_ms": ("runs", "fps"),
    "speedup": ("speedup_ci95", "baseline", "latency_ms"),
    "margins": ("accuracy",),
}
MOST_TOLD = 80  # characters of what a place holds

Figures = dict[str, float]
Ends = Annotated[list[float], Field(min_length=2, max_length=2)]
Size = Annotated[list[int], Field(min_length=2, max_length=2)]
Pixels = Annotated[int, Field(ge=0, le=2**40)]
Counts = list[list[Annotated[list[Pixels], Field(min_length=3, max_length=3)]]]
Intervals = dict[str, Ends | None]


class Part(BaseModel):
    """Base: numbers are no texts, and what is not stated may be there."""

    model_config = ConfigDict(extra="allow", strict=True)


class ClustersPart(Part):
    """See `edgeseg.metrics.clusters.Clusters.to_json`; a release leaves the images' own out."""

    kind: str
    count: int
    of_images: list[int] | None = None
    text: str


class DataPart(Part):
    """Which images; `names` and `groups` are in their order."""

    images: int
    folder: str
    splits: list[str] = []
    names: list[str] = []
    groups: dict[str, list[str]] | None = None
    clusters: ClustersPart | None = None


class EnvironmentPart(Part):
    """See `edgeseg.benchmarks.environment.describe_environment`."""

    date: str | None = None
    cpu: str | None = None
    versions: dict[str, str | None] | None = None


class ImagesPart(Part):
    """Values of each image, in their order; counts are (images, classes, 3)."""

    counts: Counts
    values: dict[str, list[float]]
    flips_per_10k: list[float]


class WorstPart(Part):
    """The image that lost most."""

    name: str
    delta_dice: float
    flips_per_10k: float
    picture: str = ""


class BaselinePart(Part):
    """What the speed-up is over."""

    name: str
    latency_ms_p50: float


class QuickPart(Part):
    """See `edgeseg.benchmarks.latency.quick_ratio`."""

    log: float
    without: list[float]
    waited: float


class SustainedPart(Part):
    """See `edgeseg.benchmarks.sustained.summarize_run`."""

    seconds: float
    medians_ms: list[float]


class LimitsPart(Part):
    """What the bundle says of its limits."""

    state: str
    images: int
    is_accepted: bool


class MarginPart(Part):
    """See `edgeseg.metrics.limits.MarginVerdict`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    metric: str
    allowed: float
    change: float
    interval: Ends
    verdict: str
    images: int
    images_needed: int | None = None
    unit: str = ""
    part: str = ""
    image: str = ""


class ReferencePart(Part):
    """The FP32 reference of a model."""

    reference_key: str
    model: str
    target: str = ""
    precision: str = ""
    accuracy: Figures
    accuracy_ci95: Intervals
    per_image: ImagesPart | None = None


class PhasesPart(Part):
    """Median times of a prediction's parts."""

    preprocess: float
    inference: float
    postprocess: float


class LatencyPart(Part):
    """Percentiles are None where only means of blocks were timed."""

    p50: float
    p90: float | None = None
    p99: float | None = None
    mean: float


class RowPart(Part):
    """One artefact; what was not measured is None, what an older report lacks as well."""

    name: str
    model: str
    target: str
    precision: str
    reference_key: str
    is_baseline: bool
    is_sweep: bool = False
    threads: int
    batch: int | None = None
    input_size: Size | None = None
    artifact_bytes: int | None = None
    stand_in: str | None = None
    device: str | None = None
    toolkit: str | None = None
    bundle_sha256: str | None = None
    accuracy: Figures | None = None
    accuracy_ci95: Intervals | None = None
    delta: Figures | None = None
    delta_ci95: Intervals | None = None
    relative_change: Figures | None = None
    relative_change_ci95: Intervals | None = None
    flips_per_10k: float | None = None
    worst_image: WorstPart | None = None
    per_image: ImagesPart | None = None
    runs: int | None = None
    warm_up: dict[str, Any] | None = None
    latency_ms: LatencyPart | None = None
    fps: float | None = None
    peak_rss_mb: float | None = None
    waited_share: float | None = None
    phases_ms: PhasesPart | None = None
    sustained: SustainedPart | None = None
    load_ms: float | None = None
    first_ms: float | None = None
    round_medians_ms: list[float] | None = None
    latency_percentiles_ms: list[float] | None = None
    baseline: BaselinePart | None = None
    speedup: float | None = None
    speedup_ci95: Ends | None = None
    quick_ratio: QuickPart | None = None
    limits: LimitsPart | None = None
    margins: list[MarginPart] | None = None

    @model_validator(mode="after")
    def _comes_together(self) -> Self:
        for name, others in TOGETHER.items():
            missing = [other for other in others if getattr(self, other) is None]
            if getattr(self, name) not in (None, []) and missing:
                raise ValueError(f"{missing[0]} is missing beside {name}")
        return self


class ReportPart(Part):
    """All of it."""

    environment: EnvironmentPart
    data: DataPart
    reference: list[ReferencePart]
    rows: list[RowPart] = Field(min_length=1)
    protocol: dict[str, Any] = {}


def require_form(record: Any, what: str) -> None:
    """Refuse what is no report, or holds a value of another type anywhere.

    Args:
        record: As it was read from JSON.
        what: Whose it is, for the message.

    Raises:
        UsageError: Naming the first place that is wrong, and what it holds.
    """
    for place, number in _numbers(record):
        if not -LARGEST <= number <= LARGEST:  # nor NaN
            raise _refusal(what, place, number, "it is not a number that a measurement gives")
    try:
        ReportPart.model_validate(record)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "the whole"
        why = f"{first['msg'][:1].lower()}{first['msg'][1:]}"
        raise _refusal(what, place, first["input"], why) from error


def _refusal(what: str, place: str, holds: object, why: str) -> UsageError:
    told = repr(holds)
    told = told if len(told) <= MOST_TOLD else f"{told[:MOST_TOLD]}..."
    return UsageError(
        f"{what} is no report of a benchmark: {place} holds {told} ({why}). {UNCHANGED}"
    )


def _numbers(record: Any, place: str = "") -> Iterator[tuple[str, float]]:
    """Every number behind its place."""
    if isinstance(record, Mapping):
        parts: Iterable[tuple[object, Any]] = record.items()
    elif isinstance(record, list):
        parts = enumerate(record)
    else:
        if isinstance(record, int | float):
            yield place, record
        return
    for name, part in parts:
        yield from _numbers(part, f"{place}.{name}" if place else str(name))
