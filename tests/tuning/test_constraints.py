from __future__ import annotations

from typing import Any

import pytest

from edgeseg.errors import MissingBackendError, UnknownNameError, UsageError
from edgeseg.lazy import is_installed
from edgeseg.tuning import constraints as constraints_module
from edgeseg.tuning.constraints import (
    Constraints,
    Evaluation,
    choose_constraints,
    limited_metrics,
)

PLAIN = Evaluation("", 1000, 50_000_000)


@pytest.mark.parametrize(
    ("constraints", "advice"),
    [
        (({"dice_pooled": 1.5}, None), "--max-dice-drop 1.5 is not between 0 and 1"),
        (({}, -0.1), "--min-agreement -0.1 is not between 0 and 1.*write 0.01 for 1 %"),
        (({"dice_pooled": float("nan")}, None), "--max-dice-drop nan"),
        (({"hd95_px": 1.5}, None), "--max-hd95-growth 1.5 is not between 0 and 1"),
        (({"iou_image": 2}, None), "--max-change iou_image 2 is not between 0 and 1"),
    ],
)
def test_limits_are_shares(constraints: tuple[Any, Any], advice: str) -> None:
    with pytest.raises(UsageError, match=advice):
        Constraints(*constraints)


def test_the_limit_itself_is_allowed() -> None:
    changes = {"dice_pooled": -0.005, "hd95_px": 0.02}
    evaluation = Evaluation("", 1000, 53_500_000, 100.0, changes, 8)
    constraints = Constraints({"dice_pooled": 0.005, "hd95_px": 0.02}, 0.99)
    assert constraints.violation(evaluation, PLAIN) == ""


@pytest.mark.parametrize(
    ("growth", "violation"),
    [
        (None, ""),
        (0.02, ""),
        (-0.5, ""),
        (0.031, "HD95 grows by 3.10% on 8 images, and at most 2% is allowed"),
        (float("nan"), "HD95 grows by nan%"),
        (float("inf"), "HD95 grows by inf%"),
    ],
)
def test_borders_may_move_a_little(growth: float | None, violation: str) -> None:
    changes = {"dice_pooled": 0.0} | ({} if growth is None else {"hd95_px": growth})
    evaluation = Evaluation("", 1000, 1, 0.0, changes, 8)
    found = Constraints({"dice_pooled": 0.005, "hd95_px": 0.02}).violation(evaluation, PLAIN)
    assert found.startswith(violation)
    assert bool(found) == bool(violation)


def test_memory_has_room_for_noise_only() -> None:
    constraints = Constraints()
    assert constraints.violation(Evaluation("", 1, 53_500_000), PLAIN) == ""
    assert "it takes 53.6 MB of memory, the plain export 50.0 MB" in constraints.violation(
        Evaluation("", 1, 53_600_000), PLAIN
    )


def test_any_metric_can_be_limited() -> None:
    constraints = Constraints({"sensitivity_image": 0.01})
    evaluation = Evaluation("", 1000, 1, 0.0, {"sensitivity_image": -0.02}, 8)
    assert constraints.violation(evaluation, PLAIN) == (
        "sensitivity by image falls by 0.0200 on 8 images, and at most 0.01 is allowed"
    )
    assert constraints.options == ["--max-change sensitivity_image"]


def test_few_images_loosen_what_one_of_them_does_not_decide() -> None:
    constraints = Constraints({"dice_pooled": 0.005, "hd95_px": 0.02, "iou_image": 0.3}, 0.99)
    relaxed = constraints.relaxed()
    assert relaxed.max_change == {"dice_pooled": 0.02, "hd95_px": 0.02, "iou_image": 1.0}
    assert relaxed.min_agreement == pytest.approx(0.96)


def test_defaults_hold_beside_what_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeseg.metrics.table.is_installed", lambda name: True)
    monkeypatch.setattr(constraints_module, "require_installed", lambda names, purpose: None)
    chosen = choose_constraints({"iou_image": 0.01}, None, 2, has_labels=True)
    expected = {"dice_pooled": 0.005, "hd95_px": 0.02, "iou_image": 0.01}
    assert (chosen.max_change, chosen.min_agreement) == (expected, None)
    asked = choose_constraints({"hd95_px": 0.1}, 0.9, 2, has_labels=True)
    assert asked == Constraints({"dice_pooled": 0.005, "hd95_px": 0.1}, 0.9)


def test_what_cannot_be_computed_is_free_unless_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "edgeseg.metrics.table.is_installed", lambda name: name != "monai" and is_installed(name)
    )
    monkeypatch.setattr("edgeseg.lazy.is_installed", lambda name: name != "monai")
    chosen = choose_constraints({}, None, 2, has_labels=True)
    assert chosen.max_change == {"dice_pooled": 0.005}
    with pytest.raises(MissingBackendError, match=r"--max-hd95-growth needs.*Install it with"):
        choose_constraints({"hd95_px": 0.01}, None, 2, has_labels=True)


def test_without_labels_agreement_counts() -> None:
    assert choose_constraints({}, None, 2, has_labels=False) == Constraints({}, 0.99)
    assert choose_constraints({}, 0.9, 2, has_labels=False) == Constraints({}, 0.9)
    for name, option in (("dice_pooled", "--max-dice-drop"), ("hd_px", "--max-change hd_px")):
        with pytest.raises(UsageError, match=f"{option} needs masks.*or use --min-agreement"):
            choose_constraints({name: 0.1}, None, 2, has_labels=False)


def test_label_maps_cannot_be_limited_by_every_metric() -> None:
    with pytest.raises(UsageError, match=r"--max-change mae: .*Limit one of these: dice_pooled, "):
        limited_metrics({"mae": 0.1}, 2)
    with pytest.raises(UnknownNameError, match=r"Did you mean iou_image\?"):
        limited_metrics({"iou_imag": 0.1}, 2)
