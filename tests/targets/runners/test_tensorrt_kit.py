"""The kit of `jetson`, in a process without edgeseg. TensorRT and the GPU are those of fakes/."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from fake_jetson import FAKES, FILES, write_plan
from runner_bundle import RUNNERS, make_bundle, run_script


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGESEG_CACHE_DIR", str(tmp_path / "cache"))
    folder = tmp_path / "bundle"
    folder.mkdir()
    carried = {
        "backend.py": "tensorrt_backend.py",
        "kit.py": "tensorrt_kit.py",
        "device_bench.py": "device_bench.py",
    }
    runner = {name: (RUNNERS / source).read_bytes() for name, source in carried.items()}
    make_bundle(folder, {"files": list(FILES), "settings": {"package": "tensorrt"}}, runner)
    write_plan(folder)
    return folder


def run(bundle: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return run_script(bundle, "kit.py", *words, paths=(FAKES,))


def test_kit_builds_verifies_and_measures(bundle: Path) -> None:
    before = set(bundle.rglob("*"))
    done = run(bundle, "--runs", "5")
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert record["runs"] == 5
    assert record["runtime"]["runtime"] == "TensorRT 10.3.0"
    assert record["runtime"]["device"] == "Orin with 8 multiprocessors"
    assert record["runtime"]["precision"] == "int8"
    for words in ("Building the int8 engine, once", "engine: ", "TensorRT 10.3.0", "ok: largest"):
        assert words in done.stderr
    assert set(bundle.rglob("*")) == before  # the bundle stays as its manifest says


def test_engine_is_built_before_it_is_measured(bundle: Path) -> None:
    assert run(bundle, "build").stdout == ""
    done = run(bundle, "bench", "--runs", "1")
    assert done.returncode == 0, done.stderr
    assert "Building" not in done.stderr
    assert json.loads(done.stdout)["first_ms"] > 0


def test_engine_is_built_again_on_demand(bundle: Path) -> None:
    run(bundle, "build")
    assert "Building" not in run(bundle, "build").stderr
    assert "once: it was asked for" in run(bundle, "build", "--rebuild").stderr


def test_workspace_may_be_smaller_than_the_plan_s(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_FREE_MB", "300")
    done = run(bundle, "build")
    assert done.returncode == 1
    assert "needs a workspace of 512 MB, and 300 MB" in done.stderr
    assert run(bundle, "build", "--workspace-mb", "256").returncode == 0
    (record,) = bundle.parent.glob("cache/engines/*/engine.json")
    assert json.loads(record.read_text())["workspace_mb"] == 256
    assert "Building" not in run(bundle, "build", "--workspace-mb", "256").stderr
    other = run(bundle, "build", "--workspace-mb", "128").stderr
    assert "once: it was built with a workspace of 256 MB" in other


def test_golden_pair_that_does_not_hold_ends_the_kit(bundle: Path) -> None:
    np.save(bundle / "golden" / "mask.npy", np.zeros((1, 1, 32, 32), np.float16))
    done = run(bundle)
    assert done.returncode == 1
    assert "FAILED: largest difference 1.00e+00" in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("FAKE_TRT_VERSION", "8.6.1", "from 10.3 to below 12.0, and here is 8.6.1"),
        ("FAKE_GPU", "", "no NVIDIA GPU can be used here"),
        ("FAKE_TRT_REFUSES", "parse", "refuses the graph: Resize 'up2'"),
    ],
)
def test_kit_says_why_it_cannot(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, message: str
) -> None:
    monkeypatch.setenv(variable, value)
    done = run(bundle)
    assert done.returncode == 1
    assert "Error: " in done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_machine_without_packages_is_told_where_they_come_from(bundle: Path) -> None:
    done = run_script(bundle, "kit.py")
    assert done.returncode == 1
    assert "the package tensorrt does not load" in done.stderr
    assert "sudo apt install python3-libnvinfer" in done.stderr
