from __future__ import annotations

from typing import Any

import pytest

from edgeseg.bundle.manifest import LimitsRecord
from edgeseg.cli.terminal.limit_options import describe_limits, parse_limits
from edgeseg.errors import UnknownNameError, UsageError

VERDICT: dict[str, Any] = {
    "metric": "flips",
    "allowed": 50.0,
    "change": 40.0,
    "interval": (20.0, 60.0),
    "verdict": "cannot tell",
    "images": 11,
    "images_needed": 44,
}
KEPT = {**VERDICT, "interval": (38.0, 42.0), "verdict": "keeps", "images_needed": None}
BROKEN = {
    **KEPT,
    "metric": "worst_dice",
    "allowed": 0.05,
    "change": -0.13,
    "interval": (-0.13, -0.13),
    "verdict": "loses",
    "image": "ISIC_7",
}


def limits(state: str, *verdicts: dict[str, Any], **changes: Any) -> LimitsRecord:
    settings = {"images": 11, "labelled": 11, "is_accepted": False, **changes}
    return LimitsRecord.model_validate({"state": state, "verdicts": verdicts, **settings})


def test_limits_are_numbers_shares_or_none() -> None:
    options = {"flips": "30", "dice_pooled": "0.5%", "worst_dice": "none", "hd95_px": None}
    assert parse_limits(["iou=0.01", "worst_flips=NONE"], options) == {
        "flips": 30.0,
        "dice_pooled": 0.005,
        "worst_dice": None,
        "iou_pooled": 0.01,
        "worst_flips": None,
    }


@pytest.mark.parametrize(
    ("words", "options", "advice"),
    [
        ([], {"flips": "few"}, "--max-flips few is no number. Write --max-flips 0.01, or --max-fl"),
        (
            ["dice=x"],
            {},
            "--max-change dice_pooled=x is no number. Write --max-change",
        ),
        (["flips=3"], {"flips": "none"}, "--max-change flips and --max-flips limit the same"),
        (["dice"], {}, "NAME=VALUE"),
    ],
)
def test_what_is_no_limit_is_refused(
    words: list[str], options: dict[str, str], advice: str
) -> None:
    with pytest.raises(UsageError, match=advice):
        parse_limits(words, options)
    with pytest.raises(UnknownNameError, match="Did you mean worst_flips"):
        parse_limits(["worst_flip=3"], {})


def test_a_bundle_says_what_its_masks_keep() -> None:
    assert describe_limits("net", None) == []
    assert describe_limits("net", limits("holds", KEPT)) == [
        "net keeps its limits by the 95 % intervals on 11 val images: the share of flips."
    ]
    (line,) = describe_limits("net", limits("broken", KEPT, BROKEN))
    assert line == (
        "Warning: net breaks a limit on its masks: it loses more than 0.05 of Dice of any image: "
        "-0.1300 at worst, on ISIC_7."
    )


def test_what_is_open_says_how_many_images_would_tell() -> None:
    (line,) = describe_limits("net", limits("open", VERDICT))
    assert line == (
        "Warning: 11 val images do not tell whether net keeps the limits on its masks: it cannot "
        "tell whether the share of flips stays within 50 of 10,000 pixels: 40.0 (20.0..60.0) on 11 "
        "images; about 44 would tell."
    )
    (line,) = describe_limits("net", limits("open", VERDICT, is_accepted=True))
    assert ", and was taken as --accept-uncertain says: " in line


def test_an_exact_form_on_few_images_is_not_called_uncertain() -> None:
    (line,) = describe_limits("net", limits("holds", VERDICT))
    assert line.startswith("net keeps the limits on its masks: each probability lies within a tol")


def test_without_masks_dice_is_open_and_said_so() -> None:
    _, line = describe_limits("net", limits("holds", KEPT, labelled=0))
    assert "no val image has a mask, and only the limits on flipped pixels were judged" in line


def test_sizes_that_cannot_tell_are_named() -> None:
    small = {**VERDICT, "part": "small"}
    _, line = describe_limits("net", limits("holds", KEPT, small))
    assert line == "By size of the object, the images are too few to tell on their own: small."


def test_what_a_strange_bundle_names_steers_no_terminal_and_needs_no_package() -> None:
    strange = {**BROKEN, "image": "a\x1b[2J"}
    foreign = {**KEPT, "metric": "tversky"}
    (line,) = describe_limits("net", limits("broken", foreign, strange))
    assert line.endswith("on a?[2J.")
    (line,) = describe_limits("net", limits("broken", foreign))
    assert line == "Warning: net breaks a limit on its masks."
    for name in ("state", "verdict"):
        with pytest.raises(ValueError, match=name):
            limits("no state" if name == "state" else "holds", {**KEPT, "verdict": "no verdict"})
