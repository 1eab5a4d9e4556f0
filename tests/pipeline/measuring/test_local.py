from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from support import needs

from edgeseg.bundle.bundle import open_bundle

pytestmark = [needs("torch", "openvino", "nncf"), pytest.mark.slow]

ROW_KEYS = {
    "model", "target", "precision", "threads", "latency_ms", "fps", "peak_rss_mb",
    "artifact_bytes", "load_ms", "first_ms", "accuracy", "delta", "delta_ci95", "flips_per_10k",
    "worst_image", "baseline", "speedup",
}  # fmt: skip

RunCli = Callable[..., "CompletedProcess[str]"]


def test_a_bench_measures_every_bundle_and_its_baseline(
    built: dict[str, Path], tmp_path: Path, run_cli: RunCli
) -> None:
    folder = shutil.copytree(built["int8"], tmp_path / "int8")
    result = tmp_path / "bench.json"
    done = run_cli(
        "bench", folder, built["fp32"], "--split", "val", "--runs", 20, "--json", result, "--record"
    )
    assert done.returncode == 0, done.stderr
    assert "egeunet-intel-int8" in done.stdout

    report = json.loads(result.read_text())
    data = report["data"]
    assert len(data.pop("names")) == 11
    assert len(data.pop("sha256")) == 64
    assert data == {
        "folder": "isic2016_cc0",
        "splits": ["val"],
        "images": 11,
        "resolution": "network input",
        "groups": {},
    }
    assert report["environment"]["threads"] == 1
    assert report["environment"]["versions"]["openvino"]
    baseline, int8, fp32 = report["rows"]
    for row in report["rows"]:
        assert row.keys() >= ROW_KEYS
        assert row["latency_ms"].keys() == {"p50", "p90", "p99", "mean"}
        assert 0 < row["latency_ms"]["p50"] <= row["latency_ms"]["p90"] <= row["latency_ms"]["p99"]
        assert row["runs"] >= 20
        assert row["baseline"]["name"] == baseline["name"]
        assert row["peak_rss_mb"] > 1
        low, high = row["delta_ci95"]["dice_pooled"]
        assert low <= row["delta"]["dice_pooled"] <= high
    # The float artefact gives torch's masks: it may differ in a few pixels on the threshold.
    assert fp32["flips_per_10k"] == baseline["flips_per_10k"] < 1
    assert int8["flips_per_10k"] > fp32["flips_per_10k"]
    (reference,) = report["reference"]
    expected = reference["accuracy"]["dice_pooled"] + int8["delta"]["dice_pooled"]
    assert int8["accuracy"]["dice_pooled"] == pytest.approx(expected)
    assert int8["artifact_bytes"] == open_bundle(folder).artifact_bytes

    recorded = open_bundle(folder).manifest.measurements
    assert [row["speedup"] for row in recorded] == [int8["speedup"]]
    open_bundle(folder).check_files()


def test_the_baseline_is_what_was_asked_for(
    small_bundles: dict[str, Path], tmp_path: Path, run_cli: RunCli
) -> None:
    names = []
    for kind in ("plain", "target"):
        result = tmp_path / f"{kind}.json"
        words = ("bench", small_bundles["fp32"], "--split", "val", "--images", 1, "--runs", 1)
        done = run_cli(*words, "--json", result, "--baseline", kind)
        assert done.returncode == 0, done.stderr
        names.append(json.loads(result.read_text())["rows"][1]["baseline"]["name"])
    own = "egeunet-onnxruntime-fp32"
    assert names == [f"{own} (plain export)", f"{own} (FP32 baseline)"]


def test_a_baseline_that_is_none_is_refused(built: dict[str, Path], run_cli: RunCli) -> None:
    done = run_cli("bench", built["fp32"], "--baseline", "plane")
    assert (done.returncode, done.stdout) == (2, "")
    assert "Unknown baseline 'plane'. Did you mean plain?" in done.stderr
    done = run_cli("bench", built["fp32"], "--baseline", "target", "--device", "ssh://a@b")
    assert done.returncode == 2
    assert "Leave --baseline out" in done.stderr


def test_a_bundle_without_source_cannot_be_compared(
    built: dict[str, Path], tmp_path: Path, run_cli: RunCli
) -> None:
    folder = shutil.copytree(built["fp32"], tmp_path / "fp32")
    shutil.rmtree(folder / "source")
    done = run_cli("bench", folder)
    assert done.returncode == 1
    assert "Copy it again, or build it anew" in done.stderr


def test_numbers_of_runs_and_threads_are_checked(built: dict[str, Path], run_cli: RunCli) -> None:
    done = run_cli("bench", built["fp32"], "--runs", 0)
    assert (done.returncode, done.stdout) == (2, "")
    assert "--runs" in done.stderr


def test_a_bundle_whose_baseline_cannot_be_made_is_left_out_and_told(
    built: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgeseg.benchmarks.settings import BenchSettings
    from edgeseg.data.folder import open_sample
    from edgeseg.errors import TargetError
    from edgeseg.pipeline.measuring import local as bench

    made = bench.baseline_artifact
    fails = [True, False]

    def once(*arguments: object) -> object:
        if fails and fails.pop(0):
            raise TargetError("The tool has no Pad.")
        return made(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(bench, "baseline_artifact", once)
    bundles = [open_bundle(built["int8"]), open_bundle(built["fp32"])]
    dataset = open_sample(["val"])
    few = type(dataset)(dataset.root, dataset.splits, dataset.pairs[:2])
    report = bench.bench_bundles(bundles, few, BenchSettings(runs=10))
    names = [row["name"] for row in report.rows]
    assert names == ["egeunet-intel-fp32 (plain export)", "egeunet-intel-fp32"]
    (failure,) = report.failures
    assert (failure.name, failure.target) == ("egeunet-intel-int8", "intel")
    assert "has no Pad" in failure.reason
    assert "--baseline target" in failure.reason
    fails.append(True)
    with pytest.raises(TargetError, match="has no Pad"):
        bench.bench_bundles(bundles[:1], few, BenchSettings(runs=10))
