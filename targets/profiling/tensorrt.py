"""Layers of TensorRT: its profiler's times, beside what the engine tells of its layers.

No GPU was at hand when this was written: it ran on stand-ins for TensorRT only.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from edgeseg.errors import TargetError
from edgeseg.records import LayerProfile, LayerTime

from ..base import ProfileRequest
from ..runners.tensorrt_backend import Backend, import_tensorrt
from .clock import take_turns, typical

NODE = re.compile(r"\[ONNX Layer: ([^\]]+)\]")
# What layers are called that only bring data into another form.
REFORMATTING = ("Reformatting CopyNode", "Reformat")
# As engines spell the types that a layer's first input has.
PRECISIONS = (
    *((r"\bINT8|\bInt8", "i8"), (r"FP8", "f8"), (r"BF16|BFloat16", "bf16")),
    *((r"FP16|Half", "f16"), (r"FP32|Float", "f32"), (r"INT32|Int32", "i32")),
)
UNDETAILED = "no details"


def profile_layers(request: ProfileRequest) -> LayerProfile:
    """Time an engine; see `Runtime.profile`.

    Raises:
        TargetError: There is no GPU, or the engine does not load.
    """
    artifact = request.artifact
    try:
        plain, counted = (
            Backend(artifact.folder, artifact.files, dict(artifact.settings), 1) for _ in range(2)
        )
        profiler = _make_profiler(import_tensorrt(artifact.settings["package"]))
        described = json.loads(counted.watch(profiler))
        turns = take_turns(
            lambda: plain.run(request.image),
            lambda: counted.run(request.image),
            profiler.take,
            request.runs,
        )
    except RuntimeError as error:
        raise TargetError(
            f"The engine of {artifact.folder} is not timed: {str(error).rstrip('.')}. Profile it "
            "on the machine with the GPU that it is for."
        ) from error
    layers = describe_layers(described)
    times = [
        (name, typical([one.get(name, 0.0) for one in turns.told], turns.quiet))
        for name in turns.told[0]
    ]
    found = tuple(layer_of(name, took, layers) for name, took in times)
    return LayerProfile(found, turns.run_ms, turns.counted_ms)


def _make_profiler(trt: Any) -> Any:
    class Times(trt.IProfiler):  # type: ignore[misc]
        """Milliseconds of each layer of the last run."""

        def __init__(self) -> None:
            trt.IProfiler.__init__(self)
            self.times: dict[str, float] = {}

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            self.times[layer_name] = self.times.get(layer_name, 0.0) + ms

        def take(self) -> dict[str, float]:
            times, self.times = self.times, {}
            return times

    return Times()


def describe_layers(described: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What an engine tells of each layer, by its name.

    Args:
        described: Of the engine. One that was built without details names its layers only.
    """
    layers = {}
    for layer in described["Layers"]:
        one = {"Name": layer} if isinstance(layer, str) else dict(layer)
        layers[one["Name"]] = one
    return layers


def layer_of(name: str, milliseconds: float, layers: Mapping[str, dict[str, Any]]) -> LayerTime:
    """A layer that the profiler told of.

    Args:
        layers: See `describe_layers`.
    """
    layer = layers.get(name, {})
    inputs = layer.get("Inputs", [])
    makers = {
        value["Name"]: other["Name"]
        for other in layers.values()
        for value in _values(other, "Outputs")
    }
    reads = (makers.get(value["Name"]) for value in _values(layer, "Inputs"))
    return LayerTime(
        name,
        str(layer.get("LayerType", UNDETAILED)),
        _precision_of(str(inputs[0].get("Format/Datatype", "")))
        if _values(layer, "Inputs")
        else "",
        milliseconds,
        _origins_of(name, layer),
        tuple(maker for maker in reads if maker is not None),
    )


def _values(layer: Mapping[str, Any], side: str) -> list[dict[str, Any]]:
    return [value for value in layer.get(side, []) if isinstance(value, dict)]


def _origins_of(name: str, layer: Mapping[str, Any]) -> tuple[str, ...]:
    """The ONNX nodes of a layer, by what the engine tells or by its name."""
    if name.startswith(REFORMATTING) or layer.get("LayerType") == REFORMATTING[1]:
        return ()
    told = NODE.findall(str(layer.get("Metadata", "")))
    # Without details, names of what was fused stand in the layer's, in several ways.
    return tuple(dict.fromkeys(told or re.findall(r"[\w./:-]+", name)))


def _precision_of(told: str) -> str:
    return next((short for pattern, short in PRECISIONS if re.search(pattern, told)), "")
