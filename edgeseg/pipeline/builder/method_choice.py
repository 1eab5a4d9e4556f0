"""How a quantised precision is built where no method is named."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from edgeseg.errors import CalibrationError, EdgesegError
from edgeseg.lower.rewrites import statistics_rewrites
from edgeseg.quantize import usual_methods
from edgeseg.storage import cache
from edgeseg.tuning.candidate import Candidate
from edgeseg.tuning.regions import QuantizableConv, convs_of_statistics

from .builder import Builder
from .context import BuildContext
from .convolutions import quantizable_convs_of

# Flips against the FP32 reference, per 10,000 pixels of the check images. The first way with so few
# is taken: those that come first are often faster, by as much as two times. At most 25 are wanted
# of images that were never seen, which flip more than those few do.
GOOD_FLIPS = 20.0
CHOICE_NAME = "method.json"


@dataclass(frozen=True)
class MethodChoice:
    """A candidate of a precision, and how the ways to build it compared.

    Attributes:
        flips_per_10k: Of each way that was built, by its method and what stays in float; empty
            where a method was named.
    """

    candidate: Candidate
    flips_per_10k: dict[str, float] = field(default_factory=dict)


def choose_method(context: BuildContext, builder: Builder, precision: str) -> MethodChoice:
    """How a precision is built: by the method that was named, or the first way that is good.

    The ways are, in this order, the runtime's vendor quantiser, the default calibrator, that with
    the statistics of norms in float, that with the convolutions in float too that INT8 changes the
    masks most by (see `edgeseg.quantize.sensitivity`), and that with depthwise ones, whose few
    products gain little by INT8. The first that flips at most 20 of 10,000 pixels of the check
    images is taken, or the one that flips fewest.

    Raises:
        CalibrationError: No method can quantise the network; it holds all reasons.
    """
    first = context.fixed_candidate(precision)
    request = context.request
    if not first.method or request.method is not None or request.method_options:
        return MethodChoice(first)
    named = by_usual_methods(context, first)
    context.require_packages(named)

    def make(folder: Path) -> None:
        found = _compare(context, builder, named)
        records = [{"flips": flips, "way": one.to_json()} for one, flips in found.items()]
        (folder / CHOICE_NAME).write_text(json.dumps(records), encoding="utf-8")

    asked = {"of": [context.record(candidate) for candidate in named], "good": GOOD_FLIPS}
    folder, _ = cache.get_or_make("methods", asked, make, enabled=request.use_cache)
    records = json.loads((folder / CHOICE_NAME).read_text(encoding="utf-8"))
    found = {Candidate.from_json(one["way"]): float(one["flips"]) for one in records}
    flips = {_name(candidate): count for candidate, count in found.items()}
    choice = MethodChoice(min(found, key=lambda one: found[one]), flips)
    if len(flips) > 1:
        with context.progress.stage("compare quantisation methods") as stage:
            counts = ", ".join(f"{name} {count:.1f}" for name, count in flips.items())
            stage.note(f"flips of 10,000 pixels: {counts}; {_name(choice.candidate)} is taken")
    return choice


def _name(candidate: Candidate) -> str:
    count = len(candidate.float_nodes)
    return f"{candidate.method}, {count} convolutions in float" if count else candidate.method


def by_usual_methods(context: BuildContext, first: Candidate) -> list[Candidate]:
    """The candidate by the vendor quantiser, and by the default calibrator."""
    usual = usual_methods(context.runtime.quantized_from)
    return [replace(first, method=name) for name in sorted(usual, key=lambda one: usual[one])]


def ways_of(context: BuildContext, builder: Builder, named: list[Candidate]) -> Iterator[Candidate]:
    """A candidate by each method, then those by calibrators with ever more in float."""
    yield from named
    convs, held = _convs_and_statistics(builder, named[0].rewrites)
    depthwise = tuple(sorted({conv.name for conv in convs if conv.is_depthwise}.union(held)))
    planned = [one for one in named if _makes_plan(context, one)]
    seen = set(planned)
    for choose in (_keep(held), builder.keep_sensitive, _keep(depthwise)):
        for candidate in planned:
            try:
                way = choose(replace(candidate, float_nodes=held))
            except EdgesegError:
                continue  # calibration fails; the first way by that method has told why
            if len(way.float_nodes) < len(convs) and way not in seen:
                seen.add(way)
                yield way


def _keep(names: tuple[str, ...]) -> Callable[[Candidate], Candidate]:
    return lambda candidate: replace(candidate, float_nodes=names)


def _makes_plan(context: BuildContext, candidate: Candidate) -> bool:
    return context.quantization(candidate.method, dict(candidate.method_options)).makes_plan


def _convs_and_statistics(
    builder: Builder, rewrites: tuple[str, ...]
) -> tuple[list[QuantizableConv], tuple[str, ...]]:
    """The convolutions that can be INT8, and the names of those that hold statistics of norms."""

    def convs_of(names: tuple[str, ...]) -> list[QuantizableConv]:
        return quantizable_convs_of(builder.lower(names)[0])

    return convs_of(rewrites), convs_of_statistics(convs_of, rewrites, statistics_rewrites())


def _compare(
    context: BuildContext, builder: Builder, named: list[Candidate]
) -> dict[Candidate, float]:
    """Flips of the ways in turn, until one is good.

    Raises:
        CalibrationError: All fail.
    """
    flips: dict[Candidate, float] = {}
    reasons: dict[str, str] = {}
    for candidate in ways_of(context, builder, named):
        place = builder.place("compared")
        try:
            flips[candidate] = builder.make(candidate, place).agreement.flips_per_10k
        except EdgesegError as error:
            reasons[_name(candidate)] = str(error)
            continue
        if flips[candidate] <= GOOD_FLIPS:
            break
    if not flips:
        raise CalibrationError(
            "No method quantises the network. "
            + " ".join(f"{name}: {reason}" for name, reason in reasons.items())
        )
    return flips
