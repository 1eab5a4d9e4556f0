"""Devices that are reached with ssh: bundles there, and their workers.

The device has Python, numpy and the runtimes; what else it needs is copied to it each time.
"""

from __future__ import annotations

import contextlib
import json
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseg.benchmarks.process import THREAD_VARIABLES, WorkerProxy
from edgeseg.benchmarks.workers import cpu, device_worker, memory, messages, protocol, timing
from edgeseg.benchmarks.workers.messages import (
    Answer,
    Describe,
    Description,
    Done,
    GoldenResult,
    Label,
    Load,
    Loaded,
    Phases,
    Request,
    TimePhases,
    Verify,
    encode_request,
)
from edgeseg.benchmarks.workers.protocol import do_nothing
from edgeseg.bundle.bundle import Bundle, manifest_text
from edgeseg.bundle.manifest import MANIFEST_NAME
from edgeseg.contract import InputContract
from edgeseg.data.images import read_image
from edgeseg.errors import BenchmarkError, DeviceError, UsageError, WorkerKilledError
from edgeseg.lazy import (
    ALTERNATIVES,
    NATIVE_MODULES,
    OWN_SOURCES,
    REPORTING_PACKAGES,
    distribution_of,
    module_file,
)
from edgeseg.records import sha256_of_file
from edgeseg.storage.temporary import temporary_folder
from edgeseg.targets import find_runtime
from edgeseg.targets.transports.base import Finished, tail
from edgeseg.targets.transports.ssh import LineProcess, SshTransport
from edgeseg.targets.transports.ssh_failures import explain_system_error

from ..builder.runner_files import runner_files
from .base import Device, DeviceRunner, describe_code

WORKER = "tools/device_worker.py"
# What is copied beside it.
TOOLS = tuple(
    module.__name__ for module in (device_worker, protocol, messages, timing, cpu, memory)
)
NPY_HEADER_BYTES = 1024  # at most
DISK_FULL = 28
# Says of each group of alternatives the first that loads, and else why the first does not.
PROBE = """
import importlib, json, sys
for name in json.loads(sys.argv[2]):
    sys.modules.setdefault(name, None)
found = []
for names in json.loads(sys.argv[1]):
    reasons = []
    for name in names:
        try:
            importlib.import_module(name)
            found.append([name, ""])
            break
        except Exception as error:
            reasons.append(f"{type(error).__name__}: {error}")
    else:
        found.append([None, reasons[0]])
print("\\n" + json.dumps(found))
"""


class SshDevice(Device):
    """A device with bundles on it.

    Args:
        transport: Entered.
        threads: CPU threads of each artefact.
    """

    def __init__(self, transport: SshTransport, threads: int) -> None:
        self._transport = transport
        self._threads = threads
        self._has_tools = False
        self._packages: dict[str, list[str]] = {}  # what is installed there, by runtime

    def install_tools(self) -> None:
        """Copy what measures there, once.

        Raises:
            UsageError: The device has fewer cores than threads were asked for.
        """
        if self._has_tools:
            return
        cores = self._transport.facts["cores"]
        if self._threads > cores:
            raise UsageError(
                f"{self._threads} threads were asked for, but {self._transport.address} has "
                f"{cores} cores. Lower --threads."
            )
        for module in TOOLS:
            path = module_file(module)
            self._transport.push(path, f"tools/{path.name}")
        self._has_tools = True

    def install(self, bundle: Bundle, folder: str) -> SshRunner:
        """Copy what a device needs of a bundle, and check there that it arrived whole.

        The code that runs there is that of the installed edgeseg, and the manifest is written for
        it: a bundle may have come from anywhere.
        """
        self.install_tools()
        packages = self.require_packages(bundle.manifest.runtime)
        with temporary_folder("device") as place:
            manifest = Path(place) / MANIFEST_NAME
            manifest.write_text(manifest_text(bundle.manifest), encoding="utf-8")
            self._transport.push(manifest, f"{folder}/{MANIFEST_NAME}")
        for name, path in runner_files(find_runtime(bundle.manifest.runtime)).items():
            self._push(bundle, path, f"{folder}/runner/{name}", sha256_of_file(path))
        for file in bundle.manifest.files:
            if file.role not in ("source", "runner"):
                path = bundle.folder / file.path
                self._push(bundle, path, f"{folder}/{file.path}", file.sha256)
        return SshRunner(SshFolder(self._transport, folder, tuple(packages), self._threads), bundle)

    def _push(self, bundle: Bundle, path: Path, name: str, sha256: str) -> None:
        self._transport.push(path, name)
        if self._transport.sha256(name) != sha256:
            raise DeviceError(
                f"{name.partition('/')[2]} of {bundle.folder} arrived changed at "
                f"{self._transport.address}. Check the device's memory and disk, and run again."
            )

    def require_packages(self, runtime: str) -> list[str]:
        """Import names of numpy and the runtime's packages, as they are installed there."""
        if runtime not in self._packages:
            wanted = ("numpy", *find_runtime(runtime).run_packages)
            groups = [(name, *ALTERNATIVES.get(name, ())) for name in wanted]
            natives = [[NATIVE_MODULES.get(name, name) for name in group] for group in groups]
            self._packages[runtime] = self._probe(natives)
        return self._packages[runtime]

    def _probe(self, groups: Sequence[Sequence[str]]) -> list[str]:
        python, address = self._transport.facts["python"], self._transport.address
        done = self._transport.run(
            [python, "-c", PROBE, json.dumps(groups), json.dumps(REPORTING_PACKAGES)]
        )
        try:
            found = json.loads(done.stdout.splitlines()[-1])
        except (ValueError, IndexError) as error:
            raise DeviceError(
                f"Loading {', '.join(group[0] for group in groups)} ends {python} on {address} "
                f"(exit code {done.code}): {tail(done.stderr)}. Install builds for this device's "
                "system and processor."
            ) from error
        names = []
        for group, (name, reason) in zip(groups, found, strict=True):
            if name is None:
                wanted = group[0].partition(".")[0]
                package = distribution_of(wanted)
                how = OWN_SOURCES.get(wanted, f"{python} -m pip install {package}")
                version = self._transport.facts["python_version"]
                raise DeviceError(
                    f"{address} has no usable {package} for {python} (Python {version}): "
                    f"{reason}. Install it there: {how}; or name another interpreter with "
                    "--device-python."
                )
            names.append(name)
        return names


@dataclass(frozen=True)
class SshFolder:
    """What a worker on the device opens.

    Attributes:
        folder: Where artefact, runner and manifest lie there.
        packages: Modules of numpy and the runtime, as they are installed there.
        threads: CPU threads.
        advice: What to do when it fails, the end of a message.
    """

    transport: SshTransport
    folder: str
    packages: tuple[str, ...]
    threads: int
    advice: str = "Check the bundle with edgeseg verify"


@dataclass(frozen=True)
class SshRunner(DeviceRunner):
    """A bundle on the device.

    Attributes:
        place: Where it lies there.
    """

    place: SshFolder
    bundle: Bundle

    def on_threads(self, threads: int) -> SshRunner:
        return replace(self, place=replace(self.place, threads=threads))

    def open_worker(self, name: str) -> SshWorker:
        return SshWorker(self.place, name)

    def verify(self) -> tuple[str, dict[str, Any]]:
        address = self.place.transport.address
        with self.open_worker(self.bundle.name) as worker:
            worker.load()
            result = worker.verify()
            names = [name.partition(".")[0] for name in self.place.packages]
            facts = worker.describe(names).facts
        if not result.holds:
            raise DeviceError(
                f"{self.bundle.folder} does not give its golden mask on {address}: "
                f"{result.numbers}. Build it anew with the versions that the device has "
                f"({facts['versions']}), or bring the device to those of the manifest."
            )
        return result.numbers, {"device": address, **facts, **describe_code()}


class SshWorker(WorkerProxy):
    """A worker on the device, whose requests name files of this machine.

    Args:
        name: What it measures, for messages.
    """

    def __init__(self, place: SshFolder, name: str) -> None:
        self.name = name
        self._transport = place.transport
        self._place = place
        self._scratch = f"scratch/{place.folder}-{place.threads}"
        self._has_ended = False

    @property
    def has_ended(self) -> bool:
        return self._has_ended

    def start(self, stack: contextlib.ExitStack) -> None:
        place, facts = self._place, self._transport.facts
        environment = {
            **dict.fromkeys(THREAD_VARIABLES, str(place.threads)),
            # Engines that are built there go with the folder.
            "EDGESEG_CACHE_DIR": f"{facts['folder']}/cache",
        }
        packages = json.dumps(place.packages)
        command = [facts["python"], WORKER, place.folder, str(place.threads), packages]
        self._process: LineProcess = self._transport.start(command, environment)
        stack.push(self._stop)

    def _stop(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # After an error the connection may be gone; its end kills the process as well.
        if error is None:
            self._process.stop()
            self._transport.remove(self._scratch)

    def load(self, images: str | None = None) -> Loaded:
        name = None
        if images is not None:
            name = f"{self._scratch}/timing.npy"
            self._transport.push(Path(images), name)
        return self.ask(Load(name))

    def verify(self) -> GoldenResult:
        return self.ask(Verify())

    def describe(self, packages: Sequence[str]) -> Description:
        return self.ask(Describe(packages))

    def time_phases(self, request: TimePhases) -> Phases:
        assert request.inputs is not None
        inputs = InputContract.from_json(dict(request.inputs))
        found = Phases([], [], [])
        with temporary_folder("device") as folder:
            for path in request.images:
                image = self._push_image(Path(path), Path(folder), inputs)
                times = self.ask(TimePhases([image], request.repeats))
                found = Phases(
                    [*found.preprocess_ms, *times.preprocess_ms],
                    [*found.inference_ms, *times.inference_ms],
                    [*found.postprocess_ms, *times.postprocess_ms],
                )
        return found

    def _push_image(self, path: Path, folder: Path, inputs: InputContract) -> str:
        """Bring a decoded image to the device, over the one before; returns where it lies.

        One at a time: the device's disk may be small, and a step may not take long.
        """
        image = f"{self._scratch}/image.npy"
        np.save(folder / "image.npy", read_image(path, inputs))
        self._transport.push(folder / "image.npy", image)
        return image

    def label(self, request: Label, on_step: Callable[[], None] = do_nothing) -> Done:
        assert request.inputs is not None
        assert request.outputs is not None
        inputs = InputContract.from_json(dict(request.inputs))
        count = len(request.outputs["classes"])
        maps = []
        with temporary_folder("device") as folder:
            for path in request.images:
                maps.append(self._label_image(Path(path), Path(folder), inputs))
                if maps[-1].max() >= count:
                    raise BenchmarkError(
                        f"Measuring {self.name} failed: the label map of {path} has class "
                        f"{maps[-1].max()} of {count}. Build the bundle anew."
                    )
                on_step()
        np.save(request.result, np.stack(maps))
        return Done()

    def _label_image(self, path: Path, folder: Path, inputs: InputContract) -> NDArray[np.uint8]:
        result = f"{self._scratch}/labels.npy"
        shape = inputs.height, inputs.width
        image = self._push_image(path, folder, inputs)
        self.ask(Label([image], result))
        limit = int(np.prod(shape)) + NPY_HEADER_BYTES
        self._transport.pull(result, folder / "labels.npy", limit_bytes=limit)
        maps: NDArray[np.uint8] = np.load(folder / "labels.npy", allow_pickle=False)
        if maps.shape != (1, *shape) or maps.dtype != np.uint8:
            raise BenchmarkError(
                f"Measuring {self.name} failed: {self._transport.address} gave a label map "
                f"{maps.shape} {maps.dtype}, expected {(1, *shape)} uint8. Build the bundle anew."
            )
        labels: NDArray[np.uint8] = maps[0]
        return labels

    def ask(self, request: Request[Answer], on_step: Callable[[], None] = do_nothing) -> Answer:
        """See `WorkerProxy`; the device's worker reports no steps.

        Raises:
            DeviceError: The connection is lost, time is up, or the disk is full.
        """
        address = self._transport.address
        what = f"{messages.command_of(type(request))} {self.name}"
        try:
            reply = self._process.ask(encode_request(request), what)
        except DeviceError:
            self._has_ended = True
            raise
        if isinstance(reply, Finished):
            self._has_ended = True
            kind = WorkerKilledError if reply.code == -signal.SIGKILL else BenchmarkError
            reason = f"signal {-reply.code}" if reply.code < 0 else f"exit code {reply.code}"
            stderr = f" Its last output: {tail(reply.stderr)}" if reply.stderr.strip() else ""
            raise kind(
                f"The process that ran {self.name} on {address} ended with {reason}.{stderr} Check "
                f"that the device has enough free memory. {self._place.advice}."
            )
        record: dict[str, Any] = json.loads(reply)
        if record.get("errno") == DISK_FULL:
            raise DeviceError(explain_system_error(address, what, DISK_FULL, record["error"]))
        if "error" in record:
            raise BenchmarkError(
                f"Measuring {self.name} on {address} failed: {record['error'].rstrip('.')}. "
                f"{self._place.advice}."
            )
        answer: Answer = request.answer(**record)
        return answer
