"""Layers of OpenVINO: its performance counters, and the operators that a layer was fused of."""

from __future__ import annotations

import statistics
from typing import Any

from edgeseg.lazy import require
from edgeseg.records import LayerProfile, LayerTime

from ..base import ProfileRequest
from .clock import WARM_UP, take_turns

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
    times: dict[str, list[float]] = {}
    kinds: dict[str, str] = {}

    def run_counted() -> None:
        requests[1].infer([request.image], share_inputs=True)
        for layer in requests[1].get_profiling_info():
            took = layer.real_time.total_seconds() / MILLISECOND
            times.setdefault(layer.node_name, []).append(took)
            kinds[layer.node_name] = layer.node_type

    run_ms, _ = take_turns(
        lambda: requests[0].infer([request.image], share_inputs=True), run_counted, request.runs
    )
    # Reading the counters is not part of a run.
    _, counted_ms = take_turns(
        lambda: None, lambda: requests[1].infer([request.image], share_inputs=True), request.runs
    )
    facts = {node.get_friendly_name(): node.get_rt_info() for node in _nodes(counted)}
    layers = [
        LayerTime(
            name,
            kinds[name],
            _fact(facts.get(name), PRECISION),
            statistics.median(took[WARM_UP:]),
            tuple(filter(None, _fact(facts.get(name), ORIGINS).split(","))),
        )
        for name, took in times.items()
    ]
    return LayerProfile(tuple(layers), run_ms, counted_ms)


def _nodes(model: Any) -> list[Any]:
    return list(model.get_runtime_model().get_ops())


def _fact(facts: Any, name: str) -> str:
    """A fact of a layer; empty where it is not told."""
    if facts is None or name not in facts:
        return ""
    value = facts[name]
    return str(getattr(value, "value", value))
