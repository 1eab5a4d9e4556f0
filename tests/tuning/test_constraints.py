from __future__ import annotations

import pytest

from edgeseg.errors import UsageError
from edgeseg.tuning.constraints import Constraints, Evaluation

PLAIN = Evaluation("", 1000, 50_000_000)


@pytest.mark.parametrize(
    ("constraints", "advice"),
    [
        ((1.5, None), "--max-dice-drop 1.5 is not between 0 and 1"),
        ((None, -0.1), "--min-agreement -0.1 is not between 0 and 1"),
        ((float("nan"), None), "--max-dice-drop nan"),
        ((None, None, 1.5), "--max-hd95-growth 1.5 is not between 0 and 1"),
    ],
)
def test_limits_are_shares(constraints: tuple[float | None, ...], advice: str) -> None:
    with pytest.raises(UsageError, match=advice):
        Constraints(*constraints)


def test_the_limit_itself_is_allowed() -> None:
    evaluation = Evaluation("", 1000, 53_500_000, 100.0, 0.005, 8, hd95_growth=0.02)
    assert Constraints(0.005, 0.99, 0.02).violation(evaluation, PLAIN) == ""


@pytest.mark.parametrize(
    ("growth", "violation"),
    [
        (None, ""),
        (0.02, ""),
        (-0.5, ""),
        (0.031, "HD95 grows by 3.1% on 8 images, allowed are 2.0%"),
        (float("nan"), "HD95 grows by nan%"),
        (float("inf"), "HD95 grows by inf%"),
    ],
)
def test_borders_may_move_a_little(growth: float | None, violation: str) -> None:
    evaluation = Evaluation("", 1000, 1, 0.0, 0.0, 8, hd95_growth=growth)
    found = Constraints(0.005, None, 0.02).violation(evaluation, PLAIN)
    assert found.startswith(violation)
    assert bool(found) == bool(violation)


def test_memory_has_room_for_noise_only() -> None:
    constraints = Constraints(None, None)
    assert constraints.violation(Evaluation("", 1, 53_500_000), PLAIN) == ""
    assert "it takes 53.6 MB of memory, the plain export 50.0 MB" in constraints.violation(
        Evaluation("", 1, 53_600_000), PLAIN
    )
