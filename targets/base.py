"""What every target offers."""

from __future__ import annotations

import abc
import importlib
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from edgeseg.errors import TargetError, UnknownNameError
from edgeseg.lazy import (
    distribution_of,
    install_command,
    installed_version,
    is_installed,
    require,
)
from edgeseg.records import Artifact, Diagnosis


class Backend(Protocol):
    """A loaded artefact. The classes live in `runners/`, whose files bundles carry along."""

    def run(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities (1, C, H, W) of a prepared image (1, 3, H, W)."""


class Target(abc.ABC):
    """A runtime on a kind of device.

    Subclasses state the class variables and implement the abstract methods.

    Attributes:
        name: As registered.
        title: One line for people.
        artifact_format: Of what `compile` writes; quantisers are chosen by it.
        compiled_precisions: Those that `compile` makes from a float graph.
        quantized_precisions: Those that a quantiser makes from the FP32 artefact.
        build_packages, run_packages: Import names that compiling and running need; quantisers
            name their own.
        backend_module: Module with the standalone class `Backend`.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    artifact_format: ClassVar[str]
    compiled_precisions: ClassVar[tuple[str, ...]]
    quantized_precisions: ClassVar[tuple[str, ...]]
    build_packages: ClassVar[tuple[str, ...]]
    run_packages: ClassVar[tuple[str, ...]]
    backend_module: ClassVar[str]

    @property
    def precisions(self) -> tuple[str, ...]:
        return self.compiled_precisions + self.quantized_precisions

    def require_precision(self, precision: str) -> None:
        """Refuse a precision that this target, or this machine, does not have.

        Raises:
            UnknownNameError: The target has no such precision.
            TargetError: The target has it, but not on this machine.
        """
        if precision not in self.precisions:
            raise UnknownNameError(f"precision of target {self.name}", precision, self.precisions)
        reason = self.refusal(precision)
        if reason is not None:
            raise TargetError(
                f"Target {self.name} cannot run {precision} here: {reason}. Choose another "
                "--precision."
            )

    def refusal(self, precision: str) -> str | None:
        """Why this machine cannot run `precision`; None when it can."""
        return None

    @abc.abstractmethod
    def compile(self, onnx_path: Path, folder: Path, precision: str) -> Artifact:
        """Turn a float ONNX file into the target's own form in `folder`.

        Raises:
            TargetError: The runtime refuses the graph; the message names the reason.
        """

    @abc.abstractmethod
    def runtime_settings(self, precision: str) -> dict[str, Any]:
        """Settings that the backend applies when it loads an artefact of this precision."""

    def load(
        self, folder: Path, files: tuple[str, ...], runtime: Mapping[str, Any], threads: int
    ) -> Backend:
        """Load an artefact for inference on `threads` CPU threads.

        Raises:
            MissingBackendError: The runtime is not installed.
            TargetError: The runtime does not load the files.
        """
        for package in self.run_packages:
            require(package, purpose=f"Running on target {self.name}")
        backend_class = importlib.import_module(self.backend_module).Backend
        try:
            backend: Backend = backend_class(folder, files, dict(runtime), threads)
        except Exception as error:
            reason = " ".join(str(error).split())[:400]
            raise TargetError(
                f"Target {self.name} does not load {folder / files[0]}: {reason}. Check it with "
                "edgeseg verify, or build it again with the installed versions."
            ) from error
        return backend

    def toolchain(self) -> dict[str, str]:
        """Versions that an artefact depends on."""
        versions = {name: installed_version(name) for name in self.build_packages}
        return {name: version for name, version in versions.items() if version is not None}

    def diagnose(self) -> Diagnosis:
        """Say what works on this machine, without raising."""
        packages = tuple(dict.fromkeys(self.build_packages + self.run_packages))
        runs: tuple[str, ...] = ()
        notes: tuple[str, ...] = ()
        if all(is_installed(name) for name in self.run_packages):
            try:
                runs = tuple(name for name in self.precisions if self.refusal(name) is None)
                notes = self.notes()
            except Exception as error:
                # A runtime that is there and does not load fails in its own ways.
                runs, notes = (), (str(error),)
        compiles = all(is_installed(name) for name in self.build_packages)
        return Diagnosis(
            target=self.name,
            builds=self.compiled_precisions if compiles else (),
            runs=runs,
            versions={name: installed_version(name) for name in packages},
            missing=tuple(
                (distribution_of(name), install_command(name))
                for name in packages
                if not is_installed(name)
            ),
            notes=(f"{platform.system()} {platform.machine()}", *notes),
        )

    def notes(self) -> tuple[str, ...]:
        """Facts about this machine that matter to the target, asked where it can run."""
        return ()
