from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from edgeseg.benchmarks.margins import (
    build_limits_text,
    keeps_margins,
    require_scored,
    verdicts_of,
    with_verdicts,
)
from edgeseg.benchmarks.report import Report
from edgeseg.errors import UsageError
from edgeseg.metrics.clusters import Clusters
from edgeseg.metrics.limits import stated_limits

ROW: dict[str, Any] = {
    "name": "net",
    "is_baseline": False,
    "delta": {"dice_pooled": -0.001},
    "delta_ci95": {"dice_pooled": [-0.004, 0.002]},
    "relative_change": {"hd95_px": 0.01},
    "relative_change_ci95": {"hd95_px": [-0.01, 0.03]},
}
MARGINS = {"dice_pooled": 0.005, "hd95_px": 0.02, "iou_image": 0.1}


@pytest.fixture
def report() -> Report:
    baseline = {**ROW, "name": "plain", "is_baseline": True}
    return Report({}, {"images": 40}, [], [baseline, ROW])


def test_each_metric_is_judged_in_its_own_terms(report: Report) -> None:
    baseline, row = with_verdicts(report, MARGINS).rows
    assert "margins" not in baseline
    verdicts = {one.metric: one.verdict for one in verdicts_of(row)}
    assert verdicts == {"dice_pooled": "keeps", "hd95_px": "cannot tell"}
    assert all(one.images == 40 for one in verdicts_of(row))


def test_slices_of_a_few_volumes_tell_nothing(report: Report) -> None:
    clusters = Clusters(tuple(number // 10 for number in range(40)), "volumes")
    data = {**report.data, "clusters": clusters.to_json()}
    _, row = with_verdicts(replace(report, data=data), MARGINS).rows
    for one in verdicts_of(row):
        assert (one.verdict, one.images, one.unit) == ("cannot tell", 4, "volumes")
        assert "on 4 volumes; at least 8 are needed" in one.text


def test_what_cannot_be_told_is_not_kept(report: Report) -> None:
    judged = with_verdicts(report, MARGINS)
    assert keeps_margins(judged, {"dice_pooled": 0.005})
    assert not keeps_margins(judged, {"hd95_px": 0.02})
    assert keeps_margins(judged, {})


def test_a_margin_that_nothing_is_held_against_is_refused(report: Report) -> None:
    judged = with_verdicts(report, MARGINS)
    require_scored(judged, {"dice_pooled": 0.005})
    with pytest.raises(UsageError, match=r"iou_image.*Give masks, or name one of dice_p"):
        require_scored(judged, {"iou_image": 0.1})


def test_a_sweep_is_not_judged_again(report: Report) -> None:
    swept = replace(report, rows=[{**ROW, "is_sweep": True}])
    assert verdicts_of(with_verdicts(swept, MARGINS).rows[0]) == []


def test_older_reports_have_no_verdicts(report: Report) -> None:
    assert verdicts_of(report.rows[1]) == []
    without = replace(report, rows=[{**ROW, "delta": None, "delta_ci95": None}])
    assert verdicts_of(with_verdicts(without, {"dice_pooled": 0.1}).rows[0]) == []


def scored(flips: Sequence[float], hit: Sequence[int]) -> dict[str, Any]:
    """What single images gave: of 100 true pixels so many are found."""
    counts = [[[900, 100 - found, 0], [found, 0, 100 - found]] for found in hit]
    return {"counts": counts, "values": {}, "flips_per_10k": list(flips)}


def judged_by_images(hit: Sequence[int], flips: Sequence[float]) -> dict[tuple[str, str], str]:
    count = len(hit)
    reference = {"reference_key": "net", "per_image": scored([0.0] * count, [100] * count)}
    row = {**ROW, "reference_key": "net", "per_image": scored(flips, hit)}
    data = {"images": count, "names": [f"image{place}" for place in range(count)]}
    report = with_verdicts(Report({}, data, [reference], [row]), stated_limits({}))
    return {(one.metric, one.part): one.verdict for one in verdicts_of(report.rows[0])}


def test_images_are_judged_as_auto_judges_them() -> None:
    """One of 30 images loses 0.13 of Dice: the mean cannot tell, the worst image can."""
    verdicts = judged_by_images([100] * 29 + [77], [0.0] * 29 + [230.0])
    assert verdicts["worst_dice", ""] == "loses"
    assert verdicts["worst_flips", ""] == verdicts["flips", ""] == "keeps"
    assert verdicts["dice_pooled", ""] == "cannot tell"
    # Of parts of the images only what is broken is told.
    assert {part for _, part in verdicts} == {""}
    assert judged_by_images([100] * 30, [100.0] * 30)["flips", "small"] == "loses"


def test_limits_on_masks_can_be_asked_for() -> None:
    limits = stated_limits({"flips": 10.0})
    assert (limits["flips"], limits["worst_flips"], limits["dice_pooled"]) == (10.0, 300.0, 0.005)
    report = Report({}, {"images": 40}, [], [ROW])
    with pytest.raises(UsageError, match="names flips, of which this run has no change"):
        require_scored(with_verdicts(report, limits), {"flips": 10.0})


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (None, ""),
        ({"state": "holds", "images": 11, "is_accepted": True}, ""),
        (
            {"state": "broken", "images": 11, "is_accepted": False},
            "breaks a limit on its masks",
        ),
        ({"state": "open", "images": 11, "is_accepted": False}, "val images of its build cannot t"),
        ({"state": "open", "images": 11, "is_accepted": True}, "and was taken by --accept-uncert"),
    ],
)
def test_a_bundle_that_is_uncertain_is_told(limits: dict[str, Any] | None, words: str) -> None:
    text = build_limits_text({**ROW, "limits": limits})
    assert words in text
    assert bool(words) == bool(text)
