"""Candidates of a search on an ssh device: each file goes there once, whatever happens between."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseg.benchmarks.workers.messages import (
    Done,
    LabelPrepared,
    Load,
    Loaded,
    PredictPrepared,
)
from edgeseg.errors import BenchmarkError, DeviceError
from edgeseg.records import Artifact, sha256_of_file
from edgeseg.storage.temporary import temporary_folder
from edgeseg.targets import find_runtime
from edgeseg.targets.transports.base import tail
from edgeseg.targets.transports.ssh import SshTransport

from ..builder.runner_files import runner_files
from .candidates import Brought, CandidateDevice, Courier, Tried
from .ssh import NPY_HEADER_BYTES, SshDevice, SshFolder, SshWorker

PIECE = 24  # images that go there in one file: a step must not take long
ADVICE = "Leave that form out by naming a --precision, or measure on another device"
DESCRIBE = """
import json, os, platform, sys
sys.path.insert(0, "tools")
import cpu, device_worker
name, flags = cpu.read_cpu()
versions = {package: device_worker.version_of(package) for package in json.loads(sys.argv[1])}
print("\\n" + json.dumps({
    "cpu": name, "cpu_flags": flags, "cores": len(cpu.allowed_cores()),
    "os": platform.platform(), "machine": platform.machine(),
    "python": platform.python_version(), "versions": versions,
}))
"""


class SshCandidates(CandidateDevice):
    """See `CandidateDevice`.

    Args:
        transport: Entered.
        brought: Takes note of what is copied.
    """

    def __init__(self, transport: SshTransport, tried: Tried, brought: Brought) -> None:
        self.transport = transport
        self.tried = tried
        self.brought = brought
        self.bring = Courier(transport, brought).bring
        self.pids: list[int] = []  # of all workers, the last one last
        self._device = SshDevice(transport, tried.threads)
        self._folders = itertools.count()

    @property
    def busy_s(self) -> float:
        return self.transport.busy_s

    def fingerprint(self) -> dict[str, Any]:
        self._device.install_tools()
        modules = self._device.require_packages(self.tried.runtime)
        packages = json.dumps([name.partition(".")[0] for name in modules])
        done = self.transport.run([self.transport.facts["python"], "-c", DESCRIBE, packages])
        try:
            facts: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        except (ValueError, IndexError) as error:
            raise DeviceError(
                f"{self.transport.address} cannot be described (exit code {done.code}): "
                f"{tail(done.stderr)}. Check its Python with --device-python."
            ) from error
        return {**facts, "threads": self.tried.threads}

    def place(self, path: Path, name: str) -> None:
        """Bring a file to the device, where it gets a name in the connection's folder."""
        self.bring(path)
        self.transport.place(sha256_of_file(path), name)

    def open_worker(self, artifact: Artifact, name: str) -> CandidateWorker:
        """What it opens looks like a bundle without a golden pair.

        The plain export may be of another runtime than the candidates.
        """
        self._device.install_tools()
        folder = f"candidate{next(self._folders)}"
        for own, path in runner_files(find_runtime(artifact.runtime)).items():
            self.place(path, f"{folder}/runner/{own}")
        for file in artifact.files:
            self.place(artifact.folder / file, f"{folder}/artifact/{file}")
        manifest = {
            "artifact": {
                "files": [f"artifact/{file}" for file in artifact.files],
                "settings": artifact.settings,
            },
            "input": self.tried.inputs.to_json(),
            "output": self.tried.outputs.to_json(),
        }
        with temporary_folder("device") as place:
            path = place / "manifest.json"
            path.write_text(json.dumps(manifest), encoding="utf-8")
            self.transport.push(path, f"{folder}/manifest.json")
        packages = tuple(self._device.require_packages(artifact.runtime))
        opened = SshFolder(self.transport, folder, packages, self.tried.threads, ADVICE)
        return CandidateWorker(self, opened, name)

    def forget(self) -> None:
        self.transport.forget(sorted(self.brought.used))


class CandidateWorker(SshWorker):
    """A worker of a candidate, whose images stay on the device."""

    def __init__(self, candidates: SshCandidates, place: SshFolder, name: str) -> None:
        super().__init__(place, name)
        self._candidates = candidates

    def _stop(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        super()._stop(kind, error, trace)
        if error is None:
            self._transport.remove(self._place.folder)

    def load(self, images: str | None = None) -> Loaded:
        self._candidates.pids.append(self._process.pid)
        return self.ask(Load(None if images is None else self._candidates.bring(Path(images))))

    def label_prepared(self, request: LabelPrepared) -> Done:
        outputs = self._candidates.tried.outputs
        classes = len(outputs.classes)
        maps = []
        for path, count in pieces_of(Path(request.images), request.count):
            there = self._candidates.bring(path)
            name = f"{self._place.folder}/labels.npy"
            self.ask(LabelPrepared(there, count, request.outputs, name))
            shape = (count, *self._candidates.tried.inputs.shape[2:])
            labels = self._fetch(name, shape, np.dtype(np.uint8))
            if labels.max() >= classes:
                raise BenchmarkError(
                    f"Measuring {self.name} failed: a label map has class {labels.max()} of "
                    f"{classes}. {self._place.advice}."
                )
            maps.append(labels)
        np.save(request.result, np.concatenate(maps))
        return Done()

    def predict_prepared(self, request: PredictPrepared) -> Done:
        there = self._candidates.bring(Path(request.images))
        batch = np.load(request.images, mmap_mode="r").shape[:2]
        tried = self._candidates.tried
        shape = (*batch, tried.outputs.channels, *tried.inputs.shape[2:])
        name = f"{self._place.folder}/masks.npy"
        self.ask(PredictPrepared(there, name))
        np.save(request.result, self._fetch(name, shape, np.dtype(np.float32)))
        return Done()

    def _fetch(self, name: str, shape: tuple[int, ...], kind: np.dtype[Any]) -> NDArray[Any]:
        """An array that the worker has written.

        Raises:
            BenchmarkError: It is another one.
        """
        with temporary_folder("device") as folder:
            path = folder / "result.npy"
            limit = int(np.prod(shape)) * kind.itemsize + NPY_HEADER_BYTES
            self._transport.pull(name, path, limit_bytes=limit)
            found: NDArray[Any] = np.load(path, allow_pickle=False)
        if found.shape != shape or found.dtype != kind:
            raise BenchmarkError(
                f"Measuring {self.name} failed: {self._transport.address} gave an array "
                f"{found.shape} {found.dtype}, expected {shape} {kind}. {self._place.advice}."
            )
        return found


def pieces_of(images: Path, count: int) -> Iterator[tuple[Path, int]]:
    """Files with a part of an array of images each, and how many of their images are meant.

    What a file holds does not depend on `count`, so that it goes to a device once.
    """
    whole = np.load(images, mmap_mode="r")
    for start in range(0, count, PIECE):
        path = images.with_name(f"{images.stem}-{start // PIECE}.npy")
        if not path.exists():
            np.save(path, whole[start : start + PIECE])
        yield path, min(PIECE, count - start)
