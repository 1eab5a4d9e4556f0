"""Android devices: the runtime's on-device program there, and its calls.

Nothing of ours runs on the device. Images are prepared here, masks are finished here. Which program
runs an artefact, and in which words, its runtime says.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseg.benchmarks.workers.messages import (
    Done,
    FirstInference,
    Label,
    LabelPrepared,
    Latencies,
    Loaded,
    MemoryUse,
    PredictPrepared,
)
from edgeseg.benchmarks.workers.protocol import Worker, do_nothing
from edgeseg.bundle.bundle import Bundle
from edgeseg.bundle.golden import check_golden
from edgeseg.contract import InputContract, OutputContract
from edgeseg.data.images import read_image
from edgeseg.errors import BenchmarkError, DeviceError, UsageError
from edgeseg.records import Artifact
from edgeseg.storage.temporary import temporary_folder
from edgeseg.targets import RUNTIMES, find_runtime, runtime_class
from edgeseg.targets.device_program import DeviceProgram, ProgramCall, ProgramTimings
from edgeseg.targets.transports.adb import AdbTransport
from edgeseg.targets.transports.base import tail

from .base import Device, DeviceRunner, describe_code

PROPERTIES = {
    "cpu": "ro.soc.model",
    "model": "ro.product.model",
    "android": "ro.build.version.release",
    "abi": "ro.product.cpu.abi",
}


@dataclass(frozen=True)
class InstalledProgram:
    """Attributes:
    kind: Which program it is.
    path: Where it lies on the device.
    writes_outputs: Whether this build writes what it computes.
    """

    kind: DeviceProgram
    path: str
    writes_outputs: bool


class AdbDevice(Device):
    """A device with an on-device program and artefacts on it.

    Args:
        transport: Entered.
        program: File of the program, here or as an absolute path there; None is refused.
        threads: CPU threads of each artefact.
    """

    def __init__(self, transport: AdbTransport, program: str | None, threads: int) -> None:
        self._transport = transport
        self._program = program
        self._threads = threads
        self._installed: InstalledProgram | None = None

    def install(self, bundle: Bundle, folder: str) -> AdbRunner:
        runtime = bundle.manifest.runtime
        program = self.install_program(
            find_program(
                runtime,
                lambda able: (
                    f"{bundle.folder} is for runtime {runtime}, which has no program that runs "
                    f"without Python. Build for a runtime that has one ({', '.join(able)}), or use "
                    "an ssh device."
                ),
            )
        )
        for file in bundle.manifest.artifact.files:
            self._transport.push(bundle.folder / file, f"{folder}/{file}")
        place = AdbPlace(
            self._transport,
            program,
            bundle.artifact,
            bundle.inputs,
            bundle.outputs,
            f"{folder}/{bundle.artifact.files[0]}",
            folder,
            self._threads,
        )
        return AdbRunner(place, bundle)

    def install_program(self, kind: DeviceProgram) -> InstalledProgram:
        """Bring the program there once, and ask it what it can do."""
        if self._installed is None:
            path = self._push_program(kind)
            done = self._transport.run([path, "--help"])
            text = done.stdout + done.stderr
            if not kind.recognizes(text):
                raise DeviceError(
                    f"{path} on {self._transport.address} is not a {kind.name} that runs there "
                    f"(exit code {done.code}): {tail(text)}. Take {kind.build_advice}."
                )
            self._installed = InstalledProgram(kind, path, kind.can_write_outputs(text))
        if type(kind) is not type(self._installed.kind):
            raise UsageError(
                f"The bundles need {self._installed.kind.name} and {kind.name}, and one run takes "
                "one program. Measure the bundles of each runtime by themselves."
            )
        return self._installed

    def _push_program(self, kind: DeviceProgram) -> str:
        """Path of the program on the device."""
        if self._program is None:
            raise UsageError(
                f"Over adb the program {kind.name} does the work. Name it with --device-program: a "
                "file here, built for the device, or its path there."
            )
        if Path(self._program).is_file():
            self._transport.push(Path(self._program), kind.name)
            self._transport.shell(f"chmod 755 {kind.name}")
            return self._transport.path(kind.name)
        if not self._program.startswith("/"):
            raise UsageError(
                f"There is no file {self._program}. Give --device-program a file here, or an "
                "absolute path on the device."
            )
        return self._program


def find_program(runtime: str, refusal: Callable[[list[str]], str]) -> DeviceProgram:
    """The on-device program of a runtime.

    Args:
        refusal: What to say where it has none, by the names of the runtimes that have one.

    Raises:
        UsageError: It has none.
    """
    program = find_runtime(runtime).device_program
    if program is None:
        able = [name for name in RUNTIMES.names() if runtime_class(name).device_program is not None]
        raise UsageError(refusal(able))
    return program


@dataclass(frozen=True)
class AdbPlace:
    """An artefact on the device.

    Attributes:
        inputs, outputs: Its contracts.
        graph: Its first file there, in the connection's folder or an absolute path.
        folder: Where what is computed comes and goes.
        threads: CPU threads.
    """

    transport: AdbTransport
    program: InstalledProgram
    artifact: Artifact
    inputs: InputContract
    outputs: OutputContract
    graph: str
    folder: str
    threads: int


@dataclass(frozen=True)
class AdbRunner(DeviceRunner):
    """A bundle's artefact on the device.

    Attributes:
        place: Where it lies there.
    """

    place: AdbPlace
    bundle: Bundle

    times_blocks = True
    times_phases = False

    @property
    def has_masks(self) -> bool:  # type: ignore[override]
        return self.place.program.writes_outputs

    def on_threads(self, threads: int) -> AdbRunner:
        return replace(self, place=replace(self.place, threads=threads))

    def open_worker(self, name: str) -> AdbWorker:
        return AdbWorker(self.place, name)

    def verify(self) -> tuple[str, dict[str, Any]]:
        kind, address = self.place.program.kind, self.place.transport.address
        numbers = f"not verified: this {kind.name} writes no outputs"
        if self.has_masks:
            image, expected = self.bundle.golden_pair()
            with self.open_worker(self.bundle.name) as worker:
                computed = worker.compute(self.bundle.inputs.prepare(image))
            limits = self.bundle.manifest.golden.model_dump()
            check = check_golden(limits, self.bundle.outputs, expected, computed)
            numbers = str(check)
            if not check.holds:
                raise DeviceError(
                    f"{self.bundle.folder} does not give its golden mask on {address}: {numbers}. "
                    f"Take a {kind.name} of the runtime's version in the manifest."
                )
        return numbers, self._describe()

    def _describe(self) -> dict[str, Any]:
        place = self.place
        properties = " ".join(f'"$(getprop {name})"' for name in PROPERTIES.values())
        printed = f'{properties} "$(uname -mrs)" "$(cat /proc/loadavg)"'
        lines = place.transport.shell(f"printf '%s\\n' {printed}; date -u +%FT%TZ").splitlines()
        facts = dict(zip(PROPERTIES, lines, strict=False))
        system, load, date = lines[len(PROPERTIES) :][:3]
        return {
            "device": place.transport.address,
            "date": date,
            **facts,
            "cpu": facts["cpu"] or facts["model"] or "unknown CPU",
            "threads": place.threads,
            "pinned_to_cores": [],
            "load_average_1min": float(load.split()[0]) if load else None,
            "os": system,
            place.program.kind.name: place.program.path,
            **describe_code(),
        }


class AdbWorker(Worker):
    """A worker each of whose requests is one call of the program, or one call an image.

    Args:
        name: What it measures, for messages.
    """

    def __init__(self, place: AdbPlace, name: str) -> None:
        self.name = name
        self._transport = place.transport
        self._program = place.program
        self._kind = place.program.kind
        self._place = place
        self._artifact = place.artifact
        self._inputs, self._outputs = place.inputs, place.outputs
        batch, _, height, width = self._inputs.shape
        mask_shape = (batch, self._outputs.channels, height, width)
        self._input_form = self._kind.input_form(self._artifact, self._inputs.shape)
        self._output_form = self._kind.output_form(self._artifact, mask_shape)
        self._last: ProgramTimings | None = None

    def load(self, images: str | None = None) -> Loaded:
        zeros = np.zeros(self._inputs.shape, np.float32)
        self._push_input(zeros if images is None else np.load(images)[0])
        self._last = self._run(1)
        return Loaded(self._last.init_ms, 0)

    def first(self) -> FirstInference:
        assert self._last is not None
        return FirstInference(self._last.first_ms)

    def time(self, count: int) -> Latencies:
        return Latencies([self._run(count).mean_ms])

    def memory(self) -> MemoryUse:
        assert self._last is not None
        if self._last.peak_bytes is None:
            raise BenchmarkError(
                f"{self._kind.name} on {self._transport.address} reports no memory footprint. Take "
                f"{self._kind.build_advice}."
            )
        return MemoryUse(self._last.peak_bytes)

    def label(self, request: Label, on_step: Callable[[], None] = do_nothing) -> Done:
        assert request.inputs is not None
        assert request.outputs is not None
        inputs = InputContract.from_json(dict(request.inputs))
        to_labels = OutputContract.from_json(dict(request.outputs)).labels
        maps = []
        for path in request.images:
            mask = self.compute(inputs.prepare(read_image(Path(path), inputs)))
            if not np.isfinite(mask).all():
                raise BenchmarkError(
                    f"Measuring {self.name} failed: the mask of {path} holds NaN or infinity. "
                    "Check the bundle with edgeseg verify."
                )
            maps.append(to_labels(mask))
            on_step()
        np.save(request.result, np.stack(maps))
        return Done()

    def label_prepared(self, request: LabelPrepared) -> Done:
        to_labels = OutputContract.from_json(dict(request.outputs)).labels
        maps = []
        for index, image in enumerate(np.load(request.images, mmap_mode="r")[: request.count]):
            mask = self.compute(np.ascontiguousarray(image))
            if not np.isfinite(mask).all():
                raise BenchmarkError(
                    f"Measuring {self.name} failed: the mask of image {index} holds NaN or "
                    "infinity. Leave that form out by naming a --precision."
                )
            maps.append(to_labels(mask))
        np.save(request.result, np.stack(maps))
        return Done()

    def predict_prepared(self, request: PredictPrepared) -> Done:
        masks = [self.compute(np.ascontiguousarray(image)) for image in np.load(request.images)]
        np.save(request.result, np.stack(masks).astype(np.float32))
        return Done()

    def compute(self, prepared: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities (1, C, H, W) of a prepared image, from the device."""
        self._push_input(prepared)
        name = f"{self._place.folder}/output.bin"
        self._run(1, output=name)
        size = self._output_form.size_bytes
        with temporary_folder("device") as folder:
            path = Path(folder) / "output.bin"
            self._transport.pull(name, path, limit_bytes=size)
            content = path.read_bytes()
        if len(content) != size:
            raise BenchmarkError(
                f"Measuring {self.name} failed: {self._kind.name} wrote {len(content)} bytes of "
                f"output, expected {size}. Check the free space of {self._transport.address}."
            )
        return self._output_form.decode(content)

    def _push_input(self, prepared: NDArray[np.float32]) -> None:
        with temporary_folder("device") as folder:
            path = Path(folder) / "input.bin"
            path.write_bytes(self._input_form.encode(prepared))
            self._transport.push(path, f"{self._place.folder}/input.bin")

    def _run(self, runs: int, output: str | None = None) -> ProgramTimings:
        call = ProgramCall(
            program=self._program.path,
            graph=self._place.graph,
            runs=runs,
            threads=self._place.threads,
            seconds=self._transport.timeout_s,
            input_file=f"{self._place.folder}/input.bin",
            output_file=output,
        )
        done = self._transport.run(self._kind.command(self._artifact, self._inputs.shape, call))
        text = done.stdout + done.stderr
        name, address = self._kind.name, self._transport.address
        try:
            if done.code != 0:
                raise ValueError(f"exit code {done.code}")
            timings = self._kind.parse_timings(text)
        except ValueError as error:
            raise BenchmarkError(
                f"{name} fails on {self.name} on {address}: {error}. Its last output: "
                f"{tail(text)}. Check that its version has the graph's operators."
            ) from error
        if timings.count != runs:
            raise BenchmarkError(
                f"{name} ran {timings.count} of {runs} inferences of {self.name} on {address} "
                "before time was up. Give it more with --timeout."
            )
        return timings
