"""A runtime, and its on-device program, from another package: no file of edgeseg knows them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
from fake_adb import SERIAL
from support import needs

from edgeseg.bundle.bundle import open_bundle
from edgeseg.data.folder import open_sample
from edgeseg.pipeline.predict import predict_images
from edgeseg.targets import RUNTIMES

pytestmark = needs("torch", "onnx", "onnxscript", "onnxruntime")

RunCli = Callable[..., "CompletedProcess[str]"]

RUNTIME = '''
"""Runtime `mirror`: an ONNX file whose bytes are in reverse order."""

from edgeseg.targets.base import Runtime, Written
from mirror.program import MirrorBench


class MirrorRuntime(Runtime):
    name = "mirror"
    devices = ("android",)
    title = "Mirror, which reads networks backwards"
    artifact_format = "mirror"
    quantized_from = ()
    compiled_precisions = ("fp32",)
    quantized_precisions = ()
    build_packages = ("onnx",)
    run_packages = ("onnxruntime",)
    backend_module = "mirror.backend"
    device_program = MirrorBench()

    def _write(self, onnx_path, folder, precision):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "network.mirror").write_bytes(onnx_path.read_bytes()[::-1])
        return Written(("network.mirror",))

    def runtime_settings(self, precision):
        return {"order": "backwards"}
'''
BACKEND = '''
"""Runs a mirrored network. Needs numpy and onnxruntime only."""

from pathlib import Path

import numpy as np


class Backend:
    def __init__(self, folder, files, runtime, threads):
        import onnxruntime

        if runtime["order"] != "backwards":
            raise RuntimeError("this runner reads backwards only")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        content = (Path(folder) / files[0]).read_bytes()[::-1]
        self.session = onnxruntime.InferenceSession(
            content, options, providers=["CPUExecutionProvider"]
        )

    def run(self, image):
        name = self.session.get_inputs()[0].name
        return np.asarray(self.session.run(None, {name: image})[0], np.float32)
'''
PROGRAM = '''
"""The on-device program of `mirror`: raw float32 tensors, channels first; it reports JSON."""

import json
from dataclasses import dataclass

import numpy as np

from edgeseg.targets.device_program import DeviceProgram, ProgramTimings


@dataclass(frozen=True)
class PlainForm:
    shape: tuple

    @property
    def size_bytes(self):
        return 4 * int(np.prod(self.shape))

    def encode(self, values):
        return values.astype(np.float32).tobytes()

    def decode(self, content):
        return np.frombuffer(content, np.float32).reshape(self.shape)


class MirrorBench(DeviceProgram):
    name = "mirror_bench"
    build_advice = "the one for the device's processor"
    output_flag = "OUTPUT"

    def recognizes(self, help_text):
        return "mirror_bench NETWORK" in help_text

    def input_form(self, artifact, shape):
        return PlainForm(tuple(shape))

    output_form = input_form

    def command(self, artifact, shape, call):
        words = [call.program, call.graph, call.input_file, call.runs, *shape]
        return [str(word) for word in (*words, call.output_file or "")]

    def parse_timings(self, text):
        return ProgramTimings(**json.loads(text.strip().splitlines()[-1]))
'''
BENCH = """
import json, sys, time
import numpy as np
if "--help" in sys.argv:
    print("mirror_bench NETWORK INPUT RUNS N C H W OUTPUT")
    sys.exit()
import onnxruntime
network, source, runs, *shape, result = sys.argv[1:]
started = time.perf_counter()
session = onnxruntime.InferenceSession(
    open(network, "rb").read()[::-1], providers=["CPUExecutionProvider"]
)
init = time.perf_counter() - started
image = np.fromfile(source, np.float32).reshape([int(size) for size in shape])
times = []
for _ in range(1 + int(runs)):
    started = time.perf_counter()
    (mask,) = session.run(None, {session.get_inputs()[0].name: image})
    times.append(time.perf_counter() - started)
if result:
    mask.tofile(result)
print(json.dumps({
    "init_ms": init * 1e3, "first_ms": times[0] * 1e3, "mean_ms": float(np.mean(times[1:])) * 1e3,
    "count": int(runs), "peak_bytes": 5_000_000,
}))
"""


@pytest.fixture
def mirror(install_package: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The package of the runtime `mirror`, installed; its folder."""
    files = {
        "mirror/__init__.py": "",
        "mirror/runtime.py": RUNTIME,
        "mirror/backend.py": BACKEND,
        "mirror/program.py": PROGRAM,
    }
    places = {"edgeseg.targets": {"mirror": "mirror.runtime:MirrorRuntime"}}
    folder = install_package("mirror", files, places)
    monkeypatch.setattr(RUNTIMES, "_places", None)
    yield folder
    for name in [name for name in sys.modules if name.partition(".")[0] == "mirror"]:
        del sys.modules[name]


@pytest.fixture
def bundle(mirror: Path, tmp_path: Path, run_cli: RunCli) -> Path:
    """A bundle of the shipped ulite for that runtime, built by the command."""
    folder = tmp_path / "bundle"
    words = ("--target", "android", "--runtime", "mirror", "--precision", "fp32")
    done = run_cli("build", "--model", "ulite", *words, "--size", "64x64", "--output", folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_doctor_lists_it(mirror: Path, run_cli: RunCli) -> None:
    done = run_cli("doctor")
    assert done.returncode == 0, done.stderr
    assert "mirror" in done.stdout


def test_its_bundle_is_built_verified_run_and_measured(
    bundle: Path, tmp_path: Path, run_cli: RunCli
) -> None:
    manifest = open_bundle(bundle).manifest
    assert (manifest.target, manifest.runtime) == ("android", "mirror")
    assert manifest.artifact.settings == {"order": "backwards"}
    assert manifest.toolchain["mirror"] == "1.0"
    assert manifest.checks["artifact"].flips_per_10k < 1
    done = run_cli("verify", bundle)
    assert done.returncode == 0, done.stderr

    pair = open_sample(["test"])[0]
    np.save(tmp_path / "image.npy", pair.read_image())
    # Without edgeseg, and without the package: the bundle carries what runs it.
    blocked = "import sys, runpy\nfor name in ('edgeseg', 'mirror'): sys.modules[name] = None\n"
    run = bundle / "runner" / "run.py"
    program = f"{blocked}runpy.run_path({str(run)!r}, run_name='__main__')"
    for words in (["--verify"], ["image.npy", "--output", "mask.npy"]):
        subprocess.run(
            [sys.executable, "-c", program, *words],
            cwd=tmp_path,
            check=True,
            env={**os.environ, "PYTHONPATH": ""},
        )
    (ours,) = predict_images(open_bundle(bundle), [pair.image_path])
    assert (np.load(tmp_path / "mask.npy") == ours.labels).all()

    result = tmp_path / "bench.json"
    done = run_cli("bench", bundle, "--runs", 12, "--images", 1, "--json", result)
    assert done.returncode == 0, done.stderr
    baseline, row = json.loads(result.read_text())["rows"]
    assert baseline["is_baseline"]
    assert row["latency_ms"]["p50"] > 0
    assert row["flips_per_10k"] < 1
    assert row["speedup"] > 0


def test_its_program_measures_it_over_adb(
    bundle: Path, adb_device: Path, tmp_path: Path, run_cli: RunCli
) -> None:
    (tmp_path / "bench.py").write_text(BENCH)
    program = tmp_path / "mirror_bench"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{tmp_path}/bench.py" "$@"\n')
    result = tmp_path / "bench.json"
    device = ("--device", f"adb://{SERIAL}", "--device-program", program)
    done = run_cli("bench", bundle, *device, "--runs", 12, "--images", 1, "--json", result)
    assert done.returncode == 0, done.stderr
    assert list(adb_device.iterdir()) == []
    report = json.loads(result.read_text())
    (row,) = report["rows"]
    assert report["environment"]["mirror_bench"].endswith("/mirror_bench")
    assert row["device"] == f"adb://{SERIAL}"
    assert row["latency_ms"]["p50"] > 0
    assert row["peak_rss_mb"] == pytest.approx(5.0)
    assert row["flips_per_10k"] < 1


def test_without_a_program_it_is_refused_over_adb(
    bundle: Path, adb_device: Path, run_cli: RunCli
) -> None:
    done = run_cli("bench", bundle, "--device", f"adb://{SERIAL}")
    assert done.returncode == 2
    assert "Over adb the program mirror_bench does the work. Name it with" in done.stderr
