"""What every runtime offers."""

from __future__ import annotations

import abc
import importlib
import platform
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from edgeseg.errors import TargetError, UnknownNameError, reason_of
from edgeseg.lazy import (
    distribution_of,
    install_command,
    installed_version,
    is_installed,
    provider_of,
    require,
)
from edgeseg.options import Options
from edgeseg.records import ONNX_FORMAT, Artifact, Diagnosis, LayerProfile

from .device_program import DeviceProgram

FP32_TOLERANCE = 1e-3  # of a probability
HALF_FLAGS = ("asimdhp",)  # of ARM CPUs that compute with vectors of FP16


@dataclass(frozen=True)
class RuntimeOptions(Options):
    """Base of what can be chosen for a runtime with --option NAME=VALUE: nothing."""

    @classmethod
    def from_text(cls, runtime: str, given: Mapping[str, str]) -> Self:
        """See `Options.parse`."""
        return cls.parse(f"runtime {runtime}", given)


class Backend(Protocol):
    """A loaded artefact. The classes live in `runners/`, whose files bundles carry along."""

    def run(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities (1, C, H, W) of a prepared image (1, 3, H, W)."""


@dataclass(frozen=True)
class ProfileRequest:
    """An artefact to profile.

    Attributes:
        artifact: As the bundle has it.
        graph_path: The float graph that it was made of, rewritten, with all names.
        image: Prepared, (1, C, H, W).
        runs: Counted ones.
        quantized_path: That graph with the Q/DQ operators of the bundle's plan; None where there is
            no plan.
    """

    artifact: Artifact
    graph_path: Path
    image: NDArray[np.float32]
    runs: int
    quantized_path: Path | None = None


class Written(NamedTuple):
    """Files that a runtime's compiler has written and a note about them, as in `Artifact`."""

    files: tuple[str, ...]
    note: str = ""


class Runtime(abc.ABC):
    """What computes a network on devices, and how a network is compiled for it.

    Subclasses state the class variables and implement the abstract methods.

    Attributes:
        name: As registered.
        devices: Names of the devices that it runs on; see `edgeseg.targets.devices`.
        title: One line for people.
        artifact_format: Of what `compile` writes.
        quantized_from: Formats that quantisers may take, the preferred one first: "onnx" when
            `compile` takes graphs with Q/DQ, `artifact_format` when artefacts are quantised.
        plan_defaults: Defaults of calibrators' options that give plans the form that INT8
            operators take here: see `edgeseg.quantize.calibrators.range_calibrator.RangeOptions`.
        compiled_precisions: Those that `compile` makes from a float graph.
        quantized_precisions: Those that need a quantiser.
        tolerances: Largest difference of a probability to torch that is accepted, by precision.
            What is not named is measured and not bounded.
        build_packages, run_packages: Import names that compiling and running need; quantisers
            name their own.
        build_tools: Import names of others that have a hand in compiling where they are installed.
        backend_module: Module with the standalone class `Backend`.
        device_program: What runs artefacts on devices without Python, reached with adb; None where
            the runtime has no such program.
        profiler: "module:function" that times layers, a function of a `ProfileRequest`; empty where
            the runtime does not tell.
        rewrites: Names of the exact rewrites of the ONNX graph (`edgeseg.lower.rewrites`) that make
            it faster here, by precision.
        runner_modules: Further standalone modules for the bundle's runner/, by file name.
        options_class: What may be chosen beside the precision.
    """

    name: ClassVar[str]
    devices: ClassVar[tuple[str, ...]] = ()
    title: ClassVar[str]
    artifact_format: ClassVar[str]
    quantized_from: ClassVar[tuple[str, ...]]
    plan_defaults: ClassVar[Mapping[str, str]] = {}
    compiled_precisions: ClassVar[tuple[str, ...]]
    quantized_precisions: ClassVar[tuple[str, ...]]
    build_packages: ClassVar[tuple[str, ...]]
    run_packages: ClassVar[tuple[str, ...]]
    build_tools: ClassVar[tuple[str, ...]] = ()
    backend_module: ClassVar[str]
    device_program: ClassVar[DeviceProgram | None] = None
    profiler: ClassVar[str] = ""
    tolerances: ClassVar[Mapping[str, float]] = {"fp32": FP32_TOLERANCE}
    rewrites: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    runner_modules: ClassVar[Mapping[str, str]] = {}
    options_class: ClassVar[type[RuntimeOptions]] = RuntimeOptions

    def __init__(self, options: RuntimeOptions | None = None) -> None:
        self.options = options if options is not None else self.options_class()

    @property
    def precisions(self) -> tuple[str, ...]:
        return self.compiled_precisions + self.quantized_precisions

    def require_precision(self, precision: str) -> None:
        """Refuse a precision that this runtime, or this machine, does not have.

        Raises:
            UnknownNameError: The runtime has no such precision.
            TargetError: The runtime has it, but not on this machine.
        """
        if precision not in self.precisions:
            raise UnknownNameError("precision", precision, self.precisions, f"runtime {self.name}")
        reason = self.refusal(precision)
        if reason is not None:
            raise TargetError(
                f"Runtime {self.name} cannot run {precision} here: {reason}. Choose another "
                "--precision."
            )

    def refusal(self, precision: str) -> str | None:
        """Why this machine cannot run `precision`; None when it can."""
        return None

    def compile(self, onnx_path: Path, folder: Path, precision: str) -> Artifact:
        """Turn an ONNX file into the runtime's own form in `folder`.

        Args:
            onnx_path: Float graph; with Q/DQ operators for a quantised precision of a runtime
                that takes "onnx".

        Raises:
            UnknownNameError: This precision is none, or needs a quantiser of artefacts.
            TargetError: The runtime refuses the graph; the message names the reason.
        """
        takes_qdq = ONNX_FORMAT in self.quantized_from
        possible = self.precisions if takes_qdq else self.compiled_precisions
        if precision not in possible:
            raise UnknownNameError("compiled precision", precision, possible)
        return self._artifact(folder, precision, self._write(onnx_path, folder, precision))

    @abc.abstractmethod
    def _write(self, onnx_path: Path, folder: Path, precision: str) -> Written:
        """Do the work of `compile`, which has checked the precision."""

    def _artifact(self, folder: Path, precision: str, written: Written) -> Artifact:
        return Artifact(
            runtime=self.name,
            precision=precision,
            format=self.artifact_format,
            folder=folder,
            files=written.files,
            settings=self.runtime_settings(precision),
            toolchain=self.toolchain(),
            note=written.note,
        )

    def compile_plain(self, onnx_path: Path, folder: Path) -> Artifact:
        """What the runtime's own tool makes of a float graph: the baseline of benchmarks.

        Nothing is rewritten and nothing mended, so that it may compute something else than the
        graph. Runtimes where `compile` does more than that tool override this.

        Raises:
            TargetError: The tool refuses the graph; the message names the reason.
        """
        return self.compile(onnx_path, folder, "fp32")

    def finish(self, artifact: Artifact) -> None:  # noqa: B027
        """Make last changes to an artefact that a quantiser has made, in its files."""

    @abc.abstractmethod
    def runtime_settings(self, precision: str) -> dict[str, Any]:
        """Settings that the backend applies when it loads an artefact of this precision."""

    def runtime_variants(self, precision: str) -> Mapping[str, Mapping[str, Any]]:
        """Other runtime settings that may be faster on this machine, by a name of few words.

        Each holds what differs from `runtime_settings`; an artefact is the same in all of them.
        """
        return {}

    def half_variants(
        self, precision: str, cpu_flags: Collection[str]
    ) -> Mapping[str, Mapping[str, Any]]:
        """Further variants that compute in FP16, on a CPU with such flags (`workers.cpu`).

        Elsewhere they compute as the ordinary one does, so that masks tell of them only there.
        """
        return {}

    def is_half(self, settings: Mapping[str, Any]) -> bool:
        """Whether settings of an artefact are those of one of `half_variants`."""
        return any(
            settings.get(name) == value
            for precision in self.precisions
            for variant in self.half_variants(precision, HALF_FLAGS).values()
            for name, value in variant.items()
        )

    def is_exact(self, artifact: Artifact) -> bool:
        """Whether an artefact passes its check only where each probability is within a tolerance of
        PyTorch's."""
        return artifact.precision in self.tolerances and not self.is_half(artifact.settings)

    def finish_variant(self, artifact: Artifact) -> None:  # noqa: B027
        """Bring what a variant's settings say into the files of an artefact."""

    def load(self, artifact: Artifact, threads: int = 1) -> Backend:
        """Load an artefact for inference on `threads` CPU threads.

        Raises:
            MissingBackendError: The runtime is not installed.
            TargetError: The runtime does not load the files.
        """
        for package in self.run_packages:
            require(provider_of(package), purpose=f"Running on {self.name}")
        backend_class = importlib.import_module(self.backend_module).Backend
        return self._open(backend_class, artifact, threads)

    def _open(
        self, backend_class: Callable[..., Backend], artifact: Artifact, threads: int
    ) -> Backend:
        folder, files = artifact.folder, artifact.files
        try:
            return backend_class(folder, files, dict(artifact.settings), threads)
        except Exception as error:
            reason = reason_of(error).rstrip(".")
            raise TargetError(
                f"Runtime {self.name} does not load {folder / files[0]}: {reason}. Build it again "
                "with the installed versions; whether a bundle is damaged, edgeseg verify tells."
            ) from error

    def profile(self, request: ProfileRequest) -> LayerProfile:
        """Time the layers of an artefact on this machine, on one thread.

        Raises:
            TargetError: The runtime does not tell the times of layers, or does not run here.
        """
        if not self.profiler:
            raise TargetError(
                f"Runtime {self.name} does not tell how long its layers take. Profile a bundle of "
                "another runtime, such as openvino, onnxruntime, litert or native."
            )
        for package in self.run_packages:
            require(provider_of(package), purpose=f"Profiling on {self.name}")
        module, _, function = self.profiler.partition(":")
        profile: LayerProfile = getattr(importlib.import_module(module), function)(request)
        return profile

    def fallback_runtime(self) -> str:
        """What computes artefacts here, where this runtime does not run; empty where it does."""
        return ""

    def load_for_check(self, artifact: Artifact) -> tuple[Backend, str]:
        """What computes an artefact on this machine for a check, and its name.

        Where this runtime does not run, that is its fallback runtime.
        """
        return self.load(artifact), self.fallback_runtime() or self.name

    def toolchain(self) -> dict[str, str]:
        """Versions that an artefact depends on."""
        versions = {name: installed_version(name) for name in self.build_packages}
        return {name: version for name, version in versions.items() if version is not None}

    def diagnose(self) -> Diagnosis:
        """Say what works on this machine, without raising."""
        packages = tuple(dict.fromkeys(self.build_packages + self.run_packages))
        runs: tuple[str, ...] = ()
        notes: tuple[str, ...] = ()
        try:
            fallback_runtime = self.fallback_runtime()
            if fallback_runtime:
                notes = (f"checks by {fallback_runtime}",)
            if all(is_installed(provider_of(name)) for name in self.run_packages):
                if not fallback_runtime:
                    runs = tuple(name for name in self.precisions if self.refusal(name) is None)
                notes += self.notes()
        except Exception as error:
            # A runtime that is there and does not load fails in its own ways.
            runs, notes = (), (str(error),)
        compiles = all(is_installed(name) for name in self.build_packages)
        return Diagnosis(
            runtime=self.name,
            builds=self.compiled_precisions if compiles else (),
            runs=runs,
            versions={name: installed_version(name) for name in packages},
            missing=tuple(
                (distribution_of(name), install_command(name))
                for name in packages
                if not is_installed(provider_of(name))
            ),
            notes=(f"{platform.system()} {platform.machine()}", *notes),
        )

    def notes(self) -> tuple[str, ...]:
        """Facts about this machine that matter to the runtime, asked where it can run."""
        return ()
