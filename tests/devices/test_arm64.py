"""Kits, runners and INT8 artefacts on ARM code: Debian for ARM64, under emulation.

What it computes is that of an ARM CPU; how fast it is says nothing of one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
from arm64_userland import Arm64Userland
from loopback_sshd import LoopbackSshd, is_running
from support import REPORTED, needs

from edgeseg.bundle.bundle import Bundle
from edgeseg.data.folder import open_sample
from edgeseg.metrics.agreement import PER
from edgeseg.pipeline.build import BuildRequest, build_bundle
from edgeseg.pipeline.predict import load_bundle

pytestmark = [
    needs("torch", "onnxruntime", "onnx2tf", "ai_edge_litert"),
    pytest.mark.slow,
    pytest.mark.timeout(900),
]

RunCli = Callable[..., "CompletedProcess[str]"]
CASES = [("onnxruntime", "fp32"), ("onnxruntime", "int8"), ("android", "int8")]
INT8_CASES = [case for case in CASES if case[1] == "int8"]
IMAGES = 1  # an emulated inference takes seconds
# device_bench.py in the folder of the first word, without the inferences that only steady a clock.
BRIEF_BENCH = """
import sys
sys.path.insert(0, sys.argv.pop(1))
import device_bench
device_bench.WARM_UP_BLOCKS = device_bench.WARM_UP_COUNT = 1
sys.exit(device_bench.main())
"""


@pytest.fixture(scope="session")
def bundle(
    request: pytest.FixtureRequest,
    arm64: Arm64Userland,
    tmp_path_factory: pytest.TempPathFactory,
) -> Bundle:
    """The shipped egeunet as it ships, at 256x256."""
    target, precision = request.param
    output = tmp_path_factory.mktemp("arm64-bundles") / f"{target}-{precision}"
    return build_bundle(BuildRequest("egeunet", target, precision, output))[0]


@pytest.fixture(scope="session")
def kit(bundle: Bundle, arm64: Arm64Userland) -> str:
    """The bundle's folder on the device."""
    return arm64.share_folder(bundle.folder, bundle.name)


@pytest.mark.parametrize("bundle", CASES, indirect=True, ids="-".join)
def test_the_runner_replays_the_golden_pair(bundle: Bundle, kit: str, arm64: Arm64Userland) -> None:
    done = arm64.run("python3", f"{kit}/runner/run.py", "--verify")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("ok: largest difference")
    REPORTED.append(f"ARM64, golden image of {bundle.name}: {done.stdout[4:].strip()}")


@pytest.mark.parametrize("bundle", INT8_CASES, indirect=True, ids="-".join)
def test_label_maps_are_those_of_this_machine(
    bundle: Bundle, kit: str, arm64: Arm64Userland
) -> None:
    folder = arm64.share / f"images-{bundle.name}"
    folder.mkdir()
    here = load_bundle(bundle)
    expected = {}
    for pair in open_sample(["test"])[:IMAGES]:
        image = pair.read_image()
        prepared = bundle.inputs.prepare(image)
        probabilities = here.run(prepared)
        np.save(folder / f"{pair.name}-artefact.npy", prepared)
        expected[f"{pair.name}-artefact"] = bundle.outputs.labels(probabilities)
        np.save(folder / f"{pair.name}-kit.npy", image)
        expected[f"{pair.name}-kit"] = bundle.outputs.restore(probabilities, *image.shape[:2])
    output = f"/mnt/labels-{bundle.name}"
    words = ("--runs", "1", "--images", f"/mnt/{folder.name}", "--output", output)
    done = arm64.run("python3", "-c", BRIEF_BENCH, f"{kit}/runner", *words)
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert record["machine"]["machine"] == "aarch64"
    assert record["labelled_images"] == 2 * IMAGES
    for what, told in (("artefact", "prepared here"), ("kit", "prepared there")):
        flips = [
            np.mean(labels != np.load(arm64.share / f"{output[5:]}/{name}.npy")) * PER
            for name, labels in expected.items()
            if name.endswith(what)
        ]
        REPORTED.append(
            f"ARM64, {IMAGES} images {told}, {bundle.name}: {np.mean(flips):.2f} of 10,000 pixels "
            f"differ from this machine's (at most {max(flips):.2f})"
        )
        assert max(flips) <= bundle.manifest.golden.max_flips_per_10k


def test_bench_over_ssh_measures_there(
    small_bundles: dict[str, Path],
    arm64: Arm64Userland,
    start_sshd: Callable[..., LoopbackSshd],
    tmp_path: Path,
    run_cli: RunCli,
) -> None:
    sshd = start_sshd(f"ForceCommand {arm64.enter}")
    result = tmp_path / "bench.json"
    words = ("--device", sshd.address, "--runs", 12, "--images", 1, "--json", result)
    done = run_cli("bench", small_bundles["int8"], small_bundles["fp32"], *words)
    assert done.returncode == 0, done.stderr
    report = json.loads(result.read_text())
    assert report["environment"]["machine"] == "aarch64"
    assert report["environment"]["device"] == str(sshd.address)
    assert re.match(r"3\.11\.", report["environment"]["python"])
    baseline, int8 = report["rows"]
    assert (baseline["precision"], int8["precision"]) == ("fp32", "int8")
    assert baseline["flips_per_10k"] < 1
    assert int8["speedup"] > 0
    assert int8["runs"] >= 12
    assert not list((arm64.root / "tmp").iterdir())
    assert not is_running("tools/device_worker.py")
