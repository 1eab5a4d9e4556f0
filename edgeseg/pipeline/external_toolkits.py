"""External toolkits that run a bundle's network too, each in an environment of its own."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from edgeseg.benchmarks.participants import Participant
from edgeseg.benchmarks.process import Runner, WorkerProcess
from edgeseg.benchmarks.settings import BenchSettings
from edgeseg.benchmarks.workers import toolkit_worker
from edgeseg.benchmarks.workers.toolkit_worker import TOOLKITS

from ..bundle.bundle import SOURCE_WEIGHTS, Bundle
from ..errors import BenchmarkError, UnknownNameError, UsageError
from ..lazy import module_file
from ..models import ModelSpec
from ..progress import Progress
from ..records import sha256_of_file
from ..storage import cache

WORKER = module_file(toolkit_worker.__name__)  # runs in the toolkit's environment
PROGRAM = "program.pt2"
CONVERTED = "network"
STDERR_TAIL = 400
VERSIONS = """
from importlib.metadata import distributions
print(sorted((str(item.metadata["Name"]), item.version) for item in distributions()))
"""


@dataclass(frozen=True)
class ToolkitRunner(Runner):
    """The network as an external toolkit runs it. It is timed, not scored.

    Attributes:
        toolkit: Its name.
        python: Interpreter of its environment.
        network: What it made of the network.
        threads: CPU threads.
    """

    toolkit: str
    python: Path
    network: Path
    threads: int

    has_masks = False

    def open_worker(self, name: str) -> WorkerProcess:
        words = (self.python, WORKER, "measure", self.toolkit, self.network, self.threads)
        return WorkerProcess(name, [str(word) for word in words], self.threads)


def parse_toolkits(words: list[str]) -> dict[str, Path]:
    """Interpreters by toolkit, from words NAME=PYTHON.

    Raises:
        UsageError: A word is of another form, or there is no such interpreter.
        UnknownNameError: No such toolkit.
    """
    interpreters = {}
    for word in words:
        name, separator, python = word.partition("=")
        if not separator or not python:
            raise UsageError(
                f"--toolkit {word} has no interpreter. Give it as {name}=PATH/bin/python."
            )
        if name not in TOOLKITS:
            raise UnknownNameError("toolkit", name, TOOLKITS)
        if not Path(python).is_file():
            raise UsageError(
                f"There is no interpreter at {python} for {name}. Make an environment with the "
                "toolkit and numpy in it, and name its bin/python."
            )
        interpreters[name] = Path(python).absolute()
    return interpreters


def toolkit_participants(
    bundle: Bundle,
    baseline: Participant,
    toolkits: Mapping[str, Path],
    settings: BenchSettings,
    progress: Progress,
) -> list[Participant]:
    """The FP32 network of a bundle, as each toolkit converts and runs it.

    Args:
        baseline: What their latency is compared with.
        toolkits: Interpreters by name.

    Raises:
        BenchmarkError: A toolkit does not convert the network.
        UsageError: The bundle's runtime does not run on this machine.
    """
    if not toolkits:
        return []
    if baseline.fallback_runtime:
        raise UsageError(
            f"--toolkit measures on this machine, where target {baseline.target} does not run. "
            f"Leave out --toolkit or {bundle.folder}."
        )
    program = _export(bundle, progress)
    participants = []
    for name, python in toolkits.items():
        converted = _convert(name, python, program, bundle.manifest.model.name, progress)
        participants.append(
            replace(
                baseline,
                key=f"{name} {baseline.reference_key}",
                name=f"{bundle.manifest.model.name} by {name}",
                target=name,
                precision="fp32",
                runner=ToolkitRunner(name, python, converted, settings.threads),
                artifact_bytes=converted.stat().st_size,
            )
        )
    return participants


def _export(bundle: Bundle, progress: Progress) -> Path:
    """The bundle's FP32 network as a file of torch.export, cached."""
    weights = bundle.folder / SOURCE_WEIGHTS
    spec = ModelSpec.from_json(bundle.manifest.model.spec)
    record = {
        "weights": sha256_of_file(weights),
        "model": spec.to_json(),
        "source": spec.source_digest(),
    }

    def make(folder: Path) -> None:
        import torch

        with progress.stage("export for external toolkits"):
            network = spec.load_network(weights).eval()
            example = torch.zeros(bundle.inputs.shape)
            torch.export.save(torch.export.export(network, (example,)), folder / PROGRAM)

    folder, _ = cache.get_or_make("toolkits", record, make)
    return folder / PROGRAM


def _convert(name: str, python: Path, program: Path, model: str, progress: Progress) -> Path:
    versions = subprocess.run(
        [str(python), "-c", VERSIONS], capture_output=True, text=True, check=False
    ).stdout
    record = {"toolkit": name, "packages": versions, "program": sha256_of_file(program)}

    def make(folder: Path) -> None:
        with progress.stage(f"{name} converts {model}"):
            done = subprocess.run(
                [str(python), str(WORKER), "convert", name, str(program), CONVERTED],
                cwd=folder,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
            )
        if done.returncode != 0:
            stderr = " ".join(done.stderr.split())[-STDERR_TAIL:]
            raise BenchmarkError(
                f"{name} does not convert {model}: {stderr}. Leave its --toolkit out, or repair "
                "its environment."
            )

    folder, _ = cache.get_or_make("toolkits", record, make)
    return folder / CONVERTED
