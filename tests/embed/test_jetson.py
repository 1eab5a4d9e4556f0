"""Kits for Jetsons: the Python package with doubles, the C++ against stand-ins of headers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_jetson import FAKES
from PIL import Image
from support import needs

from edgeseg.bundle.bundle import open_bundle
from edgeseg.embed.jetson import JetsonSurface, module_name, read_parity
from edgeseg.embed.surface import Kit
from edgeseg.embed.writer import write_kit
from edgeseg.errors import TargetError

STUBS = Path(__file__).parents[1] / "helpers" / "tensorrt_stubs"
SIZE = 64
TARGETS = {"tensorrt": "jetson", "tensorrt-rtx": "rtx"}
REQUIRED = ("torch", "onnx", "onnx_ir", "onnxscript", "onnxruntime")


def build(folder: Path, target: str, runtime: str, **options: str) -> Path:
    from edgeseg.pipeline.build import BuildRequest, build_bundle

    precision = "fp32" if runtime == "native" else "fp16"
    request = BuildRequest(
        "egeunet", target, precision, folder, runtime=runtime, size=(SIZE, SIZE), options=options
    )
    return build_bundle(request)[0].folder


@pytest.fixture(scope="module", params=TARGETS)
def kit(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A bundle as a kit, and its folder."""
    for package in (*REQUIRED, "tensorrt_rtx"):
        pytest.importorskip(package)
    folder = tmp_path_factory.mktemp("jetson")
    bundle = build(folder / "bundle", TARGETS[request.param], request.param)
    made = Kit(open_bundle(bundle))
    write_kit(made, JetsonSurface(), folder / "kit", check=False)
    return made, folder / "kit"


@pytest.fixture(scope="module")
def programs(kit: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The C++ of the kit, compiled against the stand-ins without a warning."""
    if shutil.which("g++") is None:
        pytest.skip("g++ is not installed: tests/install_debian_packages.sh")
    made, cpp = tmp_path_factory.mktemp("programs"), kit[1] / "cpp"
    strict = ("-Wall", "-Wextra", "-Wpedantic", "-Werror", "-O1", f"-DSTUB_PIXELS={SIZE * SIZE}")
    folders = (f"-I{cpp / 'include'}", f"-I{cpp / 'src'}", f"-I{STUBS}", '-DMODEL_FOLDER="model"')
    for path in (*sorted((cpp / "src").glob("*.cpp")), cpp / "examples" / "segment.cpp"):
        words = ["g++", "-std=c++17", *strict, *folders, "-c", str(path), "-o", f"{path.stem}.o"]
        done = subprocess.run(words, cwd=made, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, ""), path.name
    objects = [str(path) for path in sorted(made.glob("*.o"))]
    subprocess.run(["g++", *objects, "-o", "segment"], cwd=made, check=True)
    return made


def segment(
    programs: Path, *words: Path | str, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [programs / "segment", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, **(environment or {})},
    )


def test_cpp_moves_image_and_mask(kit: Any, programs: Path, tmp_path: Path) -> None:
    """The stand-in's mask is the red of the prepared picture."""
    inputs, outputs = kit[0].bundle.inputs, kit[0].bundle.outputs
    model = tmp_path / "model"
    shutil.copytree(kit[1] / "cpp" / "model", model)
    shutil.rmtree(tmp_path / "none", ignore_errors=True)
    for seed, (height, width) in enumerate([(50, 70), (64, 64), (129, 33)]):
        coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3)).astype(np.uint8)
        pixels = np.asarray(Image.fromarray(coarse).resize((width, height)))
        Image.fromarray(pixels).save(tmp_path / "picture.ppm")
        done = segment(programs, tmp_path / "picture.ppm", tmp_path / "mask.pgm", model)
        assert done.returncode == 0, done.stderr
        labels = np.frombuffer((tmp_path / "mask.pgm").read_bytes()[-height * width :], np.uint8)
        red = inputs.prepare(pixels)[:, :1] / np.float32(255)
        wanted = outputs.restore(red, height, width)
        assert (labels.reshape(height, width) != wanted).sum() == 0
        assert 0 < wanted.mean() < 1
    assert (model / "model.engine").stat().st_size > 1000  # built once, and kept
    assert not (model / "model.engine.partial").exists()


def test_an_engine_of_another_version_is_built_again(
    kit: Any, programs: Path, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    shutil.copytree(kit[1] / "cpp" / "model", model)
    (model / "model.engine").write_bytes(b"old")
    Image.fromarray(np.full((9, 9, 3), 90, np.uint8)).save(tmp_path / "picture.ppm")
    done = segment(programs, tmp_path / "picture.ppm", tmp_path / "mask.pgm", model)
    if kit[0].runtime == "tensorrt":
        assert done.returncode == 0, done.stderr
        assert (model / "model.engine").stat().st_size > 1000
    else:  # it holds no graph to build one of
        assert (done.returncode, "is damaged or of another kit" in done.stderr) == (1, True)


@pytest.mark.parametrize(
    ("variable", "reason"),
    [
        ("STUB_NO_GPU", "There is no NVIDIA GPU here. Run it on the device."),
        ("STUB_NO_MEMORY", "The GPU cannot give memory: out of memory."),
        ("STUB_OTHER_VERSION", "the engine is of another version"),
        ("STUB_RUN_FAILS", "TensorRT does not run"),
    ],
)
def test_cpp_says_what_is_wrong(
    variable: str, reason: str, kit: Any, programs: Path, tmp_path: Path
) -> None:
    shutil.copytree(kit[1] / "cpp" / "model", tmp_path / "model")
    Image.fromarray(np.full((9, 9, 3), 90, np.uint8)).save(tmp_path / "picture.ppm")
    words = tmp_path / "picture.ppm", tmp_path / "mask.pgm", tmp_path / "model"
    done = segment(programs, *words, environment={variable: "1"})
    assert done.returncode == 1
    assert reason in done.stderr


def test_a_damaged_model_is_told(kit: Any, programs: Path, tmp_path: Path) -> None:
    shutil.copytree(kit[1] / "cpp" / "model", tmp_path / "model")
    (path,) = (tmp_path / "model").iterdir()
    path.write_bytes(path.read_bytes()[:-1])
    Image.fromarray(np.full((9, 9, 3), 90, np.uint8)).save(tmp_path / "picture.ppm")
    done = segment(programs, tmp_path / "picture.ppm", tmp_path / "mask.pgm", tmp_path / "model")
    assert done.returncode == 1
    assert "is damaged or of another kit" in done.stderr


def test_where_there_is_no_gpu_nothing_is_claimed(kit: Any) -> None:
    made, folder = kit
    before = set(folder.rglob("*"))
    parity = JetsonSurface().check(made, folder)
    if parity.was_run:
        pytest.skip("there is a GPU here")
    assert "install" in parity.reason
    assert set(folder.rglob("*")) == before


def test_the_python_package_runs_on_doubles(
    kit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The double's mask is where red is above 127."""
    made, folder = kit
    if made.runtime != "tensorrt":
        pytest.skip("the double of an engine is built on the device")
    shutil.copytree(folder, tmp_path / "kit")
    monkeypatch.setattr(sys, "path", [str(FAKES), *sys.path])
    monkeypatch.setenv("EDGESEG_CACHE_DIR", str(tmp_path / "cache"))
    with pytest.raises(TargetError, match=r"another mask than the bundle.*Run edgeseg verify"):
        JetsonSurface().check(made, tmp_path / "kit")
    module = module_name(made.bundle.manifest.name)
    mask = (made.bundle.inputs.prepare(made.golden_image)[:, :1] > 127).astype(np.float32)
    np.save(tmp_path / "kit" / module / "bundle" / "golden" / "mask.npy", mask)
    parity = JetsonSurface().check(made, tmp_path / "kit")
    assert (parity.flips_per_10k, parity.max_abs_diff) == (0, 0)
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    words = [sys.executable, "-m", module, tmp_path / "photo.png", tmp_path / "mask.png"]
    path = os.pathsep.join(filter(None, sys.path))
    subprocess.run(words, cwd=tmp_path / "kit", env={**os.environ, "PYTHONPATH": path}, check=True)
    labels = np.asarray(Image.open(tmp_path / "mask.png"))
    red = (made.bundle.inputs.prepare(pixels)[:, :1] > 127).astype(np.float32)
    assert (labels == 255 * made.bundle.outputs.restore(red, 40, 50)).all()


def test_the_package_can_be_installed(kit: Any, tmp_path: Path) -> None:
    made, folder = kit
    shutil.copytree(folder, tmp_path / "kit")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    words = [*pip, "--target", str(tmp_path / "site"), str(tmp_path / "kit")]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=300)
    if "No module named" in done.stderr:
        pytest.skip(f"pip or setuptools is not here: {done.stderr.strip()[-80:]}")
    assert done.returncode == 0, done.stderr
    package = tmp_path / "site" / module_name(made.bundle.manifest.name)
    carried = {path.name for path in (package / "bundle").iterdir()}
    assert carried == {"manifest.json", "artifact", "golden", "runner"}
    assert (package / "bundle" / "runner" / "run.py").is_file()


def test_a_package_that_takes_too_long_is_left_alone(
    kit: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeseg.embed.jetson.LIMIT_S", 0.001)
    assert JetsonSurface().check(*kit).reason == "it took more than 0.001 s"


@needs(*REQUIRED)
def test_a_compiled_network_runs_here_in_both(tmp_path: Path) -> None:
    bundle = build(tmp_path / "bundle", "intel", "native", isa="here+aarch64")
    written = write_kit(Kit(open_bundle(bundle)), JetsonSurface(), tmp_path / "kit")
    assert written.parity.flips_per_10k == 0
    record = json.loads((tmp_path / "kit" / "embed.json").read_text())
    assert record["parity"]["where"].startswith("Python on ")
    names = {path.name for path in (tmp_path / "kit" / "cpp" / "model").iterdir()}
    assert "network-aarch64.so" in names


@needs(*REQUIRED)
def test_a_network_without_arm64_is_refused(tmp_path: Path) -> None:
    bundle = build(tmp_path / "bundle", "intel", "native", isa="here")
    with pytest.raises(TargetError, match=r"no library for ARM64.*--option isa=portable"):
        write_kit(Kit(open_bundle(bundle)), JetsonSurface(), tmp_path / "kit")
    assert not (tmp_path / "kit").exists()


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("egeunet-jetson-fp16", "egeunet_jetson_fp16"),
        ("9 lives", "network_9_lives"),
        ("class", "network_class"),
        ("Größe", "gr_e"),
    ],
)
def test_names_of_packages_are_words_of_python(name: str, module: str) -> None:
    assert module_name(name) == module


def test_what_the_package_says_is_read() -> None:
    def said(code: int, text: str) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess([], code, text, "")

    good = "ok: largest difference 2.44e-04 (allowed 1e-03), 1.50 of 10,000 pixels flip (allowed 2)"
    parity = read_parity("here", said(0, good))
    assert (parity.flips_per_10k, parity.max_abs_diff) == (1.5, 2.44e-4)
    assert read_parity("here", said(1, "Error: no GPU")).reason == "no GPU"
    assert read_parity("here", said(9, "")).reason == "exit code 9"
    with pytest.raises(TargetError, match="--no-check"):
        read_parity("here", said(4, "FAILED: all"))
