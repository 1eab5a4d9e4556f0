from __future__ import annotations

import numpy as np
import pytest

from edgeseg.pipeline.studies.gains import PLAIN, summarize, teacher_rows

(TEACHER,) = teacher_rows(["ulite"])
HALF = [[[50, 50, 50]]]  # true positives, false positives, false negatives: Dice 0.5
BETTER = [[[60, 40, 40]]]  # 0.6


def test_two_teachers_of_one_architecture_have_rows_of_their_own() -> None:
    rows = teacher_rows(["ulite", "egeunet", "ulite"])
    assert rows == ["teacher ulite", "teacher egeunet", "teacher ulite 2"]


def test_gain_is_the_mean_over_seeds() -> None:
    counts = {
        TEACHER: [np.array(BETTER), np.array(BETTER)],
        PLAIN: [np.array(HALF), np.array(HALF)],
        "distilled": [np.array(BETTER), np.array(HALF)],
    }
    teacher, plain, distilled = summarize(counts)
    assert teacher.dice == pytest.approx((0.6, 0.6))
    assert (plain.dice, plain.gain) == ((0.5, 0.5), None)
    assert distilled.gains == pytest.approx((0.1, 0.0))
    assert distilled.gain == pytest.approx(0.05)
    # One image: every resample is the same.
    assert distilled.gain_ci95 == pytest.approx((0.05, 0.05))


def test_interval_is_paired_over_images() -> None:
    # Images differ widely, but each student is the same 2 true positives better on every one.
    generator = np.random.default_rng(0)
    plain = generator.integers(20, 100, (40, 1, 3))
    better = plain + np.array([2, -2, -2])
    counts = {TEACHER: [plain], PLAIN: [plain], "distilled": [better]}
    *_, row = summarize(counts)
    assert row.gain_ci95 is not None
    low, high = row.gain_ci95
    assert row.gain is not None
    assert 0 < low < row.gain < high
    assert high - low < 0.01
