"""Commands and runners where memory, files, rights, cores or the clock are not as usual."""

from __future__ import annotations

import multiprocessing
import os
import resource
import runpy
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support import ROOT, UNTESTED, needs

from edgeseg.storage import cache

pytestmark = [needs("torch", "onnx", "onnxscript", "onnxruntime"), pytest.mark.slow]

IMAGE = np.random.default_rng(2).integers(0, 256, (20, 28, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of two layers, its data, and its bundles fp32 and int8."""
    folder = tmp_path_factory.mktemp("hard") / "material"
    program = ROOT / "tests" / "hostile" / "material.py"
    subprocess.run([sys.executable, str(program), str(folder)], check=True, capture_output=True)
    return folder


def run(
    material: Path,
    *words: object,
    prepare: Callable[[], object] | None = None,
    before: tuple[str, ...] = (),
    **environment: str,
) -> subprocess.CompletedProcess[str]:
    """Run a command as its own process, `prepare` within it."""
    return subprocess.run(
        [*before, sys.executable, "-m", "edgeseg", *map(str, words)],
        env={**os.environ, "EDGESEG_CACHE_DIR": str(material / "cache"), **environment},
        cwd=material,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=prepare,
    )


def build(material: Path, output: Path, **settings: Any) -> subprocess.CompletedProcess[str]:
    """Build anew, so that the cache helps nothing."""
    words = ("build", "--model", "hostile_net:Net", "--spec", "spec.toml", "--data", "data")
    more = ("--weights", "weights.safetensors", "--target", "onnxruntime", "-p", "fp32")
    return run(material, *words, *more, "--no-cache", "-o", output, **settings)


def require_message(done: subprocess.CompletedProcess[str], *words: str) -> None:
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stderr.count("Error: ") == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert "Internal error" not in done.stderr, done.stderr
    for word in words:
        assert word in done.stderr


def limited(kind: int, value: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(kind, (value, value))


def test_a_limit_on_the_size_of_files_is_told_and_leaves_nothing(
    material: Path, tmp_path: Path
) -> None:
    done = build(material, tmp_path / "out", prepare=limited(resource.RLIMIT_FSIZE, 2_000))
    require_message(done, "File too large", "Check the path, its rights and the disk")
    assert list(tmp_path.iterdir()) == []


def test_too_little_memory_is_told(material: Path, tmp_path: Path) -> None:
    Image.new("L", (20_000, 12_000)).save(tmp_path / "large.png")
    words = ("predict", "fp32", tmp_path / "large.png", "-o", tmp_path / "masks")
    done = run(material, *words, prepare=limited(resource.RLIMIT_AS, 2**30))
    require_message(done, "memory")
    assert not (tmp_path / "masks").exists()


def test_few_open_files_are_enough(material: Path, tmp_path: Path) -> None:
    done = run(
        material,
        *("predict", "fp32", "data/images", "-o", tmp_path / "masks"),
        prepare=limited(resource.RLIMIT_NOFILE, 40),
    )
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "masks").iterdir())) == 12


def test_a_cache_that_cannot_be_written_is_told_and_predictions_need_none(
    material: Path, tmp_path: Path
) -> None:
    closed = "/proc/no-such-folder"
    done = run(material, "verify", "fp32", EDGESEG_CACHE_DIR=closed)
    assert done.returncode == 0, done.stderr
    require_message(build(material, tmp_path / "out", EDGESEG_CACHE_DIR=closed), closed)
    assert list(tmp_path.iterdir()) == []


def test_one_core_is_enough(material: Path, tmp_path: Path) -> None:
    one = min(os.sched_getaffinity(0))
    only = {"prepare": lambda: os.sched_setaffinity(0, {one})}
    done = build(material, tmp_path / "out", **only)
    assert done.returncode == 0, done.stderr
    assert run(material, "verify", tmp_path / "out", **only).returncode == 0
    words = ("bench", tmp_path / "out", "--data", "data", "--runs", 3, "--json")
    done = run(material, *words, **only)
    assert done.returncode == 0, done.stderr
    refused = run(material, "bench", tmp_path / "out", "--threads", 2, **only)
    assert refused.returncode == 2
    assert "--threads" in refused.stderr


def test_training_needs_no_shared_memory(material: Path, tmp_path: Path) -> None:
    hide = ("unshare", "-m", "sh", "-c", 'mount -t tmpfs -o ro none /dev/shm && exec "$@"', "sh")
    if not shutil.which("unshare") or subprocess.run([*hide, "true"], check=False).returncode:
        UNTESTED.add("no /dev/shm (needs root)")
        pytest.skip("only root can hide /dev/shm")
    words = ("train", "--model", "hostile_net:Net", "--spec", "spec.toml", "--data", "data")
    done = run(material, *words, "--epochs", 1, "-o", tmp_path / "run", before=hide)
    assert done.returncode == 0, done.stderr
    done = build(material, tmp_path / "out", before=hide)
    assert done.returncode == 0, done.stderr


def test_a_clock_that_jumps_back_keeps_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGESEG_CACHE_DIR", str(tmp_path))
    folder, _ = cache.get_or_make("onnx", {}, lambda made: made.joinpath("a").touch())
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now - 10 * cache.DAY_S)
    (kept,) = cache.kept_results()
    assert kept.idle_s == 0
    assert cache.prune(1) == []
    assert cache.get_or_make("onnx", {}, lambda made: None) == (folder, True)


def masks_of(folder: str, network: Any = None) -> list[int]:
    """Predict in a process of its own, by a network of the parent's or a fresh one."""
    loaded = network or runpy.run_path(f"{folder}/runner/run.py")["Network"](folder)
    return [int(value) for value in loaded.predict(IMAGE).ravel()]


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_loaded_runner_lives_through_fork_and_spawn(material: Path, precision: str) -> None:
    folder = str(material / precision)
    network = runpy.run_path(f"{folder}/runner/run.py")["Network"](folder)
    expected = masks_of(folder, network)
    spawning = multiprocessing.get_context("spawn")
    with spawning.Pool(1) as pool:
        assert pool.apply_async(masks_of, (folder,)).get(120) == expected
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writer, bytes(masks_of(folder, network)))
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        assert list(stream.read()) == expected
    os.waitpid(child, 0)
    assert masks_of(folder, network) == expected
