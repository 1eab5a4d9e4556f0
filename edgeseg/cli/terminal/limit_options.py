"""Options of what auto may lose, and what a bundle's manifest says of it, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from edgeseg.errors import UsageError

from .console import parse_options
from .metric_options import SHORT_NAMES, parse_number

if TYPE_CHECKING:
    from edgeseg.bundle.bundle import Bundle
    from edgeseg.bundle.manifest import LimitsRecord

NONE = "none"

MaxDiceDrop = Annotated[
    str | None,
    typer.Option(help="Largest loss of pooled Dice that auto accepts, or none (default: 0.005)."),
]
MaxHd95Growth = Annotated[
    str | None,
    typer.Option(
        help="Largest share by which HD95 may grow in auto, or none (default: 0.02 where MONAI is "
        "installed)."
    ),
]
MaxFlips = Annotated[
    str | None,
    typer.Option(
        help="Most pixels of 10,000 whose class may differ from the FP32 reference's in auto, mean "
        "over images, or none (default: 50)."
    ),
]
MaxWorstDiceDrop = Annotated[
    str | None,
    typer.Option(
        help="Largest loss of Dice on any val image in auto, or none (default: 0.05; needs masks)."
    ),
]
MaxWorstFlips = Annotated[
    str | None,
    typer.Option(help="Most flipped pixels of 10,000 on any val image, or none (default: 300)."),
]
MaxChange = Annotated[
    list[str] | None,
    typer.Option(
        help="METRIC=VALUE, the largest loss of any metric that auto accepts, or none; see the "
        "list below; may be repeated."
    ),
]
MinAgreement = Annotated[
    float | None,
    typer.Option(
        help="Share of pixels on which auto must agree with the FP32 reference, in place of "
        "--max-flips."
    ),
]
AcceptUncertain = Annotated[
    bool,
    typer.Option(
        "--accept-uncertain",
        help="Let auto take a form whose limits the val images cannot tell, if what they show lies "
        "within; the bundle says so.",
    ),
]


def parse_limits(
    words: Sequence[str], by_option: Mapping[str, str | None]
) -> dict[str, float | None]:
    """Limits by name, None for those that are taken away; "0.5%" is 0.005.

    Args:
        words: "METRIC=VALUE", as `--max-change` takes them.
        by_option: What options for one limit were given, by its name; None was not given.

    Raises:
        UnknownNameError: There is no such metric.
        UsageError: A word of another form, no number, or a metric that is named twice.
    """
    from edgeseg.metrics.metric import MAX_CHANGE
    from edgeseg.metrics.quantities import find_limited

    limits: dict[str, float | None] = {}
    for name, text in by_option.items():
        if text is not None:
            limits[name] = _limit(find_limited(name).limit_option, " ", text)
    for word, text in parse_options(words, MAX_CHANGE).items():
        limited = find_limited(SHORT_NAMES.get(word, word))
        if limited.name in limits:
            raise UsageError(
                f"{MAX_CHANGE} {limited.name} and {limited.limit_option} limit the same metric. "
                "Give one of them."
            )
        limits[limited.name] = _limit(f"{MAX_CHANGE} {limited.name}", "=", text)
    return limits


def _limit(option: str, sign: str, text: str) -> float | None:
    if text.strip().lower() == NONE:
        return None
    value = parse_number(text)
    if value is None:
        raise UsageError(
            f"{option}{sign}{text} is no number. Write {option}{sign}0.01, or "
            f"{option}{sign}{NONE} to take the limit away."
        )
    return value


def describe_choice(bundle: Bundle) -> list[str]:
    """What auto left out of a bundle as uncertain, and what its masks are known to keep."""
    from edgeseg.tuning.explain import untaken

    manifest = bundle.manifest
    return [*untaken(manifest.tuning), *describe_limits(bundle.name, manifest.limits)]


def describe_limits(name: str, limits: LimitsRecord | None) -> list[str]:
    """What a bundle's masks are known to keep, a sentence or two; nothing where that was not
    judged."""
    from edgeseg.metrics.findings import deciding
    from edgeseg.metrics.limits import BROKEN, OPEN, MarginVerdict
    from edgeseg.metrics.quantities import find_limited, is_known

    if limits is None:
        return []
    # A metric may be of a package that this machine does not have.
    known = [one.model_dump() for one in limits.verdicts if is_known(one.metric)]
    verdicts = [MarginVerdict.from_json(one) for one in known]
    images = f"{limits.images} val image{'s' if limits.images > 1 else ''}"
    verdict = deciding(verdicts)
    why = f": it {verdict.text}" if verdict is not None else ""
    if limits.state == BROKEN:
        lines = [f"Warning: {name} breaks a limit on its masks{why}."]
    elif limits.state == OPEN:
        taken = ", and was taken as --accept-uncertain says" if limits.is_accepted else ""
        lines = [
            f"Warning: {images} do not tell whether {name} keeps the limits on its masks{taken}"
            f"{why}."
        ]
    elif verdict is not None:  # an exact form, of which so few images alone tell nothing
        lines = [
            f"{name} keeps the limits on its masks: each probability lies within a tolerance of "
            "the FP32 reference's."
        ]
    else:
        titles = ", ".join(find_limited(one.metric).title for one in verdicts if not one.part)
        lines = [f"{name} keeps its limits by the 95 % intervals on {images}: {titles}."]
    if not limits.labelled:
        lines.append(
            "What its masks lose against true ones is open: no val image has a mask, and only the "
            "limits on flipped pixels were judged. Add masks to --data."
        )
    small = [one for one in verdicts if one.part and one.state == OPEN]
    if small and limits.state != OPEN:
        parts = ", ".join(dict.fromkeys(one.part for one in small))
        lines.append(
            f"By size of the object, the images are too few to tell on their own: {parts}."
        )
    # A bundle may come from anywhere: what it names steers no terminal.
    return ["".join(one if one.isprintable() else "?" for one in line) for line in lines]
