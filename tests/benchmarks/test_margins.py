from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from edgeseg.benchmarks.margins import (
    keeps_margins,
    require_scored,
    verdicts_of,
    with_verdicts,
)
from edgeseg.benchmarks.report import Report
from edgeseg.errors import UsageError

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
