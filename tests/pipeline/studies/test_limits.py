"""Builds with few val images, imitated with made forms of which all is known."""

from __future__ import annotations

from known_forms import form

from edgeseg.pipeline.studies.limits import Rule, imitate, table_lines

LIMITS = {"dice_pooled": 0.005, "flips": 50.0, "worst_dice": 0.05}
# Half of the val images lose nothing and half two pixels: 0.01 of Dice, twice what is allowed.
LOSES = form("loses", val=[0, 2] * 30, test=[0, 2, 2, 2] * 20)
EQUAL = form("equal", val=[0] * 60, test=[0] * 80)
OUTLIER = form("outlier", val=[0] * 60, test=[0] * 79 + [50])


def test_equal_masks_are_taken_by_both_rules() -> None:
    row = imitate([EQUAL], LIMITS, 16, 10)
    expected = Rule(asked=10, taken=10).to_json()
    assert row == {"val_images": 16, "estimates": expected, "intervals": expected}


def test_estimates_of_few_images_take_what_intervals_do_not() -> None:
    row = imitate([LOSES], LIMITS, 8, 200)
    # At most three of eight lose: 37 % of draws from a coin, fewer from 30 and 30 of 60.
    assert 50 < row["estimates"]["taken"] < 90
    assert row["estimates"]["broken_mean"] == row["estimates"]["taken"]
    assert row["intervals"]["taken"] <= 10


def test_an_image_that_val_does_not_show_breaks_on_test() -> None:
    row = imitate([OUTLIER], LIMITS, 60, 1)
    assert row["intervals"] == Rule(asked=1, taken=1, broken_mean=0, broken_worst=1).to_json()


def test_what_is_left_out_without_need_is_counted() -> None:
    row = imitate([EQUAL], LIMITS, 4, 5)
    assert row["intervals"] == Rule(asked=5, missed=5).to_json()
    assert row["estimates"]["taken"] == 5


def test_the_table_has_both_rules_in_a_line() -> None:
    record = {"model": "net", "rows": [imitate([OUTLIER, EQUAL], LIMITS, 60, 1)]}
    titles, _, line = table_lines(record)
    assert line == "| net | 60 | 2 | 2 | 0 (0%) | 1 (50%) | 0 | 2 | 0 (0%) | 1 (50%) | 0 |"
    assert titles.count("|") == line.count("|")
