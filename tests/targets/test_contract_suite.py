"""What holds for every registered runtime; a new one is tested here by being registered."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sharing import runtime_here
from support import needs

from edgeseg.errors import MissingBackendError, TargetError, UnknownNameError
from edgeseg.formats.onnx import MODULE
from edgeseg.lazy import BACKENDS, install_command
from edgeseg.models import find_model
from edgeseg.records import Artifact
from edgeseg.reference.reference import torch_predictor
from edgeseg.targets import RUNTIMES, Backend, Runtime, find_runtime, open_backend

SPEC = find_model("egeunet").at_size(64, 64)
TOLERANCE = 1e-3  # of a probability, between torch and an FP32 artefact

ALL = RUNTIMES.names()
BUILDABLE = [
    pytest.param(name, marks=needs("torch", "onnx", *find_runtime(name).build_packages))
    for name in ALL
]


@pytest.fixture(scope="module", params=BUILDABLE)
def runtime(request: pytest.FixtureRequest) -> Runtime:
    return runtime_here(request.param)


@pytest.fixture(scope="module")
def artifact(runtime: Runtime, small_artifact: Callable[..., Artifact]) -> Artifact:
    return small_artifact(runtime.name)


@pytest.fixture
def image() -> NDArray[np.float32]:
    return np.random.default_rng(3).uniform(0, 255, SPEC.inputs.shape).astype(np.float32)


def load(runtime: Runtime, artifact: Artifact) -> Backend:
    """Load it where it runs here, or what stands in for its device."""
    return runtime.load_for_check(artifact)[0]


def block(monkeypatch: pytest.MonkeyPatch, runtime: Runtime) -> None:
    """Make the runtime's packages look as if they were not installed."""
    for package in {*runtime.build_packages, *runtime.run_packages}:
        for name in [name for name in sys.modules if name.startswith(f"{package}.")]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, package, None)


@pytest.mark.parametrize("name", ALL)
def test_class_states_what_the_interface_asks(name: str) -> None:
    runtime = find_runtime(name)
    assert runtime.name == name
    assert runtime.title
    assert runtime.artifact_format
    assert "fp32" in runtime.compiled_precisions
    assert len(set(runtime.precisions)) == len(runtime.precisions)
    assert set(runtime.build_packages) | set(runtime.run_packages) <= set(BACKENDS)


@pytest.mark.parametrize("name", ALL)
def test_runtime_settings_are_json(name: str) -> None:
    runtime = find_runtime(name)
    for precision in runtime.precisions:
        settings = runtime.runtime_settings(precision)
        assert json.loads(json.dumps(settings)) == settings


def test_artifact_describes_its_files(runtime: Runtime, artifact: Artifact) -> None:
    assert (artifact.runtime, artifact.precision) == (runtime.name, "fp32")
    assert artifact.format == runtime.artifact_format
    assert artifact.settings == runtime.runtime_settings("fp32")
    assert {path.name for path in artifact.folder.iterdir()} == set(artifact.files)
    sizes = [(artifact.folder / name).stat().st_size for name in artifact.files]
    assert artifact.size_bytes == sum(sizes)
    assert min(sizes) > 0
    assert set(artifact.toolchain) == set(runtime.build_packages)


def test_artifact_computes_what_torch_computes(
    runtime: Runtime, artifact: Artifact, image: NDArray[np.float32], random_weights: Path
) -> None:
    backend = load(runtime, artifact)
    expected = torch_predictor(SPEC.load_network(random_weights))(image)
    mask = backend.run(image)
    assert mask.dtype == np.float32
    assert mask.shape == expected.shape
    assert np.abs(mask - expected).max() <= TOLERANCE


def test_threads_may_share_what_is_loaded(runtime: Runtime, artifact: Artifact) -> None:
    backend = load(runtime, artifact)
    random = np.random.default_rng(11)
    images = [random.uniform(0, 255, SPEC.inputs.shape).astype(np.float32) for _ in range(6)]
    alone = [backend.run(image).copy() for image in images]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(backend.run, images * 4))
    assert not np.array_equal(alone[0], alone[1])
    for mask, expected in zip(together, alone * 4, strict=True):
        assert np.array_equal(mask, expected)


def test_a_mask_stays_when_the_next_image_runs(runtime: Runtime, artifact: Artifact) -> None:
    backend = load(runtime, artifact)
    random = np.random.default_rng(12)
    first, second = (random.uniform(0, 255, SPEC.inputs.shape).astype(np.float32) for _ in range(2))
    mask = backend.run(first)
    kept = mask.copy()
    backend.run(second)
    assert np.array_equal(mask, kept)


def test_artifact_works_where_it_is_moved(
    runtime: Runtime, artifact: Artifact, image: NDArray[np.float32], tmp_path: Path
) -> None:
    before = load(runtime, artifact).run(image)
    moved = tmp_path / "elsewhere"
    shutil.copytree(artifact.folder, moved)
    sent = json.loads(json.dumps(replace(artifact, folder=moved).to_json()))
    again = open_backend(Artifact.from_json(sent), 1)
    assert np.array_equal(again.run(image), before)


def test_answers_do_not_share_memory(
    runtime: Runtime, artifact: Artifact, image: NDArray[np.float32]
) -> None:
    backend = load(runtime, artifact)
    first = backend.run(image)
    kept = first.copy()
    backend.run(255 - image)
    assert np.array_equal(first, kept)


def test_compiling_twice_gives_equal_answers(
    runtime: Runtime, light_onnx: Path, image: NDArray[np.float32], tmp_path: Path
) -> None:
    # Not equal bytes: OpenVINO numbers its layers through the whole life of a process.
    twice = [runtime.compile(light_onnx, tmp_path / name, "fp32") for name in ("one", "two")]
    masks = [load(runtime, made).run(image) for made in twice]
    assert np.array_equal(*masks)


@pytest.mark.slow
def test_the_plain_form_is_an_artefact_that_runs(
    runtime: Runtime, light_onnx: Path, image: NDArray[np.float32], tmp_path: Path
) -> None:
    # The plain conversion of many operators takes a minute.
    plain = runtime.compile_plain(light_onnx, tmp_path / "plain")
    # Of another runtime where this one compiles by no other tool.
    tool = find_runtime(plain.runtime)
    assert (plain.precision, plain.settings) == ("fp32", tool.runtime_settings("fp32"))
    # Not compared with torch: some tools make another network of it, which is why we mend.
    mask = load(tool, plain).run(image)
    assert mask.shape == (1, 1, 64, 64)
    assert np.isfinite(mask).all()


def test_artifact_does_not_tell_where_it_was_built(artifact: Artifact, small_onnx: Path) -> None:
    for name in artifact.files:
        content = (artifact.folder / name).read_bytes()
        for place in (small_onnx.parent, artifact.folder, Path(__file__).parent, MODULE):
            assert str(place).encode() not in content, place


def test_other_precisions_that_run_here_load_and_answer(
    runtime: Runtime, small_artifact: Callable[..., Artifact], image: NDArray[np.float32]
) -> None:
    for precision in runtime.compiled_precisions:
        if runtime.refusal(precision) is None:
            made = small_artifact(runtime.name, precision)
            assert made.precision == precision
            mask = load(runtime, made).run(image)
            assert mask.shape == (1, 1, 64, 64)
            assert np.isfinite(mask).all()


@pytest.mark.parametrize("name", ALL)
def test_unknown_precision_lists_known_ones(name: str) -> None:
    runtime = find_runtime(name)
    with pytest.raises(UnknownNameError, match=f"Runtime {name} has no precision 'fp33'") as caught:
        runtime.require_precision("fp33")
    assert "Did you mean fp32?" in str(caught.value)
    assert all(precision in str(caught.value) for precision in runtime.precisions)


def test_fp32_is_never_refused(runtime: Runtime) -> None:
    runtime.require_precision("fp32")


def test_compiling_without_package_names_the_command(
    runtime: Runtime, small_onnx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    block(monkeypatch, runtime)
    command = install_command(runtime.build_packages[0])
    with pytest.raises(MissingBackendError, match="Install it with") as caught:
        runtime.compile(small_onnx, tmp_path / "new", "fp32")
    assert command in str(caught.value)


def test_loading_without_package_names_the_command(
    runtime: Runtime, artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    block(monkeypatch, runtime)
    if not runtime.run_packages:
        runtime.load(artifact)
        return
    command = install_command(runtime.run_packages[0])
    with pytest.raises(MissingBackendError, match=f"Running on {runtime.name}") as caught:
        runtime.load(artifact)
    assert command in str(caught.value)


def test_diagnosis_here_says_it_works(runtime: Runtime) -> None:
    diagnosis = runtime.diagnose()
    assert diagnosis.builds == runtime.compiled_precisions
    assert all(diagnosis.versions[package] for package in runtime.build_packages)
    if runtime.fallback_runtime():
        assert diagnosis.runs == ()
        assert any(runtime.fallback_runtime() in note for note in diagnosis.notes)
    else:
        assert "fp32" in diagnosis.runs
        assert diagnosis.missing == ()
    assert json.loads(json.dumps(diagnosis.to_json()))["runtime"] == runtime.name


@pytest.mark.parametrize("name", ALL)
def test_diagnosis_without_packages_says_how_to_add_them(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = find_runtime(name)
    block(monkeypatch, runtime)
    diagnosis = runtime.diagnose()
    assert diagnosis.builds == ()
    assert diagnosis.runs == (() if runtime.run_packages else runtime.precisions)
    packages = dict.fromkeys(runtime.build_packages + runtime.run_packages)
    assert diagnosis.missing == tuple(
        (BACKENDS[package][0], install_command(package)) for package in packages
    )


@pytest.mark.parametrize("name", ALL)
def test_diagnosis_of_broken_packages_does_not_raise(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = find_runtime(name)
    block(monkeypatch, runtime)
    for package in {*runtime.build_packages, *runtime.run_packages}:
        (tmp_path / f"{package}.py").write_text("raise ImportError('libfoo.so.1 is missing')\n")
        monkeypatch.delitem(sys.modules, package)
    monkeypatch.syspath_prepend(tmp_path)
    assert ("fp32" in runtime.diagnose().runs) is not bool(runtime.run_packages)


@pytest.mark.parametrize("content", ["", "text", "half"])
def test_broken_onnx_is_refused(
    runtime: Runtime, small_onnx: Path, tmp_path: Path, content: str
) -> None:
    whole = small_onnx.read_bytes()
    pieces = {"": b"", "text": b"this is no graph", "half": whole[: len(whole) // 2]}
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(pieces[content])
    with pytest.raises(TargetError, match=r"broken\.onnx"):
        runtime.compile(broken, tmp_path / "new", "fp32")


def test_missing_onnx_is_refused(runtime: Runtime, tmp_path: Path) -> None:
    with pytest.raises(TargetError, match=r"gone\.onnx"):
        runtime.compile(tmp_path / "gone.onnx", tmp_path / "new", "fp32")


@pytest.mark.parametrize("damage", ["gone", "empty", "half", "text"])
def test_broken_artifact_says_what_to_do(
    runtime: Runtime, artifact: Artifact, tmp_path: Path, damage: str
) -> None:
    for name in artifact.files:
        folder = tmp_path / name
        shutil.copytree(artifact.folder, folder)
        path = folder / name
        whole = path.read_bytes()
        if damage == "gone":
            path.unlink()
        else:
            pieces = {"empty": b"", "half": whole[: len(whole) // 2], "text": b"no network"}
            path.write_bytes(pieces[damage])
        with pytest.raises(TargetError, match=r"[^.]\. Build it again with the.* edgeseg verify"):
            runtime.load_for_check(replace(artifact, folder=folder))


def test_an_unknown_runtime_is_told_the_nearest() -> None:
    with pytest.raises(
        UnknownNameError, match=r"Unknown runtime 'opnvino'\. Did you mean openvino\?"
    ):
        find_runtime("opnvino")
