"""Bundles carry these files along to devices where edgeseg is not installed."""

from __future__ import annotations

import ast
import importlib
import runpy
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from runner_bundle import FAKE_BACKEND, RUNNERS, SHARED, make_bundle, run_script

from edgeseg.lazy import ALTERNATIVES
from edgeseg.targets import RUNTIMES, find_runtime
from edgeseg.targets.runners import openvino_backend

BACKEND_FILES = sorted(RUNNERS.glob("*_backend.py"))
CARRIED = [*sorted(RUNNERS.glob("[!_]*.py")), *map(Path, SHARED)]
YOUNGER_THAN_3_10 = {"tomllib"}
# sha256 of [["artifact/net.bin", "000..."]] as JSON: its first 12 digits.
IDENTITY = "331b39a6d7ea"
OWN_FILES = ("contract.py", "backend.py", "golden.py", "identity.py", "run.py", "device_bench.py")


def imports_of(path: Path) -> set[str]:
    """Top-level names of all packages that a file imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} has a relative import"
            assert node.module is not None
            names.add(node.module.partition(".")[0])
    return names


def packages_of(path: Path) -> set[str]:
    """Packages that the runtimes of a backend file may import, and what does the same."""
    packages: set[str] = set()
    for name in RUNTIMES.names():
        runtime = find_runtime(name)
        if runtime.backend_module.rpartition(".")[2] == path.stem:
            packages.update(runtime.run_packages)
    return packages.union(*(ALTERNATIVES.get(package, ()) for package in packages))


def test_every_carried_module_is_there() -> None:
    for name in RUNTIMES.names():
        for file, module in find_runtime(name).runner_modules.items():
            assert file not in OWN_FILES
            assert (RUNNERS / f"{module.rpartition('.')[2]}.py").is_file()


def test_every_runtime_has_its_backend_file() -> None:
    modules = {find_runtime(name).backend_module for name in RUNTIMES.names()}
    assert modules == {f"edgeseg.targets.runners.{path.stem}" for path in BACKEND_FILES}


@pytest.mark.parametrize("path", CARRIED, ids=lambda path: path.name)
def test_carried_file_needs_numpy_and_its_runtime_only(path: Path) -> None:
    allowed = {"numpy", *packages_of(path)}
    assert imports_of(path) - sys.stdlib_module_names <= allowed
    assert not imports_of(path) & YOUNGER_THAN_3_10


@pytest.mark.parametrize("path", CARRIED, ids=lambda path: path.name)
def test_carried_file_is_python_3_10(path: Path) -> None:
    ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 10))


@pytest.mark.parametrize("path", CARRIED, ids=lambda path: path.name)
def test_annotations_are_not_evaluated(path: Path) -> None:
    # NDArray and the like may be younger than the numpy of a device.
    first = ast.parse(path.read_text(encoding="utf-8")).body[1]
    assert isinstance(first, ast.ImportFrom)
    assert first.module == "__future__"


def test_openvino_is_imported_without_what_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "openvino_telemetry", raising=False)
    with openvino_backend._without_reports(), pytest.raises(ImportError):
        importlib.import_module("openvino_telemetry")
    # The application that loads the bundle may have use for it.
    assert "openvino_telemetry" not in sys.modules
    theirs = types.ModuleType("openvino_telemetry")
    monkeypatch.setitem(sys.modules, "openvino_telemetry", theirs)
    with openvino_backend._without_reports():
        assert importlib.import_module("openvino_telemetry") is theirs
    assert sys.modules["openvino_telemetry"] is theirs


@pytest.mark.parametrize("wrong", [None, [[1, 2], [3, 4]], "image.png", np.zeros((4, 4))])
def test_what_is_no_image_is_one_clear_error(bundle: Path, wrong: object) -> None:
    network = runpy.run_path(str(bundle / "runner" / "run.py"))["Network"](bundle)
    with pytest.raises(ValueError, match=r"An image is \(H, W, 3\)"):
        network.predict(wrong)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    artifact = {"files": ["artifact/net.bin"], "settings": {"device": "CPU"}}
    return make_bundle(tmp_path, artifact, {"backend.py": FAKE_BACKEND.encode()})


def test_runner_verifies_its_golden_pair_without_edgeseg(bundle: Path) -> None:
    done = run_script(bundle, "run.py", "--verify")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("ok: largest difference 0.00e+00 (allowed 1e-03)")
    assert done.stdout.endswith(f"; bundle {IDENTITY}\n")


def test_runner_reports_a_golden_pair_that_does_not_hold(bundle: Path) -> None:
    mask = np.zeros((1, 1, 32, 32), np.float16)
    mask[:, :, :8] = 1
    np.save(bundle / "golden" / "mask.npy", mask)
    done = run_script(bundle, "run.py", "--verify")
    assert done.returncode == 1
    # A quarter of the rows differ.
    assert "FAILED: largest difference 1.00e+00" in done.stdout
    assert "2500.00 of 10,000 pixels flip (allowed 1)" in done.stdout


def test_runner_calls_nan_a_failure(bundle: Path) -> None:
    backend = bundle / "runner" / "backend.py"
    backend.write_text(FAKE_BACKEND.replace("astype(np.float32)", "astype(np.float32) * np.nan"))
    assert run_script(bundle, "run.py", "--verify").returncode == 1


def test_runner_does_not_read_nan_as_background(bundle: Path) -> None:
    backend = bundle / "runner" / "backend.py"
    backend.write_text(FAKE_BACKEND.replace("astype(np.float32)", "astype(np.float32) * np.nan"))
    done = run_script(bundle, "run.py", "image.npy", "--output", "mask.npy")
    assert done.returncode == 1
    assert "Error: The network gives NaN or infinity" in done.stderr
    assert not (bundle / "mask.npy").exists()


@pytest.mark.parametrize("package", ["openvino", "onnxruntime", "ai_edge_litert"])
def test_runner_names_the_package_that_it_lacks(bundle: Path, tmp_path: Path, package: str) -> None:
    stem = "litert" if package == "ai_edge_litert" else package
    source = RUNNERS / f"{stem}_backend.py"
    (bundle / "runner" / "backend.py").write_bytes(source.read_bytes())
    broken = tmp_path / "broken"
    broken.mkdir()
    for name in (package, *ALTERNATIVES.get(package, ())):
        (broken / f"{name}.py").write_text("raise ImportError('no lib.so')")
    done = run_script(bundle, "run.py", "--verify", paths=(broken,))
    assert done.returncode == 1
    wanted = package.replace("_", "-")
    assert f"Error: the package {wanted} does not load (no lib.so): pip install" in done.stderr
    assert "Traceback" not in done.stderr


def test_runner_says_that_an_image_is_empty(bundle: Path) -> None:
    (bundle / "empty.npy").touch()
    done = run_script(bundle, "run.py", "empty.npy", "--output", "mask.npy")
    assert (done.returncode, "Error: " in done.stderr) == (1, True)
    assert "Traceback" not in done.stderr


def test_runner_writes_a_mask_of_the_size_of_the_image(bundle: Path) -> None:
    done = run_script(bundle, "run.py", "image.npy", "--output", "mask.npy")
    assert done.returncode == 0, done.stderr
    mask = np.load(bundle / "mask.npy")
    assert mask.dtype == np.uint8
    assert mask.tolist() == [[1] * 6] * 2 + [[0] * 6] * 2


def test_runner_without_words_says_what_it_wants(bundle: Path) -> None:
    done = run_script(bundle, "run.py")
    assert done.returncode == 2
    assert "give --verify, or an image and --output" in done.stderr
