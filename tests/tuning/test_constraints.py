from __future__ import annotations

import json
from typing import Any

import pytest
from fake_evaluator import finding

from edgeseg.errors import MissingBackendError, UnknownNameError, UsageError
from edgeseg.lazy import is_installed
from edgeseg.metrics.findings import Finding
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


def judged(*findings: Finding, **changes: Any) -> Evaluation:
    settings: dict[str, Any] = {"artifact_bytes": 1000, "peak_rss_bytes": 1, "findings": findings}
    return Evaluation(**{**settings, **changes})


def test_the_limit_itself_is_allowed() -> None:
    found = (finding("dice_pooled", -0.005), finding("hd95_px", 0.02), finding("flips", 100.0))
    evaluation = judged(*found, peak_rss_bytes=53_500_000)
    constraints = Constraints({"dice_pooled": 0.005, "hd95_px": 0.02}, 0.99)
    assert constraints.violation(evaluation, PLAIN) == ""


@pytest.mark.parametrize(
    ("growth", "violation"),
    [
        (None, ""),
        (0.02, ""),
        (-0.5, ""),
        (0.031, "HD95 grows by 3.10% (3.10%..3.10%) on 40 images, and at most 2% is allowed"),
        (float("nan"), "HD95 grows by nan%"),
        (float("inf"), "HD95 grows by inf%"),
    ],
)
def test_borders_may_move_a_little(growth: float | None, violation: str) -> None:
    found = [finding("dice_pooled", 0.0)]
    found += [] if growth is None else [finding("hd95_px", growth)]
    constraints = Constraints({"dice_pooled": 0.005, "hd95_px": 0.02})
    told = constraints.violation(judged(*found), PLAIN)
    assert told.startswith(violation)
    assert bool(told) == bool(violation)


@pytest.mark.parametrize(
    ("found", "state", "words"),
    [
        (finding("dice_pooled", -0.002, 0.0029), "holds", ""),
        (
            finding("dice_pooled", -0.002, 0.0031),
            "open",
            "falls by 0.0020 (-0.0011..0.0051) on 40 images, which cannot tell whether it is at "
            "most 0.005: about 43 would tell; --accept-uncertain takes it",
        ),
        (
            finding("dice_pooled", -0.02, 0.01),
            "broken",
            "pooled Dice falls by 0.0200 (0.0100..0.0300) on 40 images, and at most 0.005 is",
        ),
        (finding("dice_pooled", 0.0, images=7), "open", "at least 8 are needed"),
        (
            finding("dice_pooled", -0.02, 0.01, part="small"),
            "broken",
            "40 images with small obj",
        ),
        (finding("dice_pooled", -0.004, 0.01, part="small"), "holds", ""),
        (finding("dice_pooled", -0.5, images=5, part="small"), "holds", ""),
        (
            finding("worst_dice", -0.13, images=220, image="ISIC_1"),
            "broken",
            "Dice of any image falls by 0.1300 on ISIC_1, one of 220 images, and at most 0.05 is",
        ),
        (finding("worst_dice", -0.05, images=220, image="ISIC_1"), "holds", ""),
        (finding("worst_dice", -0.13, images=1, image="ISIC_1"), "broken", "one of 1 images"),
        (finding("worst_dice", -0.01, images=7, image="ISIC_1"), "open", "at least 8 are needed"),
        (
            finding("worst_flips", 1000.0, image="ISIC_1"),
            "broken",
            "1000.0 of 10,000 pixels flip on ISIC_1, one of 40 images, and at most 300 of 10",
        ),
        (finding("flips", 40.0, 11.0), "open", "40.0 of 10,000 pixels flip (29.0..51.0) on 40"),
        (finding("flips", 60.0, 9.0), "broken", "and at most 50 of 10,000 pixels is allowed"),
    ],
)
def test_a_limit_holds_is_broken_or_is_open(found: Finding, state: str, words: str) -> None:
    constraints = choose_constraints({"hd95_px": None}, None, 2, has_labels=True)
    evaluation = judged(found)
    assert constraints.state(evaluation) == state
    told = constraints.violation(evaluation, PLAIN)
    assert words in told
    assert bool(told) == bool(words)
    # Few images end the trial of a candidate only where they prove that a limit is broken.
    assert bool(constraints.hopelessness(evaluation, PLAIN)) == (state == "broken")


def test_an_exact_form_needs_no_images_to_be_taken() -> None:
    constraints = choose_constraints({}, None, 2, has_labels=True)
    few = finding("dice_pooled", 0.0, images=3)
    assert constraints.violation(judged(few, is_exact=True), PLAIN) == ""
    lost = finding("worst_flips", 400.0, image="one")
    assert "400.0 of" in constraints.violation(judged(lost, is_exact=True), PLAIN)


def test_the_worst_of_what_is_open_is_told() -> None:
    constraints = choose_constraints({}, None, 2, has_labels=True)
    found = (finding("flips", 40.0, 11.0), finding("dice_pooled", -0.004, 0.01))
    assert "pooled Dice falls" in constraints.violation(judged(*found), PLAIN)
    broken = finding("worst_flips", 400.0, image="one")
    assert "on one, one of" in constraints.violation(judged(*found, broken), PLAIN)


def test_findings_come_back_from_json() -> None:
    evaluation = judged(finding("dice_pooled", -0.02, 0.01, part="small"), is_exact=True)
    record = json.loads(json.dumps(evaluation.to_json()))
    assert Evaluation.from_json(record) == evaluation


def test_memory_has_room_for_noise_only() -> None:
    constraints = Constraints()
    assert constraints.violation(Evaluation("", 1, 53_500_000), PLAIN) == ""
    assert "it takes 53.6 MB of memory, the plain export 50.0 MB" in constraints.violation(
        Evaluation("", 1, 53_600_000), PLAIN
    )


def test_any_metric_can_be_limited() -> None:
    constraints = Constraints({"sensitivity_image": 0.01})
    evaluation = judged(finding("sensitivity_image", -0.02))
    assert constraints.violation(evaluation, PLAIN) == (
        "sensitivity by image falls by 0.0200 (0.0200..0.0200) on 40 images, and at most 0.01 is "
        "allowed"
    )
    assert constraints.options == ["--max-change sensitivity_image"]


MASKS = {"flips": 50.0, "worst_flips": 300.0, "worst_dice": 0.05}


def test_defaults_hold_beside_what_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeseg.metrics.table.is_installed", lambda name: True)
    monkeypatch.setattr(constraints_module, "require_installed", lambda names, purpose: None)
    chosen = choose_constraints({"iou_image": 0.01}, None, 2, has_labels=True)
    expected = {"dice_pooled": 0.005, "hd95_px": 0.02, "iou_image": 0.01, **MASKS}
    assert (chosen.max_change, chosen.min_agreement) == (expected, None)
    asked = choose_constraints({"hd95_px": 0.1, "flips": 20.0}, None, 2, has_labels=True)
    assert asked == Constraints({"dice_pooled": 0.005, "hd95_px": 0.1, **MASKS, "flips": 20.0})


def test_each_limit_can_be_taken_away() -> None:
    off = dict.fromkeys(("dice_pooled", "hd95_px", *MASKS))
    assert choose_constraints(off, None, 2, has_labels=True) == Constraints()
    assert choose_constraints({"worst_dice": None}, None, 2, has_labels=False) == Constraints(
        {"flips": 50.0, "worst_flips": 300.0}
    )


def test_agreement_takes_the_place_of_flips() -> None:
    chosen = choose_constraints({"hd95_px": None}, 0.98, 2, has_labels=True)
    assert "flips" not in chosen.max_change
    assert chosen.limits["flips"] == pytest.approx(200)
    assert "--min-agreement" in chosen.options
    assert "--max-flips" not in chosen.options
    with pytest.raises(UsageError, match=r"--min-agreement 0.98 and --max-flips 20 .* one of them"):
        choose_constraints({"flips": 20.0}, 0.98, 2, has_labels=True)


@pytest.mark.parametrize(
    ("name", "value", "advice"),
    [
        ("flips", -1.0, "--max-flips -1 is not between 0 and 10000.*none takes the limit away"),
        ("worst_flips", float("nan"), "--max-worst-flips nan is not between"),
        ("worst_dice", 2.0, "--max-worst-dice-drop 2 is not between 0 and 1.*write 0.01"),
    ],
)
def test_limits_on_masks_are_numbers(name: str, value: float, advice: str) -> None:
    with pytest.raises(UsageError, match=advice):
        Constraints({name: value})


def test_what_cannot_be_computed_is_free_unless_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "edgeseg.metrics.table.is_installed", lambda name: name != "monai" and is_installed(name)
    )
    monkeypatch.setattr("edgeseg.lazy.is_installed", lambda name: name != "monai")
    chosen = choose_constraints({}, None, 2, has_labels=True)
    assert chosen.max_change == {"dice_pooled": 0.005, **MASKS}
    with pytest.raises(MissingBackendError, match=r"--max-hd95-growth needs.*Install it with"):
        choose_constraints({"hd95_px": 0.01}, None, 2, has_labels=True)


def test_without_labels_flips_and_agreement_count() -> None:
    flips = {"flips": 50.0, "worst_flips": 300.0}
    assert choose_constraints({}, None, 2, has_labels=False) == Constraints(flips)
    only_worst = Constraints({"worst_flips": 300.0}, 0.9)
    assert choose_constraints({}, 0.9, 2, has_labels=False) == only_worst
    for name, option in (
        ("dice_pooled", "--max-dice-drop"),
        ("hd_px", "--max-change hd_px"),
        ("worst_dice", "--max-worst-dice-drop"),
    ):
        with pytest.raises(UsageError, match=f"{option} needs masks.*use --max-flips or --min-agr"):
            choose_constraints({name: 0.1}, None, 2, has_labels=False)


def test_label_maps_cannot_be_limited_by_every_metric() -> None:
    with pytest.raises(UsageError, match=r"--max-change mae: .*Limit one of these: dice_pooled, "):
        limited_metrics({"mae": 0.1}, 2)
    with pytest.raises(UnknownNameError, match=r"Did you mean iou_image\?"):
        limited_metrics({"iou_imag": 0.1}, 2)
