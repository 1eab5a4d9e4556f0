"""What `remote_bench` needs of a device that is reached with ssh: bundles there, and their workers.

The device has Python, numpy and the runtimes; what else it needs is copied to it each time.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from edgeseg.benchmarks.process import Worker, WorkerProcess
from edgeseg.bundle.bundle import Bundle
from edgeseg.bundle.manifest import MANIFEST_NAME
from edgeseg.data.images import read_image
from edgeseg.errors import BenchmarkError, DeviceError, UsageError
from edgeseg.lazy import ALTERNATIVES, NATIVE_MODULES, OWN_SOURCES, distribution_of, module_file
from edgeseg.records import VERSION, RunnerSpec
from edgeseg.storage.cache import code_digest
from edgeseg.targets import find_runtime
from edgeseg.targets.transports.base import Finished, tail
from edgeseg.targets.transports.ssh import RemoteWorker, SshTransport
from edgeseg.targets.transports.ssh_failures import explain_system_error

TOOLS = {
    "device_worker.py": "edgeseg.benchmarks.device_worker",
    "cpu.py": "edgeseg.benchmarks.cpu",
    "memory.py": "edgeseg.benchmarks.memory",
}
PLACE = "device:bundle"  # of runners that this module opens
NPY_HEADER_BYTES = 1024  # at most
DISK_FULL = 28
# Says of each group of alternatives the first that loads, and else why the first does not.
PROBE = """
import importlib, json, sys
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


class SshDevice:
    """A device with bundles on it.

    Args:
        transport: Entered.
        threads: CPU threads of each artefact.
    """

    times_blocks = False
    has_masks = True

    def __init__(self, transport: SshTransport, threads: int) -> None:
        self.transport = transport
        self.threads = threads
        self._packages: dict[str, list[str]] = {}  # what is installed there, by runtime

    def install_tools(self) -> None:
        """Copy what measures there.

        Raises:
            UsageError: The device has fewer cores than threads were asked for.
        """
        cores = self.transport.facts["cores"]
        if self.threads > cores:
            raise UsageError(
                f"{self.threads} threads were asked for, but {self.transport.address} has {cores} "
                "cores. Lower --threads."
            )
        for name, module in TOOLS.items():
            self.transport.push(module_file(module), f"tools/{name}")

    def install(self, bundle: Bundle, folder: str) -> RunnerSpec:
        """Copy what a device needs of a bundle, and check there that it arrived whole.

        Raises:
            DeviceError: It has not the runtime, or not the space; or a file arrived changed.
        """
        packages = self._require_packages(bundle.manifest.runtime)
        self.transport.push(bundle.folder / MANIFEST_NAME, f"{folder}/{MANIFEST_NAME}")
        for file in bundle.manifest.files:
            if file.role == "source":
                continue
            name = f"{folder}/{file.path}"
            self.transport.push(bundle.folder / file.path, name)
            if self.transport.sha256(name) != file.sha256:
                raise DeviceError(
                    f"{file.path} of {bundle.folder} arrived changed at {self.transport.address}. "
                    "Check the device's memory and disk, and run again."
                )
        arguments = {"folder": folder, "target": bundle.manifest.target}
        return RunnerSpec(PLACE, arguments, tuple(packages), self.threads)

    def _require_packages(self, runtime: str) -> list[str]:
        """Import names of numpy and the runtime's packages, as they are installed there."""
        if runtime not in self._packages:
            wanted = ("numpy", *find_runtime(runtime).run_packages)
            groups = [(name, *ALTERNATIVES.get(name, ())) for name in wanted]
            natives = [[NATIVE_MODULES.get(name, name) for name in group] for group in groups]
            self._packages[runtime] = self._probe(natives)
        return self._packages[runtime]

    def _probe(self, groups: Sequence[Sequence[str]]) -> list[str]:
        python, address = self.transport.facts["python"], self.transport.address
        done = self.transport.run([python, "-c", PROBE, json.dumps(groups)])
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
                version = self.transport.facts["python_version"]
                raise DeviceError(
                    f"{address} has no usable {package} for {python} (Python {version}): "
                    f"{reason}. Install it there: {how}; or name another interpreter with "
                    "--device-python."
                )
            names.append(name)
        return names

    def open_worker(self, name: str, runner: RunnerSpec) -> Worker:
        """Start what runs a participant: there, or here where the runner is of this machine."""
        if runner.place != PLACE:
            return WorkerProcess(name, runner)
        return SshWorker(self.transport, name, runner)

    def verify(self, bundle: Bundle, runner: RunnerSpec) -> tuple[str, dict[str, Any]]:
        """Replay the golden pair there.

        Returns:
            The numbers, and facts of the device for `Report.environment`.

        Raises:
            DeviceError: The masks differ by more than the manifest allows.
        """
        with SshWorker(self.transport, bundle.name, runner) as worker:
            worker.ask("load", runner=runner.to_json())
            result = worker.ask("verify")
            environment = worker.ask(
                "describe", packages=[name.partition(".")[0] for name in runner.packages]
            )
        if not result["holds"]:
            raise DeviceError(
                f"{bundle.folder} does not give its golden mask on {self.transport.address}: "
                f"{result['numbers']}. Build it anew with the versions that the device has "
                f"({environment['versions']}), or bring the device to those of the manifest."
            )
        return result["numbers"], {
            "device": self.transport.address,
            **environment,
            "edgeseg": VERSION,
            "edgeseg_code": code_digest()[:12],
        }


class SshWorker:
    """A `Worker` on the device, whose commands name files of this machine.

    Args:
        name: For messages.
        runner: As `SshDevice.install` gives it.
    """

    def __init__(self, transport: SshTransport, name: str, runner: RunnerSpec) -> None:
        self.name = name
        self._transport = transport
        self._runner = runner
        self._process: RemoteWorker | None = None
        self._scratch = ""

    def __enter__(self) -> Self:
        folder, threads = self._runner.arguments["folder"], str(self._runner.threads)
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        facts = self._transport.facts
        # Engines that are built there go with the folder.
        environment = {
            **dict.fromkeys(names, threads),
            "EDGESEG_CACHE_DIR": f"{facts['folder']}/cache",
        }
        python = facts["python"]
        command = [python, "tools/device_worker.py", folder, threads]
        self._process = self._transport.start(command, environment)
        self._scratch = f"scratch/{folder}"
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # After an error the connection may be gone; its end kills the process as well.
        if error is None and self._process is not None:
            self._process.stop()
            self._transport.remove(self._scratch)

    def ask(
        self, command: str, *, on_step: Callable[[], None] | None = None, **arguments: Any
    ) -> dict[str, Any]:
        """See `Worker`.

        Raises:
            BenchmarkError: The worker reports an error or dies.
            DeviceError: The connection is lost, time is up, or the disk is full.
        """
        if command == "load":
            return self._load(**arguments)
        if command == "label":
            return self._label(on_step, **arguments)
        return self._tell(command, **arguments)

    def _load(self, runner: dict[str, Any], images: str | None = None) -> dict[str, Any]:
        name = None
        if images is not None:
            name = f"{self._scratch}/timing.npy"
            self._transport.push(Path(images), name)
        return self._tell("load", packages=runner["packages"], images=name)

    def _label(
        self,
        on_step: Callable[[], None] | None,
        images: list[str],
        inputs: dict[str, Any],
        outputs: dict[str, Any],
        result: str,
    ) -> dict[str, Any]:
        shape = (inputs["height"], inputs["width"])
        maps = []
        with tempfile.TemporaryDirectory(prefix="edgeseg-device-") as folder:
            for path in images:
                maps.append(self._label_image(Path(path), Path(folder), shape))
                if maps[-1].max() >= len(outputs["classes"]):
                    raise BenchmarkError(
                        f"Measuring {self.name} failed: the label map of {path} has class "
                        f"{maps[-1].max()} of {len(outputs['classes'])}. Build the bundle anew."
                    )
                if on_step is not None:
                    on_step()
        np.save(result, np.stack(maps))
        return {}

    def _label_image(self, path: Path, folder: Path, shape: tuple[int, int]) -> NDArray[np.uint8]:
        """One image at a time: neither the device's disk nor its patience is known."""
        image, result = f"{self._scratch}/image.npy", f"{self._scratch}/labels.npy"
        np.save(folder / "image.npy", read_image(path))
        self._transport.push(folder / "image.npy", image)
        self._tell("label", images=[image], result=result)
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

    def _tell(self, command: str, **arguments: Any) -> dict[str, Any]:
        assert self._process is not None
        what = f"{command} {self.name}"
        reply = self._process.ask(json.dumps({"command": command, **arguments}), what)
        address = self._transport.address
        if isinstance(reply, Finished):
            how = f"signal {-reply.code}" if reply.code < 0 else f"exit code {reply.code}"
            said = f" It said: {tail(reply.stderr)}" if reply.stderr.strip() else ""
            raise BenchmarkError(
                f"The process that ran {self.name} on {address} ended with {how}.{said} Check that "
                "the device has enough free memory, and the bundle with edgeseg verify."
            )
        answer: dict[str, Any] = json.loads(reply)
        if answer.get("errno") == DISK_FULL:
            raise DeviceError(explain_system_error(address, what, DISK_FULL, answer["error"]))
        if "error" in answer:
            raise BenchmarkError(
                f"Measuring {self.name} on {address} failed: {answer['error'].rstrip('.')}. Check "
                "the bundle with edgeseg verify."
            )
        return answer
