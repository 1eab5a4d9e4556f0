"""Time by module: sums, names, and what cannot be profiled."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from small_bundle import write_small_bundle
from support import needs

from edgeseg.errors import BenchmarkError, TargetError, UsageError
from edgeseg.pipeline.build import BuildRequest, build_bundle
from edgeseg.pipeline.profile import (
    UNATTRIBUTED,
    BundleProfile,
    attribute,
    common_module,
    profile_bundle,
)
from edgeseg.records import LayerTime
from edgeseg.targets.base import ProfileRequest
from edgeseg.targets.litert.runtime import LiteRtRuntime
from edgeseg.targets.native.isa import best_here

RunCli = Callable[..., "CompletedProcess[str]"]
MODULES = {"conv": "encoder.0.conv", "relu": "encoder.0.act", "head": "head", "add": "(network)"}


def test_a_fused_layer_belongs_to_what_its_parts_share() -> None:
    assert common_module(["encoder.0.conv", "encoder.0.act"]) == "encoder.0"
    assert common_module(["encoder.0.conv", "(network)"]) == "encoder.0.conv"
    assert common_module(["encoder.0", "head"]) == "head"
    assert common_module(["(network)"]) == "(network)"


def test_what_a_runtime_added_counts_for_the_layer_that_reads_it() -> None:
    layers = [
        LayerTime("reorder_in", "Reorder", "f32", 1, ("no such",)),
        LayerTime("a", "Kind", "f32", 2, ("conv", "relu"), ("reorder_in",)),
        LayerTime("reorder", "Reorder", "f32", 3, (), ("a",)),
        LayerTime("convert", "Convert", "f32", 0.5, (), ("reorder",)),
        LayerTime("head/WithoutBiases", "Kind", "f32", 4, (), ("convert",)),
        LayerTime("reorder_out", "Reorder", "f32", 0.5, (), ("head/WithoutBiases",)),
        LayerTime("lost", "Kind", "f32", 1),
    ]
    found = attribute(layers, MODULES)
    assert [(one.module, one.is_named) for one in found] == [
        ("encoder.0", False),
        ("encoder.0", True),
        ("head", False),
        ("head", False),
        ("head", True),
        ("head", False),
        (UNATTRIBUTED, False),
    ]
    profile = BundleProfile("net", "openvino", 9.0, 11.0, found)
    assert profile.sum_ms == 12
    assert profile.named_share == pytest.approx(6 / 12)
    assert profile.attributed_share == pytest.approx(11 / 12)
    assert profile.by_module(1) == {"head": 8, "encoder": 3, UNATTRIBUTED: 1}
    assert profile.by_module(2) == {"head": 8, "encoder.0": 3, UNATTRIBUTED: 1}
    assert profile.added_ms(1) == {"encoder": 1, "head": 4, UNATTRIBUTED: 1}
    nodes = profile.to_nodes()
    assert [node.reads for node in nodes] == [(), (0,), (1,), (2,), (3,), (4,), ()]
    assert [node.module for node in nodes][-2:] == ["head", ""]
    assert nodes[2].facts["ONNX"] == "added by openvino"
    events = profile.to_trace()["traceEvents"]
    assert [event["ts"] for event in events][:4] == [0, 1000, 3000, 6000]


def test_steps_of_which_no_flow_is_told_follow_each_other() -> None:
    layers = [LayerTime(name, "K", "f32", 1, (name,)) for name in ("conv", "relu", "head")]
    profile = BundleProfile("net", "native", 3.0, 3.0, attribute(layers, MODULES))
    assert [node.reads for node in profile.to_nodes()] == [(), (0,), (1,)]


def test_layers_that_read_each_other_in_a_circle_end() -> None:
    layers = [LayerTime("a", "K", "", 1, (), ("b",)), LayerTime("b", "K", "", 1, (), ("a",))]
    assert {one.module for one in attribute(layers, MODULES)} == {UNATTRIBUTED}


@pytest.mark.slow
@needs("torch", "onnx", "onnxscript", "onnxruntime", "openvino")
@pytest.mark.parametrize(
    ("target", "precision", "options", "least"),
    [
        ("openvino", "fp32", {}, 0.9),
        ("onnxruntime", "fp32", {}, 0.8),
        pytest.param("android", "fp32", {}, 0.99, marks=needs("onnx2tf", "ai_edge_litert")),
        ("native", "fp32", {"isa": "here"}, 0.99),
        ("native", "int8", {"isa": "here"}, 0.99),
    ],
)
def test_names_tell_the_modules_of_nearly_all_the_time(
    target: str, precision: str, options: dict[str, str], least: float, tmp_path: Path
) -> None:
    """`least`, of the layers, leaves room for what a runtime adds, such as a change of layout."""
    request = BuildRequest(
        "egeunet",
        target,
        precision,
        tmp_path / "bundle",
        size=(64, 64),
        options=options,
        calibration_images=2,
    )
    build_bundle(request)
    profile = profile_bundle(tmp_path / "bundle", runs=5)
    here = best_here("int8")  # without products of bytes, it computes rounded weights in FP32
    computes_in_int8 = precision == "int8" and here is not None and bool(here.machine.bytes)
    kinds = re.compile(r"Conv(olution)?\b")  # and not "Convert"
    convolutions = [one for one in profile.layers if kinds.search(one.layer.kind)]
    assert convolutions
    assert sum(one.is_named for one in convolutions) > 0.9 * len(convolutions)
    assert sum(one.is_named for one in profile.layers) > least * len(profile.layers)
    assert profile.attributed_share > 0.99
    assert ("i8" in {one.layer.precision for one in profile.layers}) == computes_in_int8
    assert 0.3 * profile.run_ms < profile.sum_ms < 3 * profile.counted_ms
    assert len(profile.by_module(1)) > 5


@pytest.mark.slow
def test_the_command(run_cli: RunCli, small_bundles: dict[str, Path], tmp_path: Path) -> None:
    """INT8 on ONNX Runtime: the nodes between Q/DQ operators are found again."""
    trace = tmp_path / "trace.json"
    explorer = tmp_path / "explorer"
    words = ("--runs", "3", "--trace", trace, "--model-explorer", explorer)
    done = run_cli("profile", small_bundles["int8"], *words)
    assert done.returncode == 0, done.stderr
    assert f"model-explorer {explorer / 'graph.json'}" in done.stdout.replace("\n", "")
    (graph,) = json.loads((explorer / "graph.json").read_text())["graphs"]
    values = json.loads((explorer / "milliseconds.json").read_text())[graph["id"]]["results"]
    assert {node["id"] for node in graph["nodes"]} == set(values)
    assert "encoder1" in done.stdout
    assert "with counters" in done.stderr
    assert len(json.loads(trace.read_text())["traceEvents"]) > 50
    done = run_cli("profile", small_bundles["int8"], "--runs", "3", "--json")
    record = json.loads(done.stdout)
    convolutions = [one for one in record["layers"] if "Conv" in one["kind"]]
    assert len(convolutions) > 50
    assert all(one["is_named"] for one in convolutions)
    assert record["attributed_share"] > 0.99
    assert {"i8", "u8"} & {one["precision"] for one in record["layers"]}


@pytest.mark.slow
def test_a_graph_without_modules_is_told(
    run_cli: RunCli, small_bundles: dict[str, Path], tmp_path: Path
) -> None:
    import onnx

    folder = tmp_path / "bundle"
    shutil.copytree(small_bundles["fp32"], folder)
    path = folder / "source" / "model.onnx"
    model = onnx.load(path)
    for node in model.graph.node:
        del node.metadata_props[:]
    onnx.save(model, path)
    manifest = json.loads((folder / "manifest.json").read_text())
    for one in manifest["files"]:
        if one["path"] == "source/model.onnx":
            content = path.read_bytes()
            one.update(sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content))
    (folder / "manifest.json").write_text(json.dumps(manifest))
    profile = profile_bundle(folder, runs=1)
    assert profile.attributed_share == 0
    assert set(profile.by_module(1)) == {UNATTRIBUTED}
    done = run_cli("profile", folder, "--runs", "1")
    assert done.returncode == 0, done.stderr
    assert "names no modules" in done.stderr
    assert "Build the bundle anew" in " ".join(done.stderr.split())


@needs("openvino", "onnx_ir")
def test_a_bundle_without_its_source_is_refused(tmp_path: Path) -> None:
    folder = write_small_bundle(tmp_path / "bundle")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"] = [one for one in manifest["files"] if one["role"] != "source"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    shutil.rmtree(folder / "source")
    with pytest.raises(BenchmarkError, match=r"has no source/model\.onnx.*Profile the whole"):
        profile_bundle(folder, runs=3)
    with pytest.raises(UsageError, match=r"measures nothing\. Give 1 or more"):
        profile_bundle(folder, runs=0)


def test_a_runtime_that_tells_no_layers_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LiteRtRuntime, "profiler", "")
    request = ProfileRequest(None, Path(), None, 1)  # type: ignore[arg-type]
    with pytest.raises(TargetError, match=r"litert does not tell.*Profile a bundle of "):
        LiteRtRuntime().profile(request)
