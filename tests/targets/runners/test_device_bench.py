"""The bench that bundles carry, with a clock of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from runner_bundle import FAKE_BACKEND, RUNNERS, make_bundle, run_script

from edgeseg.contract import OutputContract
from edgeseg.models import find_model
from edgeseg.targets.runners import device_bench
from edgeseg.targets.runners.device_bench import measure, summarize, warm, write_labels

SPEC = find_model("egeunet").at_size(32, 32)
OUTPUTS = OutputContract(("background", "bright"), 1)


class Clock:
    """Time that passes only when an inference takes it."""

    def __init__(self) -> None:
        self.now_ms = 0.0

    def perf_counter(self) -> float:
        return self.now_ms / 1e3

    def perf_counter_ns(self) -> int:
        return round(self.now_ms * 1e6)


class TimedBackend:
    """Takes the times that are given, the last one for ever."""

    def __init__(self, clock: Clock, times_ms: list[float]) -> None:
        self.clock = clock
        self.times_ms = times_ms
        self.runs = 0

    def run(self, image: Any) -> Any:
        self.clock.now_ms += self.times_ms[min(self.runs, len(self.times_ms) - 1)]
        self.runs += 1
        return (image[:, :1] > 127).astype(np.float32)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(device_bench.time, "perf_counter", made.perf_counter)
    monkeypatch.setattr(device_bench.time, "perf_counter_ns", made.perf_counter_ns)
    return made


@pytest.fixture
def make_network(clock: Clock, tmp_path: Path) -> Callable[..., Callable[..., Any]]:
    """Make a loader, which takes 40 ms, of a network with a timed backend."""
    (tmp_path / "golden").mkdir()
    np.save(tmp_path / "golden" / "image.npy", np.full((4, 6, 3), 200, np.uint8))

    def make(times_ms: list[float]) -> Callable[..., Any]:
        def load(folder: Path, threads: int) -> Any:
            clock.now_ms += 40
            return SimpleNamespace(
                backend=TimedBackend(clock, times_ms),
                inputs=SPEC.inputs,
                outputs=OUTPUTS,
                threads=threads,
                manifest={
                    "model": {"name": "egeunet"},
                    "target": "jetson",
                    "precision": "int8",
                    "golden": {"image": "golden/image.npy"},
                },
            )

        return load

    return make


def test_record_says_what_was_measured(make_network: Callable[..., Any], tmp_path: Path) -> None:
    # First 9 ms; two warm-up blocks of 2 ms are steady; then 1, 2 and 6 ms.
    network, record = measure(tmp_path, 3, 2, make_network([9.0, *[2.0] * 10, 1.0, 2.0, 6.0]))
    expected = {
        "model": "egeunet",
        "target": "jetson",
        "precision": "int8",
        "input": [1, 3, 32, 32],
        "threads": 2,
        "runs": 3,
        "warm_up": {"inferences": 10, "is_steady": True},
        "runtime": {},
    }
    assert {key: record[key] for key in expected} == expected
    assert record["load_ms"] == pytest.approx(40)
    assert record["first_ms"] == pytest.approx(9)
    assert record["latency_ms"]["p50"] == pytest.approx(2)
    assert record["latency_ms"]["mean"] == pytest.approx(3)
    assert network.threads == 2
    assert json.loads(json.dumps(record)) == record
    assert record["machine"]["python"] == sys.version.split()[0]
    if sys.platform == "linux":
        assert record["peak_rss_bytes"] >= record["bare_rss_bytes"] > 0


def test_percentiles() -> None:
    # 0..100: the percentile is the number.
    summary = summarize([float(value) for value in range(101)])
    assert summary == pytest.approx({"p50": 50, "p90": 90, "p99": 99, "mean": 50})


def test_warm_up_waits_until_the_clock_of_the_device_has_risen(clock: Clock) -> None:
    # Medians of blocks: 8, 4, 2, 2.
    backend = TimedBackend(clock, [8.0] * 5 + [4.0] * 5 + [2.0])
    assert warm(backend, np.zeros((1, 3, 2, 2))) == {"inferences": 20, "is_steady": True}


def test_warm_up_that_never_settles_says_so(clock: Clock) -> None:
    backend = TimedBackend(clock, [float(2**block) for block in range(40) for _ in range(5)])
    assert warm(backend, np.zeros((1, 3, 2, 2))) == {"inferences": 150, "is_steady": False}


def test_backend_that_describes_itself_is_asked(
    make_network: Callable[..., Any], tmp_path: Path
) -> None:
    load = make_network([1.0])

    def load_described(folder: Path, threads: int) -> Any:
        network = load(folder, threads)
        network.backend.describe = lambda: {"runtime": "TensorRT 10.3.0"}
        return network

    _, record = measure(tmp_path, 1, 1, load_described)
    assert record["runtime"] == {"runtime": "TensorRT 10.3.0"}


def test_no_runs_are_refused(make_network: Callable[..., Any], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is 0; it must be at least 1"):
        measure(tmp_path, 0, 1, make_network([1.0]))


# In a bundle


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    artifact = {"files": ["artifact/net.bin"], "settings": {"device": "CPU"}}
    bench = (RUNNERS / "device_bench.py").read_bytes()
    runner = {"backend.py": FAKE_BACKEND.encode(), "device_bench.py": bench}
    return make_bundle(tmp_path, artifact, runner)


def run_bench(bundle: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return run_script(bundle, "device_bench.py", *words)


def test_bundle_is_measured_without_edgeseg(bundle: Path) -> None:
    before = set(bundle.rglob("*"))
    done = run_bench(bundle, "--runs", "7")
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert (record["model"], record["target"], record["runs"]) == ("brightness", "any", 7)
    assert 0 < record["latency_ms"]["p50"] <= record["latency_ms"]["p90"]
    assert set(bundle.rglob("*")) == before  # no compiled copies


def test_images_of_a_folder_are_labelled(bundle: Path) -> None:
    (bundle / "images").mkdir()
    image = np.load(bundle / "image.npy")
    np.save(bundle / "images" / "decoded.npy", image)
    prepared = np.zeros((1, 3, 32, 32), np.float32)
    prepared[..., :8] = 200
    np.save(bundle / "images" / "prepared.npy", prepared)
    done = run_bench(bundle, "--runs", "1", "--images", "images", "--output", "labels")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["labelled_images"] == 2
    decoded = np.load(bundle / "labels" / "decoded.npy")
    assert decoded.tolist() == [[1] * 6] * 2 + [[0] * 6] * 2
    labels = np.load(bundle / "labels" / "prepared.npy")
    assert (labels.dtype, labels.shape) == (np.uint8, (32, 32))
    assert np.array_equal(labels, prepared[0, 0] > 127)


def test_folder_without_images_is_refused(bundle: Path) -> None:
    done = run_bench(bundle, "--runs", "1", "--images", "golden/none", "--output", "labels")
    assert done.returncode == 1
    assert "There is no .npy file in" in done.stderr


def test_images_need_an_output(bundle: Path) -> None:
    done = run_bench(bundle, "--images", "images")
    assert done.returncode == 2
    assert "give --images and --output together" in done.stderr


def test_mask_with_nan_is_an_error(tmp_path: Path) -> None:
    np.save(tmp_path / "one.npy", np.zeros((1, 3, 32, 32), np.float32))
    backend = SimpleNamespace(run=lambda image: np.full((1, 1, 32, 32), np.nan))
    network = SimpleNamespace(backend=backend, outputs=OUTPUTS)
    with pytest.raises(RuntimeError, match=r"one\.npy holds NaN or infinity"):
        write_labels(network, tmp_path, tmp_path / "labels")
