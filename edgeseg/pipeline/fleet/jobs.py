"""Steps as machines of a cluster do them: what travels there, and what comes back.

Machines share no disk: weights, descriptions and bundles travel as bytes. Folders of images lie at
the same path on each.
"""

from __future__ import annotations

import io
import os
import platform
import tarfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgeseg.benchmarks.report import Report
from edgeseg.bundle.bundle import Bundle, open_bundle
from edgeseg.data.digest import images_digest
from edgeseg.errors import (
    BenchmarkError,
    BundleError,
    DeviceError,
    EdgesegError,
    TargetError,
    UsageError,
    WorkerKilledError,
)
from edgeseg.lazy import prepare_environment
from edgeseg.progress import SILENT
from edgeseg.storage.atomic import writing_folder
from edgeseg.storage.cache import code_digest
from edgeseg.storage.temporary import temporary_folder

from ..builder.request import BuildRequest, open_split
from .cells import calibration_digest
from .steps import REFUSED
from .work import Measurement, Work, reason_after, state_after

OPENMP = "OMP_NUM_THREADS"  # which Ray sets; the driver's holds


@dataclass(frozen=True)
class Job:
    """A step on its way to a machine.

    Attributes:
        work: How steps are done.
        digests: Of the images, as the driver sees them.
        code: Digest of the driver's edgeseg.
        folder: The driver's working folder, which the job takes where it exists.
        openmp: The driver's `OMP_NUM_THREADS`.
    """

    work: Work
    digests: tuple[str, ...]
    code: str
    folder: str
    openmp: str | None

    def done(self, place: Path) -> Built | Measured:
        """Do it, with `place` for what is needed meanwhile."""
        raise NotImplementedError


@dataclass(frozen=True)
class BuildJob(Job):
    """Attributes:
    request: What to build; its paths are the driver's.
    files: Content of the weights and of the description, by name of the request's field.
    """

    request: BuildRequest
    files: Mapping[str, tuple[str, bytes]]

    def done(self, place: Path) -> Built:
        request = self.request
        _require_images(request.data)
        _require_same(calibration_digest(request.data), self.digests, request.data)
        paths: dict[str, Any] = {}
        for field, (name, content) in self.files.items():
            paths[field] = place / field / name
            paths[field].parent.mkdir()
            paths[field].write_bytes(content)
        started = time.monotonic()
        # The folder's name is in messages.
        output = place / "bundles" / Path(str(request.output)).name
        bundle = self.work.build(replace(request, output=output, **paths), SILENT)
        seconds = time.monotonic() - started
        return Built(packed(bundle.folder), bundle.identity, seconds)


@dataclass(frozen=True)
class MeasureJob(Job):
    """Attributes:
    measurement: What to measure; its paths are the driver's.
    bundles: Content of each, by its path.
    """

    measurement: Measurement
    bundles: Mapping[str, bytes]

    def done(self, place: Path) -> Measured:
        own = self.measurement
        _require_images(own.data)
        dataset = open_split(own.data, *own.splits).first(own.images)
        _require_same((images_digest(dataset),), self.digests, own.data)
        places: dict[Path, Path] = {}
        for text, content in self.bundles.items():
            path = Path(text)
            places[path] = place / path.name
            unpack(content, places[path])
        here = replace(
            own,
            bundles=tuple(places[path] for path in own.bundles),
            baselines=tuple(places[path] for path in own.baselines),
        )
        started = time.monotonic()
        report = self.work.measure(here, SILENT)
        seconds = time.monotonic() - started
        back = {str(new.resolve()): str(old.resolve()) for old, new in places.items()}
        rows = [{**row, "key": back.get(row["key"], row["key"])} for row in report.rows]
        environment = {"host": platform.node(), **report.environment}
        return Measured(replace(report, rows=rows, environment=environment).to_json(), seconds)


@dataclass(frozen=True)
class Started:
    """A machine has begun: its name, and the number of the process."""

    host: str
    pid: int


@dataclass(frozen=True)
class Built:
    bundle: bytes
    identity: str
    seconds: float

    def placed(self, folder: Path) -> Bundle:
        """The bundle, in a folder of the driver.

        Raises:
            BundleError: It arrived changed.
        """
        with writing_folder(folder, replace=True) as partial:
            _extract(self.bundle, partial)
        bundle = open_bundle(folder)
        if bundle.identity != self.identity:
            raise BundleError(f"The bundle {folder} arrived changed. Run the sweep again.")
        return bundle


@dataclass(frozen=True)
class Measured:
    report: dict[str, Any]
    seconds: float

    def read(self) -> Report:
        return Report.from_json(self.report)


@dataclass(frozen=True)
class NotDone:
    """A step failed.

    Attributes:
        kind: What kind of error the driver raises for it.
    """

    kind: str
    reason: str

    @classmethod
    def of(cls, error: Exception) -> NotDone:
        if isinstance(error, WorkerKilledError):
            return cls("killed", reason_after(error))
        if isinstance(error, DeviceError):
            return cls("device", reason_after(error))
        return cls(state_after(error), reason_after(error))

    def error(self) -> EdgesegError:
        kinds = {"killed": WorkerKilledError, "device": DeviceError, REFUSED: TargetError}
        return kinds.get(self.kind, BenchmarkError)(self.reason)


Answer = Started | Built | Measured | NotDone


def perform(job: Job) -> Iterator[Answer]:
    """Do a job on this machine: say that it has begun, then what came of it."""
    yield Started(platform.node(), os.getpid())
    try:
        _take_surroundings(job)
        if code_digest() != job.code:
            raise UsageError(
                f"{platform.node()} has another edgeseg than the driver. Install the same one on "
                "every machine of the cluster."
            )
        with temporary_folder("fleet") as place:
            yield job.done(place)
    except Exception as error:  # whatever it is, the driver is told, and goes on
        yield NotDone.of(error)


def _take_surroundings(job: Job) -> None:
    """Let the process be as the driver's: Ray has changed some of it."""
    prepare_environment()
    if os.path.isdir(job.folder):  # noqa: PTH112 (a text that may be no path here)
        os.chdir(job.folder)
    os.environ.pop(OPENMP, None)
    if job.openmp is not None:
        os.environ[OPENMP] = job.openmp
    if os.environ.get("CUDA_VISIBLE_DEVICES") == "":
        # Ray hides GPUs from tasks that ask for none of its own kind.
        del os.environ["CUDA_VISIBLE_DEVICES"]


def _require_images(data: Path | None) -> None:
    if data is not None and not data.is_dir():
        raise UsageError(
            f"{platform.node()} has no data folder at {data.absolute()}. Copy it to the same path "
            "on every machine of the cluster."
        )


def _require_same(found: tuple[str, ...], expected: tuple[str, ...], data: Path | None) -> None:
    if found != expected:
        raise UsageError(
            f"{platform.node()} has other images in {data or 'the sample'} than the driver. Copy "
            "the folder to every machine of the cluster, unchanged."
        )


def packed(folder: Path) -> bytes:
    """A folder as one file."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for path in sorted(folder.iterdir()):
            archive.add(path, path.name)
    return file.getvalue()


def unpack(content: bytes, folder: Path) -> None:
    """Write what `packed` gave into a new folder."""
    folder.mkdir(parents=True)
    _extract(content, folder)


def _extract(content: bytes, folder: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        archive.extractall(folder, filter="data")
