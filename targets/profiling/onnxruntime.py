"""Layers of ONNX Runtime: its own profile of a copy whose nodes have numbers for names."""

from __future__ import annotations

import difflib
import json
import os
import re
from pathlib import Path
from typing import Any

from edgeseg.lazy import require
from edgeseg.records import LayerProfile, LayerTime
from edgeseg.storage.temporary import temporary_folder

from ..base import ProfileRequest
from ..onnx_file import read_graph
from ..runners.onnxruntime_backend import LEVELS
from .clock import WARM_UP, take_turns, typical

MICROSECONDS = 1e3  # of a millisecond
NAME = "layer"
OPTIMIZED = "optimized.onnx"
# What ONNX Runtime puts behind a name; more of it follows a slash.
ADDED = re.compile(r"(_nchwc|_token_\d+)+$")
EVENT = "_kernel_time"
QUANTIZING = ("QuantizeLinear", "DequantizeLinear")
PRECISIONS = {"float": "f32", "float16": "f16", "int8": "i8", "uint8": "u8", "int32": "i32"}


def profile_layers(request: ProfileRequest) -> LayerProfile:
    """Time an ONNX file; see `Runtime.profile`.

    Artefacts have no names, so that the nodes of the rewritten graph are laid beside theirs.
    """
    with temporary_folder("profile") as name:
        folder = Path(name)
        origins = _number_nodes(request, folder / "model.onnx")
        plain, counted = (
            _open(request, folder, is_counted=is_counted) for is_counted in (False, True)
        )
        feed = {plain.get_inputs()[0].name: request.image}
        turns = take_turns(
            lambda: plain.run(None, feed),
            lambda: counted.run(None, feed),
            lambda: None,  # all is told at the end
            request.runs,
        )
        events = json.loads(Path(counted.end_profiling()).read_text(encoding="utf-8"))
        reads = _reads_of(folder / OPTIMIZED)
    times: dict[str, list[float]] = {}
    facts: dict[str, dict[str, Any]] = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith(EVENT):
            layer = event["name"].removesuffix(EVENT)
            times.setdefault(layer, []).append(event["dur"] / MICROSECONDS)
            facts[layer] = event["args"]
    layers = [
        LayerTime(
            layer,
            facts[layer]["op_name"],
            _precision_of(facts[layer]),
            typical(took[WARM_UP:], turns.quiet),
            origins.get(ADDED.sub("", layer.partition("/")[0]), ()),
            reads.get(layer, ()),
        )
        for layer, took in times.items()
    ]
    return LayerProfile(tuple(layers), turns.run_ms, turns.counted_ms)


def _open(request: ProfileRequest, folder: Path, *, is_counted: bool) -> Any:
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    onnxruntime = require("onnxruntime", purpose="Profiling on onnxruntime")
    settings = request.artifact.settings
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    level = LEVELS[settings.get("optimization", "all")]
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    options.enable_profiling = is_counted
    if is_counted:
        options.optimized_model_filepath = str(folder / OPTIMIZED)
    options.profile_file_prefix = str(folder / "times")
    path = str(folder / "model.onnx")
    return onnxruntime.InferenceSession(path, options, providers=[settings["provider"]])


def _reads_of(path: Path) -> dict[str, tuple[str, ...]]:
    """Which nodes each node of the graph that ONNX Runtime made reads, by name."""
    nodes = require("onnx", purpose="Profiling on onnxruntime").load(path).graph.node
    makers = {result: node.name for node in nodes for result in node.output}
    return {
        node.name: tuple(makers[value] for value in node.input if value in makers) for node in nodes
    }


def _number_nodes(request: ProfileRequest, path: Path) -> dict[str, tuple[str, ...]]:
    """Write the artefact with numbered nodes to `path`.

    Returns:
        Names of the rewritten graph by the name of a node, and by that of its result, by which
        ONNX Runtime calls some nodes that it has changed.
    """
    artifact = read_graph(request.artifact.folder / request.artifact.files[0])
    for number, node in enumerate(artifact.graph):
        node.name = f"{NAME}{number}"
    require("onnx_ir", purpose="Profiling on onnxruntime").save(artifact, path)
    theirs = list(read_graph(request.graph_path).graph)
    ours = [node for node in artifact.graph if node.op_type not in QUANTIZING]
    matcher = difflib.SequenceMatcher(
        None, [node.op_type for node in ours], [node.op_type for node in theirs], autojunk=False
    )
    origins = {}
    for our_start, their_start, count in matcher.get_matching_blocks():
        for index in range(count):
            node = theirs[their_start + index]
            names = (node.name, *(value.name for value in node.outputs))
            own = ours[our_start + index]
            for name in (own.name, own.outputs[0].name):
                origins[name or ""] = tuple(filter(None, names))
    return origins


def _precision_of(facts: dict[str, Any]) -> str:
    """That of the first input, which says what the kernel computes in."""
    kinds = [kind for entry in facts.get("input_type_shape", ()) for kind in entry]
    return PRECISIONS.get(kinds[0], kinds[0]) if kinds else ""
