"""Which quantisation method a build takes where none is named."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path

from edgeseg.errors import CalibrationError, EdgesegError
from edgeseg.quantize import usual_methods
from edgeseg.storage import cache
from edgeseg.tuning.candidate import Candidate

from .builder import Builder
from .context import BuildContext

# Flips against the FP32 reference, per 10,000 pixels of the check images. Up to so many the vendor
# quantiser stays: its artefacts are often faster, by as much as two times.
GOOD_FLIPS = 40.0
CHOICE_NAME = "method.json"


@dataclass(frozen=True)
class MethodChoice:
    """A candidate of a precision, and how the methods compared.

    Attributes:
        flips_per_10k: Of each method that was built, by its name; empty where one was named or is
            the only one.
    """

    candidate: Candidate
    flips_per_10k: dict[str, float] = field(default_factory=dict)


def choose_method(context: BuildContext, builder: Builder, precision: str) -> MethodChoice:
    """How a precision is built: by the method that was named, or the better of the usual ones.

    The runtime's vendor quantiser comes first. If it fails, or flips more than 40 of 10,000 pixels
    of the check images, the default calibrator is tried too and takes its place if it flips fewer.

    Raises:
        CalibrationError: No method can quantise the network; it holds all reasons.
    """
    first = context.fixed_candidate(precision)
    others = _other_methods(context, first)
    if not others:
        return MethodChoice(first)
    candidates = [first, *others]
    context.require_packages(candidates)

    def make(folder: Path) -> None:
        flips = _compare(builder, candidates)
        (folder / CHOICE_NAME).write_text(json.dumps(flips), encoding="utf-8")

    records = [context.record(candidate) for candidate in candidates]
    request = context.request
    folder, _ = cache.get_or_make("methods", {"of": records}, make, enabled=request.use_cache)
    flips: dict[str, float] = json.loads((folder / CHOICE_NAME).read_text(encoding="utf-8"))
    choice = MethodChoice(_better(candidates, flips), flips)
    if len(flips) > 1:
        with context.progress.stage("compare quantisation methods") as stage:
            counts = ", ".join(f"{name} {count:.1f}" for name, count in flips.items())
            stage.note(f"flips of 10,000 pixels: {counts}; {choice.candidate.method} is taken")
    return choice


def _other_methods(context: BuildContext, first: Candidate) -> list[Candidate]:
    request = context.request
    if not first.method or request.method is not None or request.method_options:
        return []
    usual = usual_methods(context.runtime.quantized_from)
    if usual.get(first.method, True):  # a calibrator: there is no vendor quantiser
        return []
    return [replace(first, method=name) for name in usual if name != first.method]


def _compare(builder: Builder, candidates: list[Candidate]) -> dict[str, float]:
    """Flips of the methods in turn, until one is good.

    Raises:
        CalibrationError: All fail.
    """
    flips: dict[str, float] = {}
    reasons = {}
    for candidate in candidates:
        place = builder.place("compared")
        try:
            flips[candidate.method] = builder.make(candidate, place).agreement.flips_per_10k
        except EdgesegError as error:
            reasons[candidate.method] = str(error)
            continue
        if flips[candidate.method] <= GOOD_FLIPS:
            break
    if not flips:
        raise CalibrationError(
            "No method quantises the network. "
            + " ".join(f"{name}: {reason}" for name, reason in reasons.items())
        )
    return flips


def _better(candidates: list[Candidate], flips: dict[str, float]) -> Candidate:
    built = [candidate for candidate in candidates if candidate.method in flips]
    return min(built, key=lambda candidate: flips[candidate.method])
