"""What a release tells of a report."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from bench_reports import IMAGES, report_of

from edgeseg.benchmarks.pages.evidence import evidence_of, rows_of, subgroups_of, without_pictures
from edgeseg.benchmarks.report import Report
from edgeseg.errors import UsageError
from edgeseg.metrics.clusters import VOLUMES, Clusters

NAME = "net-intel-fp32"


def with_reference(report: Report, **data: Any) -> Report:
    """The same with a reference whose masks are those of another artefact."""
    other = report_of(lost_pixels=0).rows[1]
    return replace(
        report,
        reference=[{"reference_key": "k", "model": "net", "per_image": other["per_image"]}],
        data={**report.data, "names": [f"patient {i}" for i in range(IMAGES)], **data},
    )


def test_rows_are_found_by_identity_and_in_older_reports_by_name() -> None:
    report = report_of()
    assert rows_of(report, "a" * 64, NAME) == ([report.rows[1]], "name")
    known = replace(report, rows=[{**row, "bundle_sha256": "a" * 64} for row in report.rows[1:]])
    assert rows_of(known, "a" * 64, "another name")[1] == "bundle_sha256"
    with pytest.raises(UsageError, match=r"no bundle net-intel-fp32 of the identity bbbbbbbbbbbb"):
        rows_of(known, "b" * 64, NAME)  # the name alone is not enough where identities are known


def test_single_images_are_not_told() -> None:
    report = with_reference(report_of(lost_pixels=300))
    row = {**report.rows[1], "worst_image": {"name": "patient 7"}, "key": "/home/anna/bundle"}
    told = evidence_of(replace(report, rows=[report.rows[0], row]), [row])
    text = str(told)
    assert "patient" not in text
    assert "anna" not in text
    assert "per_image" not in text
    assert told["data"]["images"] == IMAGES
    assert "patient" not in str(without_pictures(replace(report, rows=[row])).to_json())


def test_parts_of_the_images_by_hand() -> None:
    """Four images in two groups, with true sizes 10, 20, 30, 40; the Dice is 2 * tp / 2 * size."""
    sizes, found = np.array([10, 20, 30, 40]), np.array([5, 10, 30, 40])

    def sample(hits: np.ndarray[Any, Any]) -> dict[str, Any]:
        missed = sizes - hits
        foreground = np.stack([hits, missed, missed], -1)
        return {"counts": np.stack([foreground * 0, foreground], 1).tolist()}

    row = {"per_image": sample(found)}
    reference = [{"per_image": sample(sizes)}]
    groups = {"skin": ["II", "VI", "II", "VI"]}
    report = Report({}, {"images": 4, "groups": groups}, [], [])
    by_size, by_skin = subgroups_of(report, row, reference)
    assert by_size["title"] == "size of the object"
    small, medium, large = by_size["parts"]
    assert (small["images"], medium["images"], large["images"]) == (2, 1, 1)
    assert small["dice_image"] == pytest.approx(0.5)
    assert small["delta_dice_image"] == pytest.approx(-0.5)
    assert small["dice_image_ci95"] == pytest.approx([0.5, 0.5])
    assert (medium["dice_image"], large["dice_image"]) == pytest.approx((1, 1))
    second, sixth = by_skin["parts"]
    assert (second["name"], sixth["name"]) == ("II", "VI")
    assert second["dice_image"] == pytest.approx(0.75)
    low, high = second["dice_image_ci95"]
    assert low == pytest.approx(0.5)
    assert high == pytest.approx(1.0)


def test_slices_of_a_volume_are_drawn_together() -> None:
    """Eight slices, four of each of two volumes: all of one volume's are 0.5, all others 1."""
    hits = np.array([5] * 4 + [10] * 4)
    missed = 10 - hits
    foreground = np.stack([hits, missed, missed], -1)
    counts = np.stack([foreground * 0, foreground], 1).tolist()
    row = {"name": "net", "per_image": {"counts": counts}}
    clusters = Clusters((0, 0, 0, 0, 1, 1, 1, 1), VOLUMES).to_json()
    data = {"images": 8, "groups": {"site": ["a"] * 8}}

    def part(**more: Any) -> dict[str, Any]:
        (part,) = subgroups_of(Report({}, {**data, **more}, [], []), row, [row])[-1]["parts"]
        return dict(part)

    together, alone = part(clusters=clusters), part()
    assert together["dice_image_ci95"] == pytest.approx([0.5, 1.0])
    assert alone["dice_image_ci95"][0] > 0.55
    assert (together["independent"], alone["independent"]) == (2, 8)
    told = evidence_of(Report({}, {**data, "clusters": clusters}, [], [row]), [row])
    assert told["data"]["clusters"]["of_images"] is None
    assert told["data"]["clusters"]["count"] == 2


def test_without_single_images_there_are_no_parts() -> None:
    report = report_of()
    assert subgroups_of(report, {**report.rows[1], "per_image": None}, report.reference) == []
    assert subgroups_of(report, report.rows[1], []) == []
