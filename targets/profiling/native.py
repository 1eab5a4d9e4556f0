"""Layers of a compiled network: its steps, called one by one."""

from __future__ import annotations

from pathlib import Path

from edgeseg.errors import TargetError
from edgeseg.lower.rewrites import lower_graph
from edgeseg.records import LayerProfile, LayerTime
from edgeseg.storage.temporary import temporary_folder

from ..base import ProfileRequest
from ..native.isa import best_here
from ..native.profile import profile_graph


def profile_layers(request: ProfileRequest) -> LayerProfile:
    """Time the steps of a network that is compiled once more, since a library has no marks.

    Raises:
        TargetError: It is quantised, or no instruction set of this machine is known.
    """
    if request.artifact.precision != "fp32":
        raise TargetError(
            "Layers of native are timed in FP32 only. Build the bundle with --precision fp32, and "
            "compare the whole with edgeseg bench."
        )
    isa = best_here()
    if isa is None:
        raise TargetError("native knows no instruction set of this machine. Profile it elsewhere.")
    with temporary_folder("profile") as name:
        lowered = Path(name) / "model.onnx"
        lower_graph(request.onnx_path, request.rewrites, lowered)
        profile = profile_graph(lowered, isa, runs=request.runs)
    layers = [
        LayerTime(
            step.title, step.kind, "f32", 1e3 * step.seconds, (step.title.rpartition(" ")[2],)
        )
        for step in profile.steps
    ]
    # Its steps are called from outside, one by one: counters as other runtimes have it has none.
    counted = sum(layer.milliseconds for layer in layers)
    return LayerProfile(tuple(layers), 1e3 * profile.seconds, counted)
