from __future__ import annotations

import math

import numpy as np
import pytest

from edgeseg.errors import UnknownNameError, UsageError
from edgeseg.metrics.bootstrap import bootstrap_intervals
from edgeseg.metrics.limits import (
    LEAST_IMAGES,
    MarginVerdict,
    images_that_tell,
    judge_changes,
    judge_margin,
    judge_worst,
    require_label_metrics,
    stated_limits,
    stated_margins,
)
from edgeseg.metrics.quantities import find_limited
from edgeseg.metrics.table import find_metric

DICE = find_metric("dice_pooled")
HD95 = find_metric("hd95_px")


@pytest.mark.parametrize(
    ("interval", "verdict"),
    [
        ((-0.004, 0.001), "keeps"),
        ((-0.005, 0.001), "keeps"),
        ((-0.006, 0.001), "cannot tell"),
        ((-0.02, -0.005), "cannot tell"),
        ((-0.02, -0.0051), "loses"),
        ((0.001, 0.02), "keeps"),
    ],
)
def test_the_whole_interval_decides(interval: tuple[float, float], verdict: str) -> None:
    change = sum(interval) / 2
    assert judge_margin(DICE, change, interval, 0.005, 60).verdict == verdict


def test_a_distance_loses_as_it_grows() -> None:
    assert judge_margin(HD95, 0.05, (0.03, 0.07), 0.02, 60).verdict == "loses"
    assert judge_margin(HD95, -0.05, (-0.07, -0.03), 0.02, 60).verdict == "keeps"


def test_the_images_that_would_tell_do() -> None:
    """Of differences of one kind, as many as are named give an interval within the margin."""
    random = np.random.default_rng(3)
    drawn = random.normal(-0.002, 0.02, 4000)

    def interval_of(count: int) -> tuple[float, tuple[float, float]]:
        values = drawn[:count]
        ends = bootstrap_intervals(count, lambda weights: {"": weights @ values / count})[""]
        return float(values.mean()), ends

    change, interval = interval_of(40)
    verdict = judge_margin(DICE, change, interval, 0.005, 40)
    assert verdict.verdict == "cannot tell"
    needed = verdict.images_needed
    assert needed is not None
    # The first images have a mean of their own; that of all is -0.002.
    reach = max(abs(end - change) for end in interval)
    expected = images_that_tell(40, reach, 0.003)
    assert expected is not None
    change, interval = interval_of(2 * expected)
    assert judge_margin(DICE, change, interval, 0.005, 2 * expected).verdict == "keeps"


@pytest.mark.parametrize("interval", [(0.0, 0.0), (-0.02, -0.01)])
def test_a_few_images_tell_nothing(interval: tuple[float, float]) -> None:
    change = sum(interval) / 2
    verdict = judge_margin(DICE, change, interval, 0.005, LEAST_IMAGES - 1)
    assert (verdict.verdict, verdict.images_needed) == ("cannot tell", LEAST_IMAGES)
    assert verdict.text.endswith("on 7 images; at least 8 are needed")
    one = judge_margin(DICE, 0, (0, 0), 0.005, 1)
    assert one.text.endswith("on 1 image; at least 8 are needed")
    assert judge_margin(DICE, 0, (0, 0), 0.005, LEAST_IMAGES).verdict == "keeps"


def test_metrics_of_probabilities_are_refused_at_once() -> None:
    require_label_metrics(["dice_pooled", "iou_image"])
    with pytest.raises(UsageError, match=r"--max-change mae: .* Name one of dice_pooled"):
        require_label_metrics(["mae"])


def test_no_number_of_images_tells_the_margin_itself() -> None:
    assert images_that_tell(40, 0.01, 0.0) is None
    assert images_that_tell(40, 0.01, 0.02) == 41  # one more than did not tell
    assert images_that_tell(10, 0.02, 0.01) == 40


def test_texts_say_what_was_asked_and_found() -> None:
    verdict = judge_margin(DICE, -0.004, (-0.009, 0.001), 0.005, 20)
    assert verdict.text.startswith("cannot tell whether pooled Dice stays within 0.005: -0.0040 (")
    assert "on 20 images; about 500 would tell" in verdict.text
    near = judge_margin(DICE, -0.00499, (-0.009, 0.001), 0.005, 20)
    assert near.text.endswith("on 20 images; more than 10,000 would tell")
    assert "keeps pooled Dice within 0.005" in judge_margin(DICE, 0, (0, 0), 0.005, 20).text
    assert "loses more than 2% of HD95" in judge_margin(HD95, 0.05, (0.03, 0.07), 0.02, 60).text
    assert MarginVerdict.from_json(verdict.to_json()) == verdict


def test_margins_that_are_asked_for_replace_the_usual_ones() -> None:
    assert stated_margins()["dice_pooled"] == 0.005
    margins = stated_margins({"dice_pooled": 0.01, "iou_image": 0.02})
    assert (margins["dice_pooled"], margins["iou_image"]) == (0.01, 0.02)


@pytest.mark.parametrize("margin", [-0.1, math.nan, math.inf])
def test_a_margin_is_a_number(margin: float) -> None:
    with pytest.raises(UsageError, match="Give a number from 0 on, such as --max-change dice_po"):
        stated_margins({"dice_pooled": margin})


def test_unknown_metrics_are_named() -> None:
    with pytest.raises(UnknownNameError, match="dice_poled"):
        stated_margins({"dice_poled": 0.1})


def test_metrics_without_an_interval_are_not_judged() -> None:
    assert judge_changes({"dice_pooled": 0.1}, {}, {}, 3) == []


@pytest.mark.parametrize(
    ("change", "images", "verdict", "words"),
    [
        (-0.13, 220, "loses", "loses more than 0.05 of Dice of any image: -0.1300 at worst"),
        (-0.13, 1, "loses", "at worst, on ISIC_7"),  # one image is proof
        (-0.05, 220, "keeps", "keeps Dice of any image within 0.05: -0.0500 at worst"),
        (-0.01, 7, "cannot tell", "on 7 images; at least 8 are needed"),
    ],
)
def test_what_must_hold_on_each_image(change: float, images: int, verdict: str, words: str) -> None:
    quantity = find_limited("worst_dice")
    judged = judge_worst(quantity, change, 0.05, images, "ISIC_7")
    assert judged.verdict == verdict
    assert words in judged.text
    assert MarginVerdict.from_json(judged.to_json()) == judged


def test_flips_are_told_in_words_of_their_own() -> None:
    flips = find_limited("flips")
    lost = judge_margin(flips, 101.0, (90.0, 112.5), 50.0, 60, part="small")
    assert lost.text == (
        "does not keep the share of flips of small objects within 50 of 10,000 pixels: 101.0 "
        "(90.0..112.5)"
    )
    assert (lost.state, lost.is_within) == ("broken", False)
    assert judge_margin(flips, 12.0, (9.0, 15.0), 50.0, 60).text == (
        "keeps the share of flips within 50 of 10,000 pixels: 12.0 (9.0..15.0)"
    )


@pytest.mark.parametrize("change", [math.nan, math.inf])
def test_what_is_no_number_is_lost_on_any_number_of_images(change: float) -> None:
    assert judge_margin(HD95, change, (change, change), 0.02, 2).verdict == "loses"


def test_limits_on_masks_stand_beside_those_on_metrics() -> None:
    limits = stated_limits({"flips": 9.0, "iou_image": 0.1})
    assert limits["flips"] == 9.0
    assert (limits["worst_flips"], limits["worst_dice"], limits["iou_image"]) == (300.0, 0.05, 0.1)
    assert limits["dice_pooled"] == 0.005
    require_label_metrics(["flips", "worst_dice"])
