"""Accuracy of parts of the images: by the size of the object, and by what groups.csv says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseg.data.groups import places_of
from edgeseg.metrics.counts import dice_from_counts
from edgeseg.metrics.paired import SIZES, thirds_of

from ..report import Report

BY_SIZE = (
    "Mean Dice of the images in each third by the number of true foreground pixels, and its change "
    "to the FP32 reference."
)
BY_GROUP = "Mean Dice of each group's images, and its change to the FP32 reference."
Strata = Mapping[str, Sequence[int]]  # places of images by the name of their part


def strata_sections(reports: Sequence[Report]) -> str:
    """A table by size, and one for each column of groups."""
    sections = []
    for report in reports:
        counts = [row["per_image"]["counts"] for row in report.reference if row.get("per_image")]
        if counts and len(counts[0]) >= len(SIZES):
            sizes = thirds_by_size(np.asarray(counts[0], np.int64))
            sections.append(_section(report, "size of the object", BY_SIZE, sizes))
        for column, values in (report.data.get("groups") or {}).items():
            sections.append(_section(report, column, BY_GROUP, places_of(values)))
    return "".join(sections)


def thirds_by_size(counts: NDArray[np.int64]) -> dict[str, list[int]]:
    """Places of the images with the smallest, middle and largest true foreground.

    Args:
        counts: (images, classes, 3), see `edgeseg.metrics.counts`.
    """
    true_pixels = (counts[:, 1:, 0] + counts[:, 1:, 2]).sum(-1)
    return thirds_of(true_pixels)


def _section(report: Report, title: str, text: str, strata: Strata) -> str:
    body = "".join(_rows(report, strata))
    if not body:
        return ""
    heads = ("artefact", *(f"{name} ({len(places)})" for name, places in strata.items()))
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in heads)
    label = escape(f"By {title}", True)
    return (
        f"<h2>{label}</h2><p>{text}</p>"
        f'<div class="scroll" tabindex="0" role="region" aria-label="{label}">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _rows(report: Report, strata: Strata) -> list[str]:
    references = {row["reference_key"]: row.get("per_image") for row in report.reference}
    made = []
    for row in report.rows:
        ours, theirs = row.get("per_image"), references.get(row["reference_key"])
        if row["is_baseline"] or row.get("is_sweep") or not ours or not theirs:
            continue
        own, other = _dice(ours), _dice(theirs)
        cells = []
        for places in strata.values():
            score, change = own[list(places)].mean(), (own - other)[list(places)].mean()
            cells.append(f'<td>{score:.4f} <span class="range">({change:+.4f})</span></td>')
        made.append(f'<tr><th scope="row">{escape(row["name"])}</th>{"".join(cells)}</tr>')
    return made


def _dice(sample: Mapping[str, Any]) -> NDArray[np.float64]:
    """Of each image, mean over the foreground classes."""
    counts = np.asarray(sample["counts"], np.int64)
    return np.asarray(dice_from_counts(counts[:, 1:]).mean(-1), np.float64)
