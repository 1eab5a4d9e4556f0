"""Bundles carry these files along to devices where edgeseg is not installed."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import edgeseg.contract
import edgeseg.targets.runners
from edgeseg.contract import OutputContract
from edgeseg.models import find_model
from edgeseg.targets import TARGETS, find_target

RUNNERS = Path(edgeseg.targets.runners.__path__[0])
BACKEND_FILES = sorted(RUNNERS.glob("*_backend.py"))
CARRIED = [*BACKEND_FILES, RUNNERS / "run.py", Path(edgeseg.contract.__file__)]
YOUNGER_THAN_3_10 = {"tomllib"}


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
    """Runtime packages that the target of a backend file may import."""
    for name in TARGETS.names():
        target = find_target(name)
        if target.backend_module.rpartition(".")[2] == path.stem:
            return set(target.run_packages)
    return set()


def test_every_target_has_its_backend_file() -> None:
    modules = {find_target(name).backend_module for name in TARGETS.names()}
    assert modules == {f"edgeseg.targets.runners.{path.stem}" for path in BACKEND_FILES}


@pytest.mark.parametrize("path", CARRIED, ids=lambda path: path.name)
def test_carried_file_needs_numpy_and_its_runtime_only(path: Path) -> None:
    allowed = {"numpy", *packages_of(path)}
    foreign = imports_of(path) - sys.stdlib_module_names
    assert foreign <= allowed
    assert "numpy" in foreign
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


FAKE_BACKEND = """
import numpy as np
class Backend:
    def __init__(self, folder, files, runtime, threads):
        assert (files, runtime, threads) == (["artifact/net.bin"], {"device": "CPU"}, 1)
    def run(self, image):
        return (image[:, :1] > 127).astype(np.float32)
"""


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle whose backend calls what is bright foreground."""
    (tmp_path / "runner").mkdir()
    (tmp_path / "golden").mkdir()
    (tmp_path / "runner" / "backend.py").write_text(FAKE_BACKEND)
    for source in (RUNNERS / "run.py", Path(edgeseg.contract.__file__)):
        (tmp_path / "runner" / source.name).write_bytes(source.read_bytes())
    image = np.zeros((4, 6, 3), np.uint8)
    image[:2] = 255
    np.save(tmp_path / "image.npy", image)
    np.save(tmp_path / "golden" / "image.npy", image)
    mask = np.zeros((1, 1, 32, 32), np.float16)
    mask[:, :, :16] = 1
    np.save(tmp_path / "golden" / "mask.npy", mask)
    manifest = {
        "artifact": {"files": ["artifact/net.bin"], "runtime": {"device": "CPU"}},
        "input": find_model("egeunet").at_size(32, 32).inputs.to_json(),
        "output": OutputContract(("background", "bright"), 1).to_json(),
        "golden": {
            "image": "golden/image.npy",
            "mask": "golden/mask.npy",
            "max_abs_diff": 0.001,
            "max_flips_per_10k": 1.0,
        },
    }
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    return tmp_path


def run(bundle: Path, *words: str) -> subprocess.CompletedProcess[str]:
    # -I: neither PYTHONPATH nor the current folder; -S: no site-packages but numpy's.
    numpy_folder = str(Path(np.__file__).parent.parent)
    program = (
        "import sys, runpy; sys.modules['edgeseg'] = None; "
        f"sys.path[:0] = [{str(bundle / 'runner')!r}, {numpy_folder!r}]; "
        f"sys.argv = ['run.py', *{list(words)!r}]; "
        f"runpy.run_path({str(bundle / 'runner' / 'run.py')!r}, run_name='__main__')"
    )
    return subprocess.run(
        [sys.executable, "-I", "-S", "-c", program],
        capture_output=True,
        text=True,
        check=False,
        cwd=bundle,
    )


def test_runner_verifies_its_golden_pair_without_edgeseg(bundle: Path) -> None:
    done = run(bundle, "--verify")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("ok: largest difference 0.00e+00 (allowed 1e-03)")


def test_runner_reports_a_golden_pair_that_does_not_hold(bundle: Path) -> None:
    mask = np.zeros((1, 1, 32, 32), np.float16)
    mask[:, :, :8] = 1
    np.save(bundle / "golden" / "mask.npy", mask)
    done = run(bundle, "--verify")
    assert done.returncode == 1
    # A quarter of the rows differ.
    assert "FAILED: largest difference 1.00e+00" in done.stdout
    assert "2500.00 of 10,000 pixels flip (allowed 1)" in done.stdout


def test_runner_calls_nan_a_failure(bundle: Path) -> None:
    backend = bundle / "runner" / "backend.py"
    backend.write_text(FAKE_BACKEND.replace("astype(np.float32)", "astype(np.float32) * np.nan"))
    assert run(bundle, "--verify").returncode == 1


def test_runner_writes_a_mask_of_the_size_of_the_image(bundle: Path) -> None:
    done = run(bundle, "image.npy", "--output", "mask.npy")
    assert done.returncode == 0, done.stderr
    mask = np.load(bundle / "mask.npy")
    assert mask.dtype == np.uint8
    assert mask.tolist() == [[1] * 6] * 2 + [[0] * 6] * 2


def test_runner_without_words_says_what_it_wants(bundle: Path) -> None:
    done = run(bundle)
    assert done.returncode == 2
    assert "give --verify, or an image and --output" in done.stderr
