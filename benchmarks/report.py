"""What a benchmark reports: a row for each participant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from statistics import median
from typing import Any, Self

import numpy as np

from edgeseg.errors import UsageError
from edgeseg.lazy import require

from .accuracy import Accuracy
from .latency import paired_speedup, quick_ratio, summarize
from .participants import Participant
from .settings import BenchSettings
from .workers.messages import Phases

MEGABYTE = 1e6
# Raised when what is measured, or how, changes: reports of two versions are not compared.
PROTOCOL_VERSION = 1
# What a comparison of reports needs, and nobody reads in a manifest.
SAMPLES = ("per_image", "round_medians_ms", "quick_ratio", "latency_percentiles_ms")
# Columns of CSV files: a name, and where a row has it.
COLUMNS = {
    **{f"latency_{key}_ms": ("latency_ms", key) for key in ("p50", "p90", "p99", "mean")},
    **{name: (name,) for name in ("fps", "speedup", "peak_rss_mb", "artifact_bytes", "load_ms")},
    "dice_pooled": ("accuracy", "dice_pooled"),
    "delta_dice_pooled": ("delta", "dice_pooled"),
    "flips_per_10k": ("flips_per_10k",),
}
# Keys of rows before HD95 was a metric among others.
OLDER_KEYS = {"relative_change": "hd95_growth", "relative_change_ci95": "hd95_growth_ci95"}


@dataclass(frozen=True)
class Failure:
    """A bundle or an external toolkit that has no row.

    Attributes:
        name: As its row would have it.
        model, target: Likewise; the target of a toolkit is the toolkit.
        reason: What failed, and what to do next.
    """

    name: str
    model: str
    target: str
    reason: str

    @classmethod
    def of(cls, participant: Participant, error: Exception) -> Self:
        return cls(participant.name, participant.model, participant.target, str(error))


@dataclass(frozen=True)
class Report:
    """Attributes:
    environment: Machine, versions, date.
    data: Which images.
    reference: Accuracy of the FP32 reference, for each model.
    rows: One for each participant, baselines first.
    failures: External toolkits that do not convert or run the network.
    protocol: How it was measured; empty in reports before that was told.
    """

    environment: dict[str, Any]
    data: dict[str, Any]
    reference: list[dict[str, Any]]
    rows: list[dict[str, Any]]
    failures: list[Failure] = field(default_factory=list)
    protocol: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        """Names of the rows; `to_json` has all of it."""
        return f"Report({', '.join(str(row.get('name')) for row in self.rows)})"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def to_pandas(self) -> Any:
        """A `pandas.DataFrame` with a line for each artefact.

        Nested values have a column each: `latency_ms.p50`, `accuracy.dice_pooled`.

        Raises:
            MissingBackendError: pandas is not installed.
        """
        pandas = require("pandas", purpose="Report.to_pandas")
        return pandas.json_normalize(self.rows).set_index("name")

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Self:
        """Read what `to_json` gave, today or before metrics came from one table.

        Raises:
            UsageError: It is something else.
        """
        try:
            return cls(
                dict(record["environment"]),
                dict(record["data"]),
                [upgraded_row(row) for row in record["reference"]],
                [upgraded_row(row) for row in record["rows"]],
                [Failure(**failure) for failure in record.get("failures", ())],
                dict(record.get("protocol", {})),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            is_profile = isinstance(record, Mapping) and "layers" in record
            what = "a profile" if is_profile else "no report of a benchmark"
            raise UsageError(
                f"This is {what} ({type(error).__name__}: {error}). Take the file that edgeseg "
                "bench --json-file has written, unchanged."
            ) from error


def upgraded_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as it is written today: HD95 is a metric among others, and a reference has a key."""
    upgraded = {name: value for name, value in row.items() if not name.startswith("hd95_")}
    upgraded.setdefault("reference_key", row["model"])
    if row.get("hd95_px") is not None:
        upgraded["accuracy"] = {**row["accuracy"], "hd95_px": row["hd95_px"]}
    for name, older in OLDER_KEYS.items():
        if older in row:
            upgraded[name] = {} if row[older] is None else {"hd95_px": row[older]}
    return upgraded


def column_values(row: Mapping[str, Any] | None) -> list[Any]:
    """What a row holds, in the order of `COLUMNS`; an empty text where it holds nothing."""
    values = []
    for place in COLUMNS.values():
        value: Any = row
        for key in place:
            value = (value or {}).get(key)
        values.append("" if value is None else value)
    return values


def without_samples(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row without the values of single images and rounds, and without a picture."""
    kept = {name: value for name, value in row.items() if name not in SAMPLES}
    if kept.get("worst_image"):
        worst = kept["worst_image"]
        kept["worst_image"] = {name: worst[name] for name in worst if name != "picture"}
    return without_image_of_margins(kept)


def without_image_of_margins(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row whose verdicts do not name the worst image: it may be the name of a patient."""
    if not row.get("margins"):
        return dict(row)
    return {**row, "margins": [{**verdict, "image": ""} for verdict in row["margins"]]}


@dataclass
class Timing:
    """Attributes:
    load_ms, first_ms: Opening the artefact, and its first inference.
    peak_rss_bytes: Most memory beyond that of the process without the artefact.
    warm_up: As `WarmUp.to_json` gives it.
    block_size: Inferences in a block.
    blocks: Latencies in milliseconds; filled when all participants have taken their turns.
    waits: Of each block the time that the process waited for its core, over that of the block;
        empty where the system does not tell.
    phases: Parts of a prediction; None where they were not timed.
    sustained: See `edgeseg.benchmarks.sustained.summarize_run`; None where that was not asked for.
    """

    load_ms: float
    first_ms: float
    peak_rss_bytes: int
    warm_up: dict[str, Any]
    block_size: int
    blocks: list[list[float]]
    waits: list[float] = field(default_factory=list)
    phases: Phases | None = None
    sustained: dict[str, Any] | None = None

    @property
    def waited_share(self) -> float | None:
        """Mean of `waits`; None where the system does not tell."""
        return float(np.mean(self.waits)) if self.waits else None


def describe_row(
    participant: Participant,
    settings: BenchSettings,
    accuracy: Accuracy | None,
    timing: Timing | None,
    baseline_name: str,
    baseline: Timing | None,
) -> dict[str, Any]:
    """The row of one participant; what was not measured is None.

    Args:
        accuracy: None where the device gave no masks.
        timing, baseline: None where one was not timed, as where its device is elsewhere.
    """
    return (
        _what_was_measured(participant, settings)
        | _accuracy_of(accuracy)
        | _timing_of(participant, timing)
        | _speedup_of(baseline_name, timing, baseline)
    )


def _what_was_measured(participant: Participant, settings: BenchSettings) -> dict[str, Any]:
    return {
        "key": participant.key,
        "reference_key": participant.reference_key,
        "name": participant.name,
        "model": participant.model,
        "target": participant.target,
        "precision": participant.precision,
        "is_baseline": participant.is_baseline,
        "threads": participant.threads or settings.threads,
        "is_sweep": bool(participant.threads),
        "batch": 1,
        "input_size": [participant.inputs.height, participant.inputs.width],
        "artifact_bytes": participant.artifact_bytes,
        "stand_in": participant.fallback_runtime,
        "device": participant.device,
        "toolkit": participant.toolkit,
        "bundle_sha256": participant.bundle_sha256 or None,
    }


def _accuracy_of(accuracy: Accuracy | None) -> dict[str, Any]:
    if accuracy is None:
        return dict.fromkeys(field.name for field in fields(Accuracy))
    return {field.name: getattr(accuracy, field.name) for field in fields(Accuracy)}


def _timing_of(participant: Participant, timing: Timing | None) -> dict[str, Any]:
    if timing is None:
        names = (
            "runs", "warm_up", "latency_ms", "fps", "peak_rss_mb", "load_ms", "first_ms",
            "round_medians_ms", "latency_percentiles_ms", "phases_ms", "waited_share", "sustained",
        )  # fmt: skip
        return dict.fromkeys(names)
    latency: dict[str, Any] = summarize(timing.blocks).to_json()
    runs = sum(len(block) for block in timing.blocks)
    values = np.concatenate([np.asarray(block) for block in timing.blocks])
    fps = 1e3 / latency["mean"]
    if participant.runner.times_blocks:
        # Means of blocks hide how far single inferences spread.
        latency.update(p90=None, p99=None)
        runs *= timing.block_size
    return {
        "runs": runs,
        "warm_up": timing.warm_up,
        "latency_ms": latency,
        "fps": fps,
        "peak_rss_mb": timing.peak_rss_bytes / MEGABYTE,
        "waited_share": timing.waited_share,
        "phases_ms": describe_phases(timing.phases),
        "sustained": timing.sustained,
        "load_ms": timing.load_ms,
        "first_ms": timing.first_ms,
        "round_medians_ms": [float(median(block)) for block in timing.blocks],
        # Of all inferences, at 0, 2, ..., 100 percent.
        "latency_percentiles_ms": np.percentile(values, np.arange(0, 101, 2)).tolist(),
    }


def describe_phases(phases: Phases | None) -> dict[str, float] | None:
    """Median time of each part of a prediction, by its name: "preprocess", ..."""
    if phases is None:
        return None
    return {
        name.removesuffix("_ms"): float(median(values)) for name, values in asdict(phases).items()
    }


def _speedup_of(
    baseline_name: str, timing: Timing | None, baseline: Timing | None
) -> dict[str, Any]:
    if timing is None or baseline is None:
        return dict.fromkeys(("baseline", "speedup", "speedup_ci95", "quick_ratio"))
    speedup, interval = paired_speedup(timing.blocks, baseline.blocks)
    ratio, without = quick_ratio(timing.blocks, baseline.blocks)
    return {
        "baseline": {
            "name": baseline_name,
            "latency_ms_p50": summarize(baseline.blocks).p50,
        },
        "speedup": speedup,
        "speedup_ci95": list(interval),
        "quick_ratio": {
            "log": ratio,
            "without": without,
            "waited": max(timing.waited_share or 0.0, baseline.waited_share or 0.0),
        },
    }
