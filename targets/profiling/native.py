"""Layers of a compiled network: its steps, called one by one."""

from __future__ import annotations

from collections.abc import Sequence

from edgeseg.errors import TargetError
from edgeseg.records import LayerProfile, LayerTime

from ..base import ProfileRequest
from ..native.isa import SETS, InstructionSet, runs_here
from ..native.profile import StepProfile, profile_graph


def profile_layers(request: ProfileRequest) -> LayerProfile:
    """Time the steps of a network that is compiled once more, since a library has no marks.

    Raises:
        TargetError: It was compiled for other machines only, or it is quantised and its bundle has
            no plan.
    """
    artifact = request.artifact
    isa = _first_here(artifact.settings["isa"])
    # What --precision auto chose is told by the plan alone.
    graph = request.quantized_path or request.graph_path
    if artifact.precision == "int8" and request.quantized_path is None:
        raise TargetError(
            f"The INT8 network in {artifact.folder} has no plan beside it, by which it would be "
            "compiled once more, with marks. Profile the whole bundle that edgeseg build wrote."
        )
    profile = profile_graph(graph, isa, runs=request.runs)
    alone = profile_graph(graph, isa, runs=request.runs, has_strips=False)
    # Its steps are called from outside, one by one: counters as other runtimes have it has none.
    counted_ms = 1e3 * profile.counted_seconds
    return LayerProfile(parts_of(profile.steps, alone.steps), 1e3 * profile.seconds, counted_ms)


def parts_of(steps: Sequence[StepProfile], alone: Sequence[StepProfile]) -> tuple[LayerTime, ...]:
    """The parts of steps: those that run together on a few rows at a time share the time in the
    proportion of what each takes alone.

    Args:
        alone: The same parts, each of them a step.
    """
    layers = []
    rest = iter(alone)
    for step in steps:
        parts = [next(rest) for _ in step.titles]
        assert [part.title for part in parts] == [*step.titles], step
        whole = sum(part.seconds for part in parts)
        layers += [
            LayerTime(
                part.title,
                part.kind,
                part.precision,
                1e3 * step.seconds * part.seconds / whole,
                (part.title.rpartition(" ")[2],),
            )
            for part in parts
        ]
    return tuple(layers)


def _first_here(names: Sequence[str]) -> InstructionSet:
    """The one that the runner takes on this machine."""
    isa = next((one for one in SETS if one.name in names and runs_here(one)), None)
    if isa is None:
        raise TargetError(
            f"The network is compiled for {'+'.join(names)}, which this machine has not. Build it "
            "again with --option isa=here, or profile it elsewhere."
        )
    return isa
