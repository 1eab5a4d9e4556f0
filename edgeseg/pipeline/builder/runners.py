"""How another process of this machine opens an artefact, or the FP32 reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgeseg.benchmarks.process import ProcessRunner
from edgeseg.lazy import NATIVE_MODULES, provider_of
from edgeseg.records import Artifact
from edgeseg.targets import Backend, find_runtime, open_backend


@dataclass(frozen=True)
class ArtifactRunner(ProcessRunner):
    """An artefact, run by its runtime, or by the fallback runtime where that does not run.

    Attributes:
        threads: CPU threads of the runtime.
    """

    artifact: Artifact
    threads: int

    def to_json(self) -> dict[str, Any]:
        artifact = replace(self.artifact, folder=self.artifact.folder.resolve())
        return {"artifact": artifact.to_json(), "threads": self.threads}

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> ArtifactRunner:
        return cls(Artifact.from_json(record["artifact"]), record["threads"])

    def modules(self) -> Sequence[str]:
        runtime = find_runtime(self.artifact.runtime)
        if runtime.fallback_runtime():
            return ()
        providers = [provider_of(package) for package in runtime.run_packages]
        natives = [NATIVE_MODULES.get(package, package) for package in providers]
        return (*natives, type(runtime).__module__, runtime.backend_module)

    def open(self) -> Backend:
        return open_backend(self.artifact, self.threads)


@dataclass(frozen=True)
class ReferenceRunner(ProcessRunner):
    """The FP32 reference, run by torch on as many threads as it takes.

    Attributes:
        model: As `ModelSpec.to_json` gives it.
        weights: Checkpoint.
        folder: Where else to look for the class of a user's model.
    """

    model: dict[str, Any]
    weights: Path
    folder: Path
    threads: int = 0

    def to_json(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "weights": str(self.weights.resolve()),
            "folder": str(self.folder.resolve()),
        }

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> ReferenceRunner:
        return cls(record["model"], Path(record["weights"]), Path(record["folder"]))

    def modules(self) -> Sequence[str]:
        return ("torch",)

    def open(self) -> Backend:
        # Not above: processes that measure an artefact do without the models.
        from edgeseg.reference.reference import open_torch

        return open_torch(self.model, str(self.weights), str(self.folder))
