"""What workers of one test run share: a folder, and who of them makes what.

Each pytest-xdist worker has its own session fixtures. What takes long is made by the first that
asks for it; the others wait, and read it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgeseg.records import Artifact, sha256_of_file
from edgeseg.storage.cache import COMPLETE
from edgeseg.targets import Runtime, find_runtime


def folder_of_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all workers of this run; that of the only process where there are none."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared"
    folder.mkdir(exist_ok=True)
    return folder


@contextlib.contextmanager
def one_worker_at_a_time(folder: Path, name: str) -> Iterator[None]:
    """Wait until no other worker is in the block of that name."""
    with (folder / f"{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # given up when the file is closed
        yield


def make_once(folder: Path, name: str, make: Callable[[Path], None]) -> Path:
    """Path that the first worker fills, for all to read.

    Args:
        make: Takes a path that does not exist yet, and makes a file or a folder there.
    """
    path, done = folder / name, folder / f"{name}.done"
    with one_worker_at_a_time(folder, name):
        if not done.exists():
            make(path)
            done.touch()
    return path


def cache_of_graphs(run: Path, folder: Path) -> Path:
    """Make a cache that holds only the ONNX graphs which this run has exported: each takes seconds.

    Args:
        run: The cache of the run.
        folder: Does not exist yet.
    """
    for path in (run / "onnx").glob(f"*/{COMPLETE}"):
        shutil.copytree(path.parent, folder / "onnx" / path.parent.name)
    return folder


def runtime_here(name: str) -> Runtime:
    """A runtime whose artefacts are for this machine alone: quicker where there may be several."""
    return find_runtime(name, {"isa": "here"} if name == "native" else {})


def compile_once(folder: Path, runtime: str, onnx_path: Path, precision: str) -> Artifact:
    """What a runtime makes of a graph for this machine. Copy it to change it."""
    name = f"{runtime}-{precision}-{sha256_of_file(onnx_path)[:16]}"

    def make(path: Path) -> None:
        path.mkdir()
        artifact = runtime_here(runtime).compile(onnx_path, path / "new", precision)
        (path / "artifact.json").write_text(json.dumps(artifact.to_json()), encoding="utf-8")

    made = make_once(folder, name, make)
    return Artifact.from_json(json.loads((made / "artifact.json").read_text(encoding="utf-8")))
