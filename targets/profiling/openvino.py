"""Layers of OpenVINO: its performance counters, and the operators that a layer was fused of."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from edgeseg.lazy import require
from edgeseg.records import LayerProfile, LayerTime

from ..base import ProfileRequest
from .clock import take_turns

MILLISECOND = 1e-3
ORIGINS, PRECISION = "originalLayersNames", "runtimePrecision"


def profile_layers(request: ProfileRequest) -> LayerProfile:
    """Time an OpenVINO IR; see `Runtime.profile`."""
    core = require("openvino", purpose="Profiling on openvino").Core()
    settings = request.artifact.settings
    path = request.artifact.folder / request.artifact.files[0]
    common = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": settings["inference_precision"],
        "NUM_STREAMS": str(settings["streams"]),
        "INFERENCE_NUM_THREADS": 1,
        "ENABLE_CPU_PINNING": False,
    }
    plain, counted = (
        core.compile_model(path, settings["device"], {**common, "PERF_COUNT": is_counted})
        for is_counted in (False, True)
    )
    requests = plain.create_infer_request(), counted.create_infer_request()
    kinds: dict[str, str] = {}

    def read() -> dict[str, float]:
        """Milliseconds of each layer: the mean of all runs so far."""
        layers = requests[1].get_profiling_info()
        # Others are fused into these, or left out.
        executed = [layer for layer in layers if layer.status == layer.Status.EXECUTED]
        kinds.update({layer.node_name: layer.node_type for layer in executed})
        return {
            layer.node_name: layer.real_time.total_seconds() / MILLISECOND for layer in executed
        }

    turns = take_turns(
        lambda: requests[0].infer([request.image], share_inputs=True),
        lambda: requests[1].infer([request.image], share_inputs=True),
        read,
        request.runs,
    )
    # What slows some runs slows each layer in proportion, on average.
    share = turns.counted_ms / turns.mean_counted_ms
    nodes = {node.get_friendly_name(): node for node in _nodes(counted)}
    facts = {name: node.get_rt_info() for name, node in nodes.items()}
    layers = [
        LayerTime(
            name,
            kinds[name],
            _fact(facts.get(name), PRECISION),
            took * share,
            tuple(filter(None, _fact(facts.get(name), ORIGINS).split(","))),
            _reads_of(nodes.get(name), kinds),
        )
        for name, took in turns.told[-1].items()  # what runs once, at first, is not among them
    ]
    return LayerProfile(tuple(layers), turns.run_ms, turns.counted_ms)


def _nodes(model: Any) -> list[Any]:
    return list(model.get_runtime_model().get_ops())


def _reads_of(node: Any, layers: Collection[str]) -> tuple[str, ...]:
    """Names of the layers whose results a node of the runtime's own graph reads.

    What takes no time is no layer, such as another shape of the same bytes: what that reads is
    told in its place.
    """
    reads: list[str] = []
    waiting = [] if node is None else [value.get_node() for value in node.input_values()]
    while waiting:
        source = waiting.pop()
        if source.get_friendly_name() in layers:
            reads.append(source.get_friendly_name())
        else:
            waiting += [value.get_node() for value in source.input_values()]
    return tuple(reads)


def _fact(facts: Any, name: str) -> str:
    """A fact of a layer; empty where it is not told."""
    if facts is None or name not in facts:
        return ""
    value = facts[name]
    return str(getattr(value, "value", value))
