"""`edgeseg bench --device`, against a real sshd on loopback."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import venv
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
from loopback_sshd import LoopbackSshd, wait_until
from support import needs

from edgeseg.bundle.bundle import open_bundle
from edgeseg.errors import DeviceError
from edgeseg.lazy import module_file
from edgeseg.pipeline.devices.ssh import SshDevice
from edgeseg.pipeline.measuring.remote import find_baseline
from edgeseg.records import sha256_of_file
from edgeseg.targets.transports.ssh import SshTransport

pytestmark = [needs("torch", "onnxruntime"), pytest.mark.slow]

RunCli = Callable[..., "CompletedProcess[str]"]
StartSshd = Callable[..., LoopbackSshd]
Bundles = dict[str, Path]
WORKER = "tools/device_worker.py"


@pytest.fixture
def sshd(start_sshd: StartSshd) -> LoopbackSshd:
    return start_sshd()


def device_words(sshd: LoopbackSshd, *more: object) -> tuple[object, ...]:
    return ("--device", sshd.address, "--device-python", sys.executable, "--runs", 12, *more)


def nothing_is_left(sshd: LoopbackSshd) -> bool:
    return not sshd.running(WORKER) and list(sshd.temporary.iterdir()) == []


@pytest.fixture
def copied(small_bundles: Bundles, tmp_path: Path) -> Path:
    """A bundle to change."""
    return shutil.copytree(small_bundles["fp32"], tmp_path / "copied")


@pytest.fixture
def transport(sshd: LoopbackSshd) -> Iterator[SshTransport]:
    with SshTransport(sshd.address, python=sys.executable, timeout_s=60) as transport:
        yield transport


def test_rows_are_those_of_a_local_bench(
    small_bundles: Bundles, sshd: LoopbackSshd, tmp_path: Path, run_cli: RunCli
) -> None:
    bundles = (small_bundles["int8"], small_bundles["fp32"])
    there, here = tmp_path / "there.json", tmp_path / "here.json"
    done = run_cli("bench", *bundles, *device_words(sshd, "--images", 3, "--json", there))
    assert done.returncode == 0, done.stderr
    assert str(sshd.address) in done.stderr
    assert nothing_is_left(sshd)
    remote = json.loads(there.read_text())
    done = run_cli("bench", *bundles, "--runs", 12, "--images", 3, "--json", here)
    assert done.returncode == 0, done.stderr
    local = json.loads(here.read_text())

    assert remote["data"] == local["data"]
    assert remote["data"]["images"] == 3
    assert remote["reference"] == local["reference"]
    assert remote["environment"].keys() >= local["environment"].keys()
    assert remote["environment"]["device"] == str(sshd.address)
    assert remote["environment"]["versions"].keys() == {"numpy", "onnxruntime"}
    fp32, int8 = remote["rows"]
    assert (fp32["precision"], fp32["is_baseline"], fp32["speedup"]) == ("fp32", True, 1.0)
    assert (int8["precision"], int8["is_baseline"]) == ("int8", False)
    assert int8["baseline"]["name"] == fp32["name"]
    identities = [open_bundle(small_bundles[name]).identity for name in ("fp32", "int8")]
    assert [fp32["bundle_sha256"], int8["bundle_sha256"]] == identities
    for row in remote["rows"]:
        (twin,) = (one for one in local["rows"] if one["key"] == row["key"])
        # The baseline of a device is a bundle; that of this machine is none.
        assert row.keys() == twin.keys() - ({"margins"} if row["is_baseline"] else set())
        assert row["device"] == str(sshd.address)
        assert twin["device"] == ""
        # The same runtime on the same CPU: the same masks.
        for name in ("accuracy", "delta", "flips_per_10k", "worst_image", "artifact_bytes"):
            assert row[name] == twin[name]
        assert row["runs"] >= 12
        assert 0 < row["latency_ms"]["p50"] <= row["latency_ms"]["p99"]
        assert 1 < row["peak_rss_mb"] < 1000


def test_without_a_float_bundle_there_is_no_speedup(
    small_bundles: Bundles, sshd: LoopbackSshd, tmp_path: Path, run_cli: RunCli
) -> None:
    folder = shutil.copytree(small_bundles["int8"], tmp_path / "int8")
    done = run_cli("bench", folder, *device_words(sshd, "--images", 1, "--record"))
    assert done.returncode == 0, done.stderr
    assert "For a speed-up name the FP32 bundle" in done.stderr
    (row,) = open_bundle(folder).manifest.measurements
    assert row["speedup"] is None
    assert row["latency_ms"]["p50"] > 0
    assert row["environment"]["device"] == row["device"] == str(sshd.address)


def test_baselines_are_of_the_same_network_and_target(small_bundles: Bundles) -> None:
    fp32, int8 = (open_bundle(small_bundles[name]) for name in ("fp32", "int8"))
    assert find_baseline(int8, [int8, fp32]) == fp32
    assert find_baseline(fp32, [int8, fp32]) == fp32
    assert find_baseline(int8, [int8]) is None
    manifest = fp32.manifest.model_copy(update={"target": "intel"})
    assert find_baseline(int8, [int8, dataclasses.replace(fp32, manifest=manifest)]) is None


def test_the_device_gets_what_it_needs_and_no_more(
    small_bundles: Bundles, transport: SshTransport
) -> None:
    bundle = open_bundle(small_bundles["int8"])
    SshDevice(transport, 1).install(bundle, "bundle0")
    listed = transport.run(["find", "bundle0", "-type", "f"]).stdout.split()
    needed = {file.path for file in bundle.manifest.files if file.role != "source"}
    assert {name.removeprefix("bundle0/") for name in listed} == needed | {"manifest.json"}
    assert not any("source" in name for name in listed)


def test_the_code_that_runs_there_is_the_installed_one(
    copied: Path, transport: SshTransport
) -> None:
    (copied / "runner" / "run.py").write_text("raise SystemExit('code of a bundle')")
    runner = SshDevice(transport, 1).install(open_bundle(copied), "bundle0")
    installed = module_file("edgeseg.targets.runners.run").read_text()
    assert transport.run(["cat", "bundle0/runner/run.py"]).stdout == installed
    numbers, _ = runner.verify()
    assert "pixels flip" in numbers
    assert runner.on_threads(2).open_worker("on two")._place.threads == 2


def test_a_file_that_arrives_changed_is_refused(copied: Path, transport: SshTransport) -> None:
    bundle = open_bundle(copied)
    # Changed after it was checked here: the manifest is right, the file is not.
    path = copied / bundle.manifest.artifact.files[0]
    path.write_bytes(path.read_bytes() + b"another")
    with pytest.raises(DeviceError, match=r"artifact/.* of .* arrived changed at ssh://"):
        SshDevice(transport, 1).install(bundle, "bundle0")


def test_a_missing_package_is_said_with_the_command_that_adds_it(
    small_bundles: Bundles, sshd: LoopbackSshd, tmp_path: Path, run_cli: RunCli
) -> None:
    venv.create(tmp_path / "bare", symlinks=True)
    python = tmp_path / "bare" / "bin" / "python"
    words = ("--device", sshd.address, "--device-python", python)
    done = run_cli("bench", small_bundles["int8"], *words)
    assert done.returncode == 1
    assert f"has no usable numpy for {python}" in done.stderr
    assert f"Install it there: {python} -m pip install numpy" in done.stderr
    assert nothing_is_left(sshd)


def test_a_runtime_that_kills_python_is_said(transport: SshTransport, tmp_path: Path) -> None:
    device = SshDevice(transport, 1)
    (tmp_path / "broken_runtime.py").write_text("import os\nos.abort()")
    transport.push(tmp_path / "broken_runtime.py", "broken_runtime.py")
    with pytest.raises(DeviceError, match=r"Loading broken_runtime ends .*exit code -6"):
        device._probe([("broken_runtime",)])


def test_another_mask_than_the_golden_one_is_refused(
    copied: Path, sshd: LoopbackSshd, run_cli: RunCli
) -> None:
    path = copied / "golden" / "mask.npy"
    np.save(path, 1 - np.load(path))
    manifest = json.loads((copied / "manifest.json").read_text())
    for file in manifest["files"]:
        if file["path"] == "golden/mask.npy":
            file["sha256"] = sha256_of_file(path)
    (copied / "manifest.json").write_text(json.dumps(manifest))
    done = run_cli("bench", copied, *device_words(sshd))
    assert done.returncode == 1
    assert f"does not give its golden mask on {sshd.address}" in done.stderr
    assert "Build it anew with the versions that the device has" in done.stderr


@pytest.fixture
def bench(
    small_bundles: Bundles, sshd: LoopbackSshd, tmp_path: Path
) -> Iterator[subprocess.Popen[str]]:
    """A bench in another process, which measures for minutes if nothing happens to it."""
    words = ("bench", small_bundles["int8"], *device_words(sshd, "--images", 1))
    command = [sys.executable, "-m", "edgeseg", *map(str, words)]
    command[command.index("12")] = "1000000"
    environment = {**os.environ, "TMPDIR": str(tmp_path)}  # one that is killed leaves things here
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stderr is not None
        # The line of the finished stage: what comes next is timing.
        warm = (line.startswith("load and warm up  ") for line in iter(process.stderr.readline, ""))
        assert any(warm)
        assert sshd.running(WORKER)
        yield process
        process.kill()


def test_a_connection_that_is_cut_while_timing_leaves_nothing(
    bench: subprocess.Popen[str], sshd: LoopbackSshd
) -> None:
    sshd.kill_sessions()
    _, said = bench.communicate(timeout=60)
    assert bench.returncode == 1
    assert "was lost while it was to" in said
    assert "Traceback" not in said
    assert wait_until(lambda: nothing_is_left(sshd))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_bench_that_is_ended_leaves_nothing(
    bench: subprocess.Popen[str], sshd: LoopbackSshd, number: signal.Signals
) -> None:
    bench.send_signal(number)
    bench.communicate(timeout=60)
    assert wait_until(lambda: nothing_is_left(sshd))


def test_a_worker_that_the_system_kills_is_said(
    bench: subprocess.Popen[str], sshd: LoopbackSshd
) -> None:
    for process in sshd.running(WORKER):
        os.kill(process, signal.SIGKILL)
    _, said = bench.communicate(timeout=60)
    assert bench.returncode == 1
    assert f"on {sshd.address} ended with signal 9." in said
    assert "enough free memory" in said
    assert wait_until(lambda: nothing_is_left(sshd))


def test_what_takes_too_long_is_said(
    small_bundles: Bundles, sshd: LoopbackSshd, run_cli: RunCli
) -> None:
    done = run_cli("bench", small_bundles["int8"], *device_words(sshd, "--timeout", 0.01))
    assert done.returncode == 1
    assert "more than 0.01 s to" in done.stderr
    assert "--timeout" in done.stderr
    assert nothing_is_left(sshd)


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        (("--device", "raspberry"), "Write it as ssh://USER@HOST"),
        (("--device", "ssh://pi@host", "--timeout", "0"), "Give seconds above 0"),
        (("--device", "ssh://pi@host", "--timeout", "inf"), "Give seconds above 0"),
        (("--device", "ssh://pi@host", "--device-program", "b"), "is for adb://"),
        (("--device", "ssh://pi@host", "--benchmark-model", "b"), "is for adb://"),
        (("--device", "adb://phone", "--device-python", "python3.9"), "is for ssh://"),
        (("--timeout", "5"), "Name it with --device"),
        (("--device-python", "python3.9"), "Name it with --device"),
    ],
)
def test_wrong_requests_are_refused(
    small_bundles: Bundles, run_cli: RunCli, words: tuple[str, ...], advice: str
) -> None:
    done = run_cli("bench", small_bundles["int8"], *words)
    assert done.returncode == 2
    assert advice in done.stderr


def test_a_bundle_named_twice_is_refused(
    small_bundles: Bundles, sshd: LoopbackSshd, run_cli: RunCli
) -> None:
    done = run_cli("bench", *[small_bundles["int8"]] * 2, *device_words(sshd))
    assert done.returncode == 2
    assert "was named twice" in done.stderr


def test_more_threads_than_the_device_has_cores_are_refused(
    small_bundles: Bundles, sshd: LoopbackSshd, run_cli: RunCli
) -> None:
    done = run_cli("bench", small_bundles["int8"], *device_words(sshd, "--threads", 9999))
    assert done.returncode == 2
    assert f"9999 threads were asked for, but {sshd.address} has" in done.stderr
    assert nothing_is_left(sshd)
