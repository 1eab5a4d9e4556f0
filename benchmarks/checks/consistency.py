"""Whether the figures of a report fit together: a report that contradicts itself was changed.

What follows from other figures of the report is computed again: scores, their intervals and flips
from the values of single images, changes from two scores, the speed-up from the medians of rounds.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseg.data.groups import PATIENT
from edgeseg.errors import UsageError
from edgeseg.metrics.agreement import PER
from edgeseg.metrics.bootstrap import Interval
from edgeseg.metrics.clusters import Clusters
from edgeseg.metrics.metric import Metric
from edgeseg.metrics.scores import MetricSet, ScoreTable
from edgeseg.metrics.table import METRICS, find_metric

from ..latency import paired_speedup
from ..report import Report
from .figures import TAKE

ROUNDING = 1e-6  # of figures as they are written, relative to those above 1
OTHER_DRAWS = 0.1  # of an interval's width: another version may draw other resamples
PERCENTILES = ("p50", "p90", "p99")
PERCENTILES_GIVE = "latency_percentiles_ms give"
PERCENT_PLACES = 51  # 0, 2, ..., 100 percent
IMAGES = "the single images"


@dataclass(frozen=True)
class Measured:
    """What a bundle's rows have to say of it.

    Attributes:
        model, target, precision: By name.
        input_size: (height, width).
        artifact_bytes: Size of the artefact.
        limits: State of its limits; None where they were not judged.
    """

    model: str
    target: str
    precision: str
    input_size: tuple[int, int]
    artifact_bytes: int
    limits: str | None = None


class ContradictionError(ValueError):
    """Two figures that do not fit. `str` says which, without a row's name."""


def require_own(
    rows: Iterable[Mapping[str, Any]], measured: Measured, places: Collection[str] = ()
) -> None:
    """Refuse rows that say of a bundle what it is not; what they do not say is not asked for.

    Args:
        places: Attributes of `measured` that count, all where none is named.

    Raises:
        UsageError: Naming the place, and what the bundle says.
    """
    facts = {**vars(measured), "input_size": [*measured.input_size]}
    facts = {place: fact for place, fact in facts.items() if place in (places or facts)}
    for row in rows:
        told = {**row, "limits": (row.get("limits") or {}).get("state")}
        for place, fact in facts.items():
            if told.get(place) is not None and told[place] != fact:
                raise _refusal(row, f"{place} is {told[place]!r:.80}, and the bundle's is {fact}")


def require_consistent(report: Report) -> None:
    """Refuse a report whose figures contradict each other.

    Its form and the range of its figures are those that `require_form` and `require_possible` ask
    for.

    Raises:
        UsageError: Naming the row, the figure, and what it should be.
    """
    try:
        clusters = _clusters_of(report)
    except ContradictionError as error:
        raise UsageError(f"The report contradicts itself: {error}. {TAKE}") from error
    references: dict[str, Mapping[str, Any]] = {}
    for row in report.reference:
        if row["reference_key"] in references:
            raise _refusal(row, "it is there twice (reference_key)")
        references[row["reference_key"]] = row
    for row in (*report.reference, *report.rows):
        reference = references.get(row["reference_key"])
        reference = None if reference is row else reference
        try:
            _check_scores(row, reference, report.data, clusters)
            _check_times(row, report.protocol)
            if row.get("speedup") is not None:
                _check_speedup(row, report)
        except ContradictionError as error:
            raise _refusal(row, str(error)) from error


def _refusal(row: Mapping[str, Any], why: str) -> UsageError:
    name = row.get("name") or f"the reference of {row.get('model')}"
    return UsageError(f"The measurement of {name!s:.80} contradicts itself: {why}. {TAKE}")


def _clusters_of(report: Report) -> Clusters | None:
    """What the images belong to, where all that is told of each image is told of as many.

    What a bundle holds of its measurements tells no single image, nor what each belongs to.
    """
    data = report.data
    images = data["images"]
    if data.get("names"):
        _require_as_many("names", data["names"], images)
    for column, values in (data.get("groups") or {}).items():
        _require_as_many(f"groups.{column}", values, images)
    if PATIENT in (data.get("groups") or {}):
        raise ContradictionError(f"groups.{PATIENT} would name patients, and is no grouping")
    told = data.get("clusters")
    if told is None:
        return None
    if told.get("of_images") is None:
        if any(row.get("per_image") for row in (*report.reference, *report.rows)):
            raise ContradictionError("clusters.of_images is missing beside single images")
        return None
    _require_as_many("clusters.of_images", told["of_images"], images)
    try:
        clusters = Clusters.from_json(told)
    except ValueError as error:
        raise ContradictionError(f"clusters are none: {error}") from error
    expected = clusters.to_json() if clusters else {}
    for name in ("count", "text"):
        if told[name] != expected[name]:
            raise ContradictionError(
                f"clusters.{name} is {told[name]!r:.80}, and of_images give {expected[name]!r}"
            )
    return clusters


def _require_as_many(what: str, values: Sequence[Any], images: int) -> None:
    if len(values) != images:
        raise ContradictionError(f"{what} holds {len(values)} of {images} images")


def _require_equal(what: str, value: float | None, expected: float, source: str) -> None:
    slack = ROUNDING * max(1.0, abs(expected))
    if value is not None and not math.isclose(value, expected, rel_tol=0, abs_tol=slack):
        raise ContradictionError(f"{what} is {value:g}, and {source} give {expected:g}")


def _require_near(what: str, told: Sequence[float] | None, expected: Interval) -> None:
    low, high = expected
    slack = OTHER_DRAWS * (high - low) + ROUNDING * max(1.0, abs(low), abs(high))
    if told and max(abs(told[0] - low), abs(told[1] - high)) > slack:
        raise ContradictionError(
            f"{what} is {told[0]:g}..{told[1]:g}, and {IMAGES} give {low:g}..{high:g}"
        )


def _check_scores(
    row: Mapping[str, Any],
    reference: Mapping[str, Any] | None,
    data: Mapping[str, Any],
    clusters: Clusters | None,
) -> None:
    """Scores, changes, their intervals and flips against each other and those of single images.

    Args:
        reference: The row's FP32 reference; None of a reference, or where it is not known.
    """
    if row.get("accuracy") is None:
        return
    if reference is not None:
        _check_changes(row, reference["accuracy"])
    if not row.get("per_image"):
        return
    ours = _table_of(row, data["images"], clusters)
    flips = float(np.mean(row["per_image"]["flips_per_10k"]))
    _require_equal("flips_per_10k", row.get("flips_per_10k"), flips, IMAGES)
    for name, score in ours.scores().items():
        _require_equal(f"accuracy of {name}", row["accuracy"].get(name), score, IMAGES)
    found = {"accuracy_ci95": ours.intervals()}
    if reference is not None and reference.get("per_image"):
        _check_flips(row["per_image"], reference["per_image"])
        theirs = _table_of(reference, data["images"], clusters)
        if theirs.metrics == ours.metrics:
            found["delta_ci95"] = ours.difference_intervals(theirs)
            found["relative_change_ci95"] = ours.relative_change_intervals(theirs)
    for key, intervals in found.items():
        for name, interval in intervals.items():
            _require_near(f"{key} of {name}", (row.get(key) or {}).get(name), interval)


def _check_flips(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> None:
    """Both have one truth, and no more pixels are found or right than flips can have changed."""
    own, other = (np.asarray(one["counts"], np.int64) for one in (ours, theirs))
    if own.shape != other.shape:
        raise ContradictionError("per_image counts have another shape than the reference's")
    difference = own - other  # (images, classes, 3): right, found too much, missed
    flips = np.asarray(ours["flips_per_10k"], np.float64) / PER * own[:, :, :2].sum((1, 2))
    found = np.abs(difference[:, :, :2].sum(-1)).sum(-1) / 2
    changed = np.abs(difference[:, :, 0].sum(-1))
    has_other_truth = (difference[:, :, [0, 2]].sum(-1) != 0).any(-1)
    for place in range(len(own)):
        if has_other_truth[place]:
            raise ContradictionError(
                f"per_image counts of image {place} have another true area than the reference's"
            )
        if max(found[place], changed[place]) > flips[place] + 0.5:
            raise ContradictionError(
                f"per_image counts of image {place} differ from the reference's by more than the "
                f"{flips[place]:.0f} pixels that flips_per_10k tells"
            )
    for name, values in ours["values"].items():
        pairs = zip(values, theirs["values"].get(name, values), flips, strict=True)
        for place, (value, expected, count) in enumerate(pairs):
            if count < 0.5:
                what = f"per_image {name} of image {place}, of which no pixel flips,"
                _require_equal(what, value, expected, "the reference's values")


def _check_changes(row: Mapping[str, Any], reference: Mapping[str, float]) -> None:
    """Changes against the two scores that they lie between."""
    for name, theirs in reference.items():
        if name not in row["accuracy"]:
            continue
        ours = row["accuracy"][name]
        two = f"{ours:g} and the reference's {theirs:g}"
        _require_equal(f"delta of {name}", row["delta"].get(name), ours - theirs, two)
        if theirs:
            change = row["relative_change"].get(name)
            _require_equal(f"relative_change of {name}", change, ours / theirs - 1, two)


def _table_of(row: Mapping[str, Any], images: int, clusters: Clusters | None) -> ScoreTable:
    """Scores as single images give them, of the metrics that are known here."""
    sample = row["per_image"]
    told = sample["values"]
    alike = {"counts": sample["counts"], "flips_per_10k": sample["flips_per_10k"], **told}
    for name, values in alike.items():
        _require_as_many(f"per_image {name}", values, images)
    counts = _counts_of(sample, row.get("input_size"))
    diagonal = math.hypot(*row["input_size"]) if row.get("input_size") else math.inf
    for name, values in told.items():
        if name in METRICS and find_metric(name).unit == "px" and max(values) > diagonal:
            raise ContradictionError(
                f"per_image {name} reaches {max(values):g}, and the image's diagonal is "
                f"{diagonal:.1f}"
            )
    known = [find_metric(name) for name in row["accuracy"] if name in METRICS]
    chosen = [one for one in known if one.from_counts is not None or one.name in told]
    values = {one.name: _values_of(one, counts, told) for one in chosen if not one.is_pooled}
    return ScoreTable(MetricSet(tuple(one.name for one in chosen)), counts, values, clusters)


def _counts_of(sample: Mapping[str, Any], size: Sequence[int] | None) -> NDArray[np.int64]:
    """(images, classes, 3); of each image they add up to its pixels, found and true."""
    if len({len(image) for image in sample["counts"]}) != 1 or not sample["counts"][0]:
        raise ContradictionError("per_image counts have another number of classes for each image")
    counts = np.asarray(sample["counts"], np.int64)
    for what, columns in (("found", (0, 1)), ("true", (0, 2))):
        totals = counts[:, :, columns].sum((1, 2))
        pixels = size[0] * size[1] if size else totals[0]
        if (totals != pixels).any():
            place = int((totals != pixels).argmax())
            raise ContradictionError(
                f"per_image counts of image {place} have {totals[place]} {what} pixels, and the "
                f"input has {pixels}"
            )
    return counts


def _values_of(
    metric: Metric, counts: NDArray[np.int64], told: Mapping[str, Sequence[float]]
) -> NDArray[np.float64]:
    """Of each image: of the counts, which those that are told have to equal, or as told."""
    if metric.from_counts is None:
        return np.asarray(told[metric.name], np.float64)
    values = np.asarray(metric.from_counts(counts), np.float64)
    for place, value in enumerate(told.get(metric.name, ())):
        what = f"per_image {metric.name} of image {place}"
        _require_equal(what, value, values[place], "its counts")
    return values


def _check_times(row: Mapping[str, Any], protocol: Mapping[str, Any]) -> None:
    latency = row.get("latency_ms")
    if not latency:
        return
    told = [(name, latency[name]) for name in PERCENTILES if latency.get(name) is not None]
    for (low, smaller), (high, larger) in pairwise(told):
        if smaller > larger:
            raise ContradictionError(f"latency_ms {low} is {smaller:g}, above {high}, {larger:g}")
    _require_equal("fps", row.get("fps"), 1e3 / latency["mean"], "the mean of latency_ms")
    if (row.get("waited_share") or 0) > row["threads"]:
        raise ContradictionError(f"waited_share is {row['waited_share']:g} of its time")
    if not row.get("is_sweep") and protocol.get("threads") not in (None, row["threads"]):
        raise ContradictionError(
            f"threads is {row['threads']}, and the protocol's is {protocol['threads']}"
        )
    every = row.get("latency_percentiles_ms")
    if every is not None:
        _check_percentiles(row, latency, every)


def _check_percentiles(
    row: Mapping[str, Any], latency: Mapping[str, float | None], every: Sequence[float]
) -> None:
    """The summary and the rounds against the percentiles 0, 2, ..., 100."""
    if len(every) != PERCENT_PLACES:
        raise ContradictionError(f"latency_percentiles_ms has {len(every)} of {PERCENT_PLACES}")
    if any(before > after for before, after in pairwise(every)):
        raise ContradictionError("latency_percentiles_ms fall")
    for name, place in (("p50", 25), ("p90", 45)):
        _require_equal(
            f"latency_ms {name}", latency.get(name), every[place], "latency_percentiles_ms"
        )
    within = [("p99", latency.get("p99"), every[-2]), ("mean", latency["mean"], every[0])]
    within += [("a round median", value, every[0]) for value in row.get("round_medians_ms") or ()]
    for name, value, least in within:
        slack = ROUNDING * max(1.0, every[-1])
        if value is not None and not least - slack <= value <= every[-1] + slack:
            raise ContradictionError(
                f"latency_ms {name} is {value:g}, and {PERCENTILES_GIVE} {least:g}..{every[-1]:g}"
            )


def _check_speedup(row: Mapping[str, Any], report: Report) -> None:
    """The speed-up against the medians of the rounds that it was computed from.

    What a bundle holds of its measurements is its own row alone. The baseline of a bundle of
    another size may have the same name.
    """
    name, told = row["baseline"]["name"], row["baseline"]["latency_ms_p50"]
    others = report.rows if row["is_baseline"] else [one for one in report.rows if one is not row]
    timed = [one for one in others if one["name"] == name and one.get("latency_ms")]
    if not timed and not report.reference:
        return
    if not timed:
        raise ContradictionError(f"the baseline is {name!r:.80}, and no row has that name")
    baseline = min(timed, key=lambda one: abs(float(one["latency_ms"]["p50"]) - told))
    median = baseline["latency_ms"]["p50"]
    _require_equal("baseline latency_ms_p50", told, median, f"the row of {baseline['name']}")
    ours, theirs = (one.get("round_medians_ms") for one in (row, baseline))
    if not ours or not theirs or len(ours) != len(theirs):
        raise ContradictionError("round_medians_ms of it and its baseline are not as many")
    speedup, interval = paired_speedup([[one] for one in ours], [[one] for one in theirs])
    _require_equal("speedup", row["speedup"], speedup, "round_medians_ms")
    for told_end, end in zip(row["speedup_ci95"], interval, strict=True):
        _require_equal("an end of speedup_ci95", told_end, end, "round_medians_ms")
