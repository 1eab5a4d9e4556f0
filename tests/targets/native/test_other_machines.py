"""The same network for other machines: run by an emulator or node, or looked at."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from native_graphs import Branches, compare_codes, quantized_branches, reference
from numpy.typing import NDArray
from support import UNTESTED, native_optimised, needs

from edgeseg.errors import TargetError
from edgeseg.pipeline.studies.webassembly import relaxed_options
from edgeseg.records import Artifact
from edgeseg.targets import find_runtime
from edgeseg.targets.native.isa import INSTRUCTION_SETS
from edgeseg.targets.native.runtime import CONTENTS, HEADER, WEB_MODULE

pytestmark = needs("torch", "onnx", "onnx_ir", "onnxscript", "onnxruntime", "ziglang")
HELPERS = Path(__file__).parents[2] / "helpers"
EMULATED = ("aarch64", "wasm", "wasm-relaxed")
OTHERS = ("macos", "ios", "windows")
INSTALL = "tests/install_debian_packages.sh"
MOST_FLIPS = 0.1  # in 10,000


@pytest.fixture(scope="module")
def artifact(small_onnx: Path, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    with native_optimised("-O2"):
        return compile_for(EMULATED, small_onnx, tmp_path_factory.mktemp("machines") / "made")


@pytest.fixture(scope="module")
def for_others(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """A small network for machines that nothing here runs."""
    folder = tmp_path_factory.mktemp("others")
    graph = Branches((3, 16, 24))
    graph.end(graph.node("Sigmoid", graph.channels(4)), "mask")
    return compile_for((*EMULATED, *OTHERS), graph.save(folder / "net.onnx"), folder / "made")


def compile_for(names: Sequence[str], onnx_path: Path, folder: Path) -> Artifact:
    runtime = find_runtime("native", {"isa": "+".join(("here", *names)), "static": "true"})
    return runtime.compile(onnx_path, folder, "fp32")


@pytest.fixture(scope="module")
def image() -> NDArray[np.float32]:
    return np.random.default_rng(1).normal(0, 1, (1, 3, 64, 64)).astype(np.float32)


@pytest.fixture(scope="module")
def mask(artifact: Artifact, image: NDArray[np.float32]) -> NDArray[np.float32]:
    return find_runtime("native").load(artifact).run(image)


def variant(artifact: Artifact, name: str) -> dict[str, Any]:
    contents = json.loads((artifact.folder / CONTENTS).read_text())
    return next(one for one in contents["libraries"] if one["isa"] == name)


def require_program(name: str, what: str) -> str:
    path = shutil.which(name)
    if path is None:
        UNTESTED.add(f"{what} (run {INSTALL})")
        pytest.skip(f"not installed: {name}; run {INSTALL}")
    return path


def agrees(given: bytes, wanted: NDArray[np.float32]) -> None:
    mask = np.frombuffer(given, np.float32).reshape(wanted.shape)
    assert np.abs(mask - wanted).max() < 1e-5
    flips = ((mask >= 0.5) != (wanted >= 0.5)).mean()
    assert 10_000 * flips <= MOST_FLIPS


def run_on_arm64(artifact: Artifact, name: str, image: NDArray[np.float32], folder: Path) -> bytes:
    emulator = require_program("qemu-aarch64-static", "the network compiled for ARM64")
    weights = (artifact.folder / variant(artifact, name)["weights"]).read_bytes()
    words = [sys.executable, "-m", "ziglang", "cc", "-target", "aarch64-linux-none", "-O2"]
    words += ["-nostdlib", "-static", "-fno-builtin", f"-DWEIGHTS={len(weights)}"]
    words += [f"-I{artifact.folder}", str(HELPERS / "run_network.c")]
    words += [str(artifact.folder / f"network-{name}.a"), "-o", str(folder / "app")]
    subprocess.run(words, check=True)
    done = subprocess.run(
        [emulator, "-cpu", "max", folder / "app"],
        input=weights + image.tobytes(),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_arm64_computes_the_same(
    artifact: Artifact, image: NDArray[np.float32], mask: NDArray[np.float32], tmp_path: Path
) -> None:
    agrees(run_on_arm64(artifact, "aarch64", image, tmp_path), mask)


def test_arm64_adds_up_products_of_codes(tmp_path: Path) -> None:
    graph = quantized_branches((17, 23))
    path, image = graph.save(tmp_path / "net.onnx"), graph.image()
    runtime = find_runtime("native", {"isa": "aarch64-dotprod", "static": "true"})
    artifact = runtime.compile(path, tmp_path / "made", "int8")
    given = run_on_arm64(artifact, "aarch64-dotprod", image, tmp_path)
    wanted = reference(path, image)
    compare_codes(np.frombuffer(given, np.float32).reshape(wanted.shape), wanted)


@pytest.mark.parametrize("name", ["wasm", "wasm-relaxed"])
def test_web_assembly_computes_the_same(
    name: str,
    artifact: Artifact,
    image: NDArray[np.float32],
    mask: NDArray[np.float32],
    tmp_path: Path,
) -> None:
    node = require_program("node", "the network compiled for WebAssembly")
    (tmp_path / "image").write_bytes(image.tobytes())
    files = [artifact.folder / variant(artifact, name)[key] for key in ("library", "weights")]
    words = [HELPERS / "run_network.mjs", WEB_MODULE, *files, tmp_path / "image", tmp_path / "mask"]
    subprocess.run([node, *relaxed_options(node), *words], check=True)
    agrees((tmp_path / "mask").read_bytes(), mask)


def test_libraries_of_other_systems_are_what_they_should_be(for_others: Artifact) -> None:
    for name, suffix, start in (
        ("windows", ".dll", b"MZ"),
        ("macos", ".dylib", b"\xcf\xfa\xed\xfe"),
        ("ios", ".a", b"!<arch>\n"),
        ("wasm", ".wasm", b"\0asm"),
        ("aarch64", ".so", b"\x7fELF"),
    ):
        content = (for_others.folder / f"network-{name}{suffix}").read_bytes()
        assert content.startswith(start), name
        assert b"edgeseg_run_picture" in content, name
    assert not (for_others.folder / "network-ios.dylib").exists()


def test_every_file_is_named_and_nothing_else_is_there(for_others: Artifact) -> None:
    assert set(for_others.files) == {path.name for path in for_others.folder.iterdir()}
    assert for_others.files[:2] == (CONTENTS, HEADER)
    for name in (*EMULATED, *OTHERS):
        assert f"network-{name}.a" in for_others.files


def test_the_best_library_of_this_machine_is_taken(artifact: Artifact) -> None:
    runtime = find_runtime("native", {"isa": "x86-64"})
    backend: Any = find_runtime("native").load(artifact)
    isa = INSTRUCTION_SETS[backend.isa]
    assert runtime.refusal("fp32") is None
    assert isa.system == "linux"


def test_a_build_that_nothing_here_can_check_is_refused() -> None:
    runtime = find_runtime("native", {"isa": "wasm+ios"})
    with pytest.raises(TargetError, match=r"nothing would be checked; .*--option isa=wasm\+ios\+"):
        runtime.require_precision("fp32")
