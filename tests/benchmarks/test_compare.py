"""Verdicts on two reports: what is found, what is not, and what cannot be compared."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from bench_reports import IMAGES, report_of

from edgeseg.benchmarks.compare import (
    BETWEEN_RUNS,
    compare_reports,
    judge,
    log_change,
)
from edgeseg.benchmarks.comparison import Change, Comparison, Margins, RunRatio
from edgeseg.benchmarks.latency import quick_ratio
from edgeseg.benchmarks.report import Report
from edgeseg.errors import UnknownNameError, UsageError
from edgeseg.metrics.clusters import Clusters

GATES = {"speed": 0.05, "dice_pooled": 0.005, "flips": 10.0}


def changes_of(old: Report, new: Report, **fail_on: float) -> dict[str, Change]:
    comparison = compare_reports(old, new, Margins.of(fail_on or GATES))
    return {change.quantity: change for change in comparison.changes}


def test_equal_runs_are_the_same() -> None:
    changes = changes_of(report_of(seed=1), report_of(seed=2))
    assert {name: change.verdict for name, change in changes.items()} == {
        "speed": "same",
        "dice_pooled": "same",
        "flips": "same",
    }
    assert not any(change.is_failure for change in changes.values())


def test_a_slow_down_of_8_percent_is_found_and_one_of_none_is_not() -> None:
    found = sum(
        changes_of(report_of(seed=2 * one), report_of(slower=0.08, seed=2 * one + 1))[
            "speed"
        ].is_failure
        for one in range(20)
    )
    false = sum(
        changes_of(report_of(seed=2 * one), report_of(seed=2 * one + 1))["speed"].is_failure
        for one in range(20)
    )
    assert found >= 19
    assert false == 0


def test_what_became_faster_does_not_fail() -> None:
    change = changes_of(report_of(seed=1), report_of(slower=-0.2, seed=2))["speed"]
    assert change.verdict == "faster"
    assert change.change == pytest.approx(-0.2, abs=0.02)
    assert not change.is_failure


def test_noise_is_said_to_be_noise() -> None:
    change = changes_of(report_of(noise=0.3, seed=1), report_of(noise=0.3, seed=2))["speed"]
    assert change.verdict == "cannot tell"


@pytest.mark.parametrize("is_known", [(True, True), (False, True), (True, False)])
def test_intervals_resample_volumes_where_a_report_knows_them(is_known: tuple[bool, bool]) -> None:
    """One of six volumes has 24 more flips a slice; older reports know of no volumes."""
    clusters = Clusters(tuple(number // 10 for number in range(IMAGES)), "volumes").to_json()
    old, new = (report_of(seed=1, data={"clusters": clusters} if one else {}) for one in is_known)
    sample = new.rows[1]["per_image"]
    flips = np.array(sample["flips_per_10k"]) + 24.0 * (np.arange(IMAGES) < 10)
    row = {**new.rows[1], "per_image": {**sample, "flips_per_10k": flips.tolist()}}
    change = changes_of(old, replace(new, rows=[new.rows[0], row]))["flips"]
    assert change.change == pytest.approx(4)
    # Volumes: drawn 0 to 3 times of 6, mostly; slices alone would be within 2 to 6.5.
    assert change.interval == pytest.approx((0, 12))


def busy(report: Report, waited: float) -> Report:
    rows = [
        {**row, "waited_share": waited, "quick_ratio": {**row["quick_ratio"], "waited": waited}}
        for row in report.rows
    ]
    return replace(report, rows=rows)


def test_a_busy_machine_gives_no_verdict_on_time() -> None:
    slower = report_of(slower=0.5, seed=2)
    assert changes_of(report_of(seed=1), busy(slower, 0.15))["speed"].is_failure
    change = changes_of(report_of(seed=1), busy(slower, 0.4))["speed"]
    assert (change.verdict, change.is_failure) == ("cannot tell", False)
    (note,) = compare_reports(report_of(seed=1), busy(slower, 0.4), Margins.of(GATES)).notes
    assert note == (
        "processes of the second report waited 40% of the time for their core: measure again when "
        "the machine is quiet"
    )


def test_lost_dice_is_found_by_its_images() -> None:
    """Each object loses 60 pixels: Dice falls by 0.0057, much less than it differs by image."""
    change = changes_of(report_of(), report_of(lost_pixels=60, seed=1))["dice_pooled"]
    assert change.change == pytest.approx(-0.0057, abs=0.0005)
    assert change.verdict == "worse"
    assert change.is_failure
    gained = changes_of(report_of(lost_pixels=60), report_of(seed=1))["dice_pooled"]
    assert gained.verdict == "better"
    assert not gained.is_failure


def test_a_loss_of_just_the_margin_fails() -> None:
    assert judge(0.005, (0.004, 0.006), 0.005, ("worse", "better")) == "worse"
    assert judge(0.0049, (0.004, 0.006), 0.005, ("worse", "better")) == "cannot tell"
    assert judge(0.001, (-0.004, 0.0049), 0.005, ("worse", "better")) == "same"
    assert judge(0.02, (-0.01, 0.05), 0.005, ("worse", "better")) == "cannot tell"
    assert judge(-0.02, (-0.03, -0.01), 0.005, ("worse", "better")) == "better"


def test_flips_are_compared_image_by_image() -> None:
    change = changes_of(report_of(), report_of(more_flips=12, seed=1))["flips"]
    assert change.change == pytest.approx(12)
    assert change.verdict == "worse"
    assert change.is_failure
    assert not changes_of(report_of(), report_of(more_flips=12), speed=0.05)["flips"].is_failure


def test_a_burst_that_hits_some_rounds_changes_nothing() -> None:
    """The quickest fifth stays what it is while a neighbour doubles most of the inferences."""
    random = np.random.default_rng(0)
    calm = [list(2 * np.exp(random.normal(0, 0.01, 20))) for _ in range(18)]
    base = [list(8 * np.exp(random.normal(0, 0.01, 20))) for _ in range(18)]
    burst = [
        [2 * each for each in block] if index % 3 else block for index, block in enumerate(calm)
    ]
    quiet, busy = (RunRatio(*quick(blocks, base)) for blocks in (calm, burst))
    assert quiet.log == pytest.approx(np.log(0.25), abs=0.005)
    assert busy.log == pytest.approx(quiet.log, abs=0.02)
    assert busy.spread > quiet.spread


def quick(
    blocks: list[list[float]], baseline: list[list[float]]
) -> tuple[float, tuple[float, ...]]:
    log, without = quick_ratio(blocks, baseline)
    return log, tuple(without)


def test_the_jackknife_by_hand() -> None:
    """Of three values 0, 1, 2: the square root of (3 - 1) times their variance of 2/3."""
    assert RunRatio(1, (0, 1, 2)).spread == pytest.approx((2 * 2 / 3) ** 0.5)
    assert RunRatio(1, (5,)).spread == 0
    _, spread = log_change(RunRatio(0, (0, 1, 2)), RunRatio(0, ()))
    assert spread == pytest.approx((4 / 3 + 2 * BETWEEN_RUNS**2) ** 0.5)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"protocol": {"version": 99}}, "measured by protocol 1, the second 99"),
        ({"protocol": {"threads": 2}}, "measured with threads 1, the second 2"),
        ({"environment": {"cpu": "another"}}, "of the processor a core, the second another"),
        ({"data": {"images": 7}}, r"of images skin \(val: 60\), the second skin \(val: 7\)"),
        ({"data": {"sha256": "b"}}, "the same names and other content. Measure both on the same"),
    ],
)
def test_what_cannot_be_compared_is_told(changes: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        compare_reports(report_of(), report_of(**changes), Margins.of({}))


def test_older_reports_are_told_from_those_with_samples() -> None:
    older = replace(report_of(), protocol={})
    with pytest.raises(UsageError, match=r"The second report was written by.*Measure again"):
        compare_reports(report_of(), older, Margins.of({}))


def test_rows_are_matched_by_name_or_where_there_is_one_each() -> None:
    assert changes_of(report_of(name="a"), report_of(name="b"))["speed"].artifact == "b"
    two = report_of(name="a")
    two = replace(two, rows=[*two.rows, *report_of(name="c").rows])
    comparison = compare_reports(two, report_of(name="c"), Margins.of({}))
    assert comparison.missing == ("a",)
    assert {change.artifact for change in comparison.changes} == {"c"}
    with pytest.raises(UsageError, match=r"no artefact in common: a, c and b\. Name reports of"):
        compare_reports(two, report_of(name="b"), Margins.of({}))


def test_a_gate_on_what_was_not_measured_is_refused() -> None:
    with pytest.raises(UsageError, match="hd95_px, of which the reports hold nothing"):
        compare_reports(report_of(), report_of(), Margins.of({"hd95_px": 0.02}))
    with pytest.raises(UnknownNameError, match="Did you mean dice_pooled"):
        Margins.of({"dice_poled": 0.1})


def test_other_versions_and_weights_are_noted() -> None:
    new = report_of(environment={"versions": {"openvino": "2"}})
    new = replace(new, reference=[{"reference_key": "other", "model": "net"}])
    notes = compare_reports(report_of(), new, Margins.of({})).notes
    assert notes[0] == "openvino 1 in the first report, 2 in the second"
    assert "weights changed" in notes[1]


def test_a_comparison_becomes_json() -> None:
    slower = report_of(slower=0.3, seed=1)
    record = compare_reports(report_of(), slower, Margins.of(GATES)).to_json()
    assert record["fails"]
    assert Comparison(()).to_json()["fails"] is False
    assert len(report_of().rows[1]["per_image"]["flips_per_10k"]) == IMAGES
