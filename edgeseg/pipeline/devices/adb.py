"""What `remote_bench` needs of an Android device: LiteRT's benchmark_model there, and its calls.

Nothing of ours runs on the device. Images are prepared here, masks are finished here.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from edgeseg.benchmarks.process import Worker, WorkerProcess
from edgeseg.bundle.bundle import Bundle
from edgeseg.contract import InputContract, OutputContract
from edgeseg.data.images import read_image
from edgeseg.errors import BenchmarkError, DeviceError, UsageError
from edgeseg.metrics.agreement import PER
from edgeseg.records import VERSION, RunnerSpec
from edgeseg.storage.cache import code_digest
from edgeseg.targets.transports.adb import AdbTransport
from edgeseg.targets.transports.base import tail
from edgeseg.targets.transports.benchmark_model import (
    Timings,
    benchmark_command,
    can_write_outputs,
    parse_timings,
)

PLACE = "device:tflite"  # of runners that this module opens
SUFFIX = ".tflite"
PROGRAM = "benchmark_model"
PROPERTIES = {
    "cpu": "ro.soc.model",
    "model": "ro.product.model",
    "android": "ro.build.version.release",
    "abi": "ro.product.cpu.abi",
}


@dataclass(frozen=True)
class TensorForm:
    """How a graph takes or gives values (1, C, H, W): channels last, maybe as integers.

    Attributes:
        shape: Of the tensor, (1, H, W, C).
        dtype: Name of its type for numpy.
        scale, zero_point: value = scale * (code - zero_point); None where the type is a float.
    """

    shape: tuple[int, ...]
    dtype: str
    scale: float | None
    zero_point: int | None

    @classmethod
    def of(cls, record: dict[str, Any], shape: Sequence[int]) -> Self:
        """From the manifest's record of a tensor of values of `shape`, (1, C, H, W).

        Raises:
            BenchmarkError: The record has another layout.
        """
        if record["layout"] != "NHWC":
            raise BenchmarkError(
                f"The graph takes images as {record['layout']}, which cannot be measured over adb. "
                "Build the bundle anew for target android."
            )
        batch, channels, height, width = shape
        return cls(
            (batch, height, width, channels),
            record["dtype"],
            record["scale"],
            record["zero_point"],
        )

    @property
    def size_bytes(self) -> int:
        return int(np.prod(self.shape)) * np.dtype(self.dtype).itemsize

    def encode(self, values: NDArray[np.float32]) -> bytes:
        """Raw tensor of values (1, C, H, W)."""
        values = values.transpose(0, 2, 3, 1)
        kind = np.dtype(self.dtype)
        if self.scale is not None:
            limits = np.iinfo(kind)
            values = np.rint(values / np.float32(self.scale)) + np.float32(self.zero_point or 0)
            values = values.clip(limits.min, limits.max)
        content: bytes = values.astype(kind).tobytes()
        return content

    def decode(self, content: bytes) -> NDArray[np.float32]:
        """Values (1, C, H, W) of a raw tensor."""
        values = np.frombuffer(content, self.dtype).reshape(self.shape).astype(np.float32)
        if self.scale is not None:
            values = (values - np.float32(self.zero_point or 0)) * np.float32(self.scale)
        return np.ascontiguousarray(values.transpose(0, 3, 1, 2))


class AdbDevice:
    """A device with benchmark_model and graphs on it.

    Args:
        transport: Entered.
        program: benchmark_model, a file here or an absolute path there; None is refused.
        threads: CPU threads of each artefact.

    Attributes:
        times_blocks: The program tells means only.
        has_masks: Whether the program writes what it computes.
    """

    times_blocks = True

    def __init__(self, transport: AdbTransport, program: str | None, threads: int) -> None:
        if program is None:
            raise UsageError(
                "Over adb LiteRT's program benchmark_model does the work. Name it with "
                "--benchmark-model: a file here, built for the device, or its path there."
            )
        self.transport = transport
        self.threads = threads
        self.has_masks = False
        self._program = program
        self._bundles: dict[str, Bundle] = {}  # by folder there

    def install_tools(self) -> None:
        """Bring the program there, and ask it what it can do."""
        if Path(self._program).is_file():
            self.transport.push(Path(self._program), PROGRAM)
            self._program = self.transport.path(PROGRAM)
            self.transport.shell(f"chmod 755 {PROGRAM}")
        elif not self._program.startswith("/"):
            raise UsageError(
                f"There is no file {self._program}. Give --benchmark-model a file here, or an "
                "absolute path on the device."
            )
        done = self.transport.run([self._program, "--help"])
        text = done.stdout + done.stderr
        if "--graph" not in text:
            raise DeviceError(
                f"{self._program} on {self.transport.address} is not a benchmark_model that runs "
                f"there (exit code {done.code}): {tail(text)}. Take LiteRT's build for the "
                "device's processor."
            )
        self.has_masks = can_write_outputs(text)

    def install(self, bundle: Bundle, folder: str) -> RunnerSpec:
        """Copy the graph."""
        file = bundle.manifest.artifact.files[0]
        if not file.endswith(SUFFIX):
            raise UsageError(
                f"{bundle.folder} is for {bundle.manifest.target}; benchmark_model runs "
                "LiteRT graphs only. Build it for target android, or use an ssh device."
            )
        self.transport.push(bundle.folder / file, f"{folder}/model{SUFFIX}")
        self._bundles[folder] = bundle
        return RunnerSpec(PLACE, {"folder": folder}, (), self.threads)

    def open_worker(self, name: str, runner: RunnerSpec) -> Worker:
        """Start what runs a participant: there, or here where the runner is of this machine."""
        if runner.place != PLACE:
            return WorkerProcess(name, runner)
        return self._worker(name, runner)

    def _worker(self, name: str, runner: RunnerSpec) -> AdbWorker:
        folder = runner.arguments["folder"]
        bundle = self._bundles[folder]
        return AdbWorker(self.transport, self._program, name, folder, bundle, runner.threads)

    def verify(self, bundle: Bundle, runner: RunnerSpec) -> tuple[str, dict[str, Any]]:
        """Replay the golden pair, where the program writes what it computes.

        Returns:
            The numbers, and facts of the device for `Report.environment`.

        Raises:
            DeviceError: The masks differ by more than the manifest allows.
        """
        numbers = "not verified: this benchmark_model writes no outputs"
        if self.has_masks:
            with self._worker(bundle.name, runner) as worker:
                holds, numbers = worker.verify()
            if not holds:
                raise DeviceError(
                    f"{bundle.folder} does not give its golden mask on {self.transport.address}: "
                    f"{numbers}. Take a benchmark_model of the LiteRT version in the manifest."
                )
        return numbers, self._describe()

    def _describe(self) -> dict[str, Any]:
        asked = " ".join(f'"$(getprop {name})"' for name in PROPERTIES.values())
        script = f'printf \'%s\\n\' {asked} "$(uname -mrs)" "$(cat /proc/loadavg)"; date -u +%FT%TZ'
        lines = self.transport.shell(script).splitlines()
        facts = dict(zip(PROPERTIES, lines, strict=False))
        system, load, date = lines[len(PROPERTIES) :][:3]
        return {
            "device": self.transport.address,
            "date": date,
            **facts,
            "cpu": facts["cpu"] or facts["model"] or "unknown CPU",
            "threads": self.threads,
            "pinned_to_cores": [],
            "load_average_1min": float(load.split()[0]) if load else None,
            "os": system,
            "benchmark_model": self._program,
            "edgeseg": VERSION,
            "edgeseg_code": code_digest()[:12],
        }


class AdbWorker:
    """A `Worker` each of whose commands is one call of benchmark_model, or one for each image.

    Args:
        program: Path of benchmark_model on the device.
        name: For messages.
        folder: Where the bundle's graph lies there.
    """

    def __init__(
        self,
        transport: AdbTransport,
        program: str,
        name: str,
        folder: str,
        bundle: Bundle,
        threads: int,
    ) -> None:
        self.name = name
        self._transport = transport
        self._program = program
        self._folder = folder
        self._bundle = bundle
        self._threads = threads
        runtime, shape = bundle.artifact.settings, bundle.inputs.shape
        self._input = TensorForm.of(runtime["input"], shape)
        self._output = TensorForm.of(
            runtime["output"], (shape[0], bundle.outputs.channels, *shape[2:])
        )
        self._flags = (f"--use_xnnpack={str(runtime['delegate'] == 'xnnpack').lower()}",)
        self._last: Timings | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass

    def ask(
        self, command: str, *, on_step: Callable[[], None] | None = None, **arguments: Any
    ) -> dict[str, Any]:
        """See `Worker`.

        Raises:
            BenchmarkError: The program fails.
            DeviceError: The connection is lost, time is up, or the disk is full.
        """
        if command == "load":
            return self._load(**arguments)
        if command == "first":
            assert self._last is not None
            return {"first_ms": self._last.first_ms}
        if command == "time":
            return {"latencies_ms": [self._run(arguments["count"]).mean_ms]}
        if command == "memory":
            return {"peak_rss_bytes": self._peak_bytes()}
        return self._label(on_step, **arguments)

    def verify(self) -> tuple[bool, str]:
        """Replay the golden pair; returns whether it holds, and the numbers."""
        image, expected = self._bundle.golden_pair()
        outputs, golden = self._bundle.outputs, self._bundle.manifest.golden
        got = self._compute(self._bundle.inputs.prepare(image))
        difference = float(np.abs(got - expected).max())
        flips = float((outputs.labels(got) != outputs.labels(expected)).mean()) * PER
        holds = flips <= golden.max_flips_per_10k and difference <= golden.max_abs_diff
        return holds, f"largest difference {difference:.2e}, {flips:.2f} of 10,000 pixels flip"

    def _load(self, runner: dict[str, Any], images: str | None = None) -> dict[str, Any]:
        shape = self._bundle.inputs.shape
        prepared = np.zeros(shape, np.float32) if images is None else np.load(images)[0]
        self._push_input(prepared)
        self._last = self._run(1)
        return {"load_ms": self._last.init_ms, "bare_rss_bytes": 0}

    def _peak_bytes(self) -> int:
        assert self._last is not None
        if self._last.footprint_mb is None:
            raise BenchmarkError(
                f"benchmark_model on {self._transport.address} tells no memory footprint. Take "
                "LiteRT's build for Android or Linux."
            )
        return int(self._last.footprint_mb * 2**20)

    def _label(
        self,
        on_step: Callable[[], None] | None,
        images: list[str],
        inputs: dict[str, Any],
        outputs: dict[str, Any],
        result: str,
    ) -> dict[str, Any]:
        prepare = InputContract.from_json(inputs).prepare
        to_labels = OutputContract.from_json(outputs).labels
        maps = []
        for path in images:
            mask = self._compute(prepare(read_image(Path(path))))
            if not np.isfinite(mask).all():
                raise BenchmarkError(
                    f"Measuring {self.name} failed: the mask of {path} holds NaN or infinity. "
                    "Check the bundle with edgeseg verify."
                )
            maps.append(to_labels(mask))
            if on_step is not None:
                on_step()
        np.save(result, np.stack(maps))
        return {}

    def _compute(self, prepared: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities (1, C, H, W) of a prepared image, from the device."""
        self._push_input(prepared)
        name = f"{self._folder}/output.bin"
        self._run(1, output=name)
        size = self._output.size_bytes
        with tempfile.TemporaryDirectory(prefix="edgeseg-device-") as folder:
            path = Path(folder) / "output.bin"
            self._transport.pull(name, path, limit_bytes=size)
            content = path.read_bytes()
        if len(content) != size:
            raise BenchmarkError(
                f"Measuring {self.name} failed: benchmark_model wrote {len(content)} bytes of "
                f"output, expected {size}. Check the free space of {self._transport.address}."
            )
        return self._output.decode(content)

    def _push_input(self, prepared: NDArray[np.float32]) -> None:
        with tempfile.TemporaryDirectory(prefix="edgeseg-device-") as folder:
            path = Path(folder) / "input.bin"
            path.write_bytes(self._input.encode(prepared))
            self._transport.push(path, f"{self._folder}/input.bin")

    def _run(self, runs: int, output: str | None = None) -> Timings:
        command = benchmark_command(
            self._program,
            f"{self._folder}/model{SUFFIX}",
            runs=runs,
            threads=self._threads,
            seconds=self._transport.timeout_s,
            shape=self._input.shape,
            input_file=f"{self._folder}/input.bin",
            output_file=output,
            flags=self._flags,
        )
        done = self._transport.run(command)
        text = done.stdout + done.stderr
        try:
            if done.code != 0:
                raise ValueError(f"exit code {done.code}")
            timings = parse_timings(text)
        except ValueError as error:
            raise BenchmarkError(
                f"benchmark_model fails on {self.name} on {self._transport.address}: {error}. It "
                f"said: {tail(text)}. Check that its LiteRT version has the graph's operators."
            ) from error
        if timings.count != runs:
            raise BenchmarkError(
                f"benchmark_model ran {timings.count} of {runs} inferences of {self.name} on "
                f"{self._transport.address} before time was up. Give it more with --timeout."
            )
        return timings
