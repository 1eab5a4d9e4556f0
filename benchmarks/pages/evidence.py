"""What a report says of one bundle, for the bundle's release."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseg.data.groups import places_of
from edgeseg.errors import UsageError
from edgeseg.metrics.bootstrap import bootstrap_intervals
from edgeseg.metrics.clusters import Clusters
from edgeseg.metrics.counts import dice_from_counts
from edgeseg.metrics.paired import SIZES

from ..report import Report, without_image_of_margins, without_samples
from .strata import thirds_by_size

BY_SIZE = "size of the object"
NAMES_OF_IMAGES = ("names", "groups")


def rows_of(report: Report, identity: str, name: str) -> tuple[list[dict[str, Any]], str]:
    """The rows of a bundle, that on the run's own number of threads first.

    Args:
        identity: Of the bundle, all digits.
        name: Of the bundle, by which older reports know it.

    Returns:
        The rows, and by what they were found: "bundle_sha256" or "name".

    Raises:
        UsageError: The report has none.
    """
    rows = [row for row in report.rows if row.get("bundle_sha256") == identity]
    how = "bundle_sha256"
    if not rows:
        how = "name"
        rows = [row for row in report.rows if row["name"] == name and not row.get("bundle_sha256")]
    if not rows:
        known = ", ".join(
            f"{row['name']} ({(row.get('bundle_sha256') or 'no identity')[:12]})"
            for row in report.rows
        )
        raise UsageError(
            f"The report measures no bundle {name} of the identity {identity[:12]}; it has {known}."
            " Measure this bundle with edgeseg bench --json-file, and give that file."
        )
    return sorted(rows, key=lambda row: bool(row.get("is_sweep"))), how


def evidence_of(report: Report, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """All that is told of the bundle's measurement, without names and values of single images.

    Args:
        rows: Of the bundle, see `rows_of`.
    """
    first = rows[0]
    names = {str(row.get("baseline", {}).get("name")) for row in rows if row.get("baseline")}
    reference = [r for r in report.reference if r["reference_key"] == first.get("reference_key")]
    return {
        "environment": report.environment,
        "protocol": report.protocol,
        "data": _data(report),
        "reference": [_told(row) for row in reference],
        "baselines": [_told(row) for row in report.rows if row["name"] in names - {first["name"]}],
        "rows": [_told(row) for row in rows],
        "subgroups": subgroups_of(report, first, reference),
    }


def _data(report: Report) -> dict[str, Any]:
    """What is told of the images: not which of them belong together, but how many do."""
    told = {name: part for name, part in report.data.items() if name not in NAMES_OF_IMAGES}
    if told.get("clusters"):
        told["clusters"] = {**told["clusters"], "of_images": None}
    return told


def _told(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row without single images, and without the path that it was measured at."""
    left_out = ("key", "reference_key", "worst_image")
    return {name: part for name, part in without_samples(row).items() if name not in left_out}


def subgroups_of(
    report: Report, row: Mapping[str, Any], reference: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Mean Dice of parts of the images, by size and by what groups.csv says, with intervals.

    Returns:
        For each grouping its title and its parts; empty where single images are not known.
    """
    ours = row.get("per_image")
    theirs = reference[0].get("per_image") if reference else None
    if not ours or not theirs:
        return []
    counts = np.asarray(theirs["counts"], np.int64)
    groupings: dict[str, Mapping[str, Sequence[int]]] = {}
    if len(counts) >= len(SIZES):
        groupings[BY_SIZE] = thirds_by_size(counts)
    for column, values in (report.data.get("groups") or {}).items():
        groupings[column] = places_of(values)
    own, other = _dice_of(ours), _dice_of(theirs)
    clusters = Clusters.from_json(report.data.get("clusters"))

    def part(name: str, at: Sequence[int]) -> dict[str, Any]:
        belonging = None if clusters is None else clusters.only(at)
        return _part(name, own[list(at)], other[list(at)], belonging)

    return [
        {"title": title, "parts": [part(name, at) for name, at in places.items()]}
        for title, places in groupings.items()
    ]


def _dice_of(sample: Mapping[str, Any]) -> NDArray[np.float64]:
    """Of each image, mean over the foreground classes."""
    counts = np.asarray(sample["counts"], np.int64)
    return np.asarray(dice_from_counts(counts[:, 1:]).mean(-1), np.float64)


def _part(
    name: str,
    own: NDArray[np.float64],
    other: NDArray[np.float64],
    clusters: Clusters | None,
) -> dict[str, Any]:
    """One part: Dice and its change to the reference's, each with its 95 % interval."""

    def statistic(weights: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
        means = {"dice": own, "delta": own - other}
        return {key: weights @ values / weights.sum(1) for key, values in means.items()}

    intervals = bootstrap_intervals(len(own), statistic, clusters)
    return {
        "name": name,
        "images": len(own),
        "independent": len(own) if clusters is None else clusters.count,
        "dice_image": float(own.mean()),
        "dice_image_ci95": list(intervals["dice"]),
        "delta_dice_image": float((own - other).mean()),
        "delta_dice_image_ci95": list(intervals["delta"]),
    }


def without_pictures(report: Report) -> Report:
    """The same for a page that others may see: without pictures and names of single images."""
    rows = [{**without_image_of_margins(row), "worst_image": None} for row in report.rows]
    data = {name: part for name, part in report.data.items() if name != "names"}
    return Report(
        report.environment, data, report.reference, rows, report.failures, report.protocol
    )
