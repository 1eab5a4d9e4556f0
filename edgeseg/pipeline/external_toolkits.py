"""Other toolkits beside the bundles, each in an environment of its own."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from edgeseg.benchmarks.participants import BenchSettings, Participant
from edgeseg.benchmarks.process import Worker, WorkerProcess
from edgeseg.benchmarks.toolkit_worker import TOOLKITS

from ..bundle.bundle import SOURCE_WEIGHTS, Bundle
from ..errors import BenchmarkError, UnknownNameError, UsageError
from ..lazy import module_file
from ..models import ModelSpec
from ..progress import Progress
from ..records import RunnerSpec, sha256_of_file
from ..storage import cache

PLACE = "peer"
TOOLKIT_WORKER = "edgeseg.benchmarks.toolkit_worker"  # runs in the peer's environment
PROGRAM = "program.pt2"
CONVERTED = "network"
STDERR_TAIL = 400
VERSIONS = """
from importlib.metadata import distributions
print(sorted((str(one.metadata["Name"]), one.version) for one in distributions()))
"""


def parse_toolkits(words: list[str]) -> dict[str, Path]:
    """Interpreters by peer, from words NAME=PYTHON.

    Raises:
        UsageError: A word is of another form, or there is no such interpreter.
        UnknownNameError: No such peer.
    """
    found = {}
    for word in words:
        name, separator, python = word.partition("=")
        if not separator or not python:
            raise UsageError(
                f"--peer {word} has no interpreter. Give it as {name}=PATH/bin/python."
            )
        if name not in TOOLKITS:
            raise UnknownNameError("peer", name, TOOLKITS)
        if not Path(python).is_file():
            raise UsageError(
                f"There is no interpreter at {python} for {name}. Make an environment with the "
                "peer and numpy in it, and name its bin/python."
            )
        found[name] = Path(python).absolute()
    return found


def toolkit_participants(
    bundle: Bundle,
    baseline: Participant,
    toolkits: Mapping[str, Path],
    settings: BenchSettings,
    progress: Progress,
) -> list[Participant]:
    """The float network of a bundle, as peers convert and run it; they are timed, not scored.

    Args:
        baseline: What their latency is compared with.
        peers: Interpreters by name.

    Raises:
        BenchmarkError: A peer does not convert the network.
        UsageError: The target does not run on this machine.
    """
    if not toolkits:
        return []
    if baseline.fallback_runtime:
        raise UsageError(
            f"--peer measures on this machine, where target {baseline.target} does not run. Leave "
            f"--peer out, or {bundle.folder}."
        )
    program = _export(bundle, progress)
    participants = []
    for name, python in toolkits.items():
        converted = _convert(name, python, program, bundle.manifest.model.name, progress)
        command = [str(python), str(module_file(TOOLKIT_WORKER)), "measure", name, str(converted)]
        participants.append(
            replace(
                baseline,
                key=f"{name} {baseline.reference_key}",
                name=f"{bundle.manifest.model.name} by {name}",
                target=name,
                precision="fp32",
                runner=RunnerSpec(
                    place=PLACE,
                    arguments={"command": [*command, str(settings.threads)]},
                    packages=(),
                    threads=settings.threads,
                ),
                artifact_bytes=converted.stat().st_size,
                has_masks=False,
            )
        )
    return participants


def open_worker(name: str, runner: RunnerSpec) -> Worker:
    """The process of a participant, a peer or not."""
    command = runner.arguments["command"] if runner.place == PLACE else None
    return WorkerProcess(name, runner, command)


def _export(bundle: Bundle, progress: Progress) -> Path:
    """The bundle's float network as a file of torch.export, cached."""
    weights = bundle.folder / SOURCE_WEIGHTS
    spec = ModelSpec.from_json(bundle.manifest.model.spec)
    record = {
        "weights": sha256_of_file(weights),
        "model": spec.to_json(),
        "source": spec.source_digest(),
    }

    def make(folder: Path) -> None:
        import torch

        with progress.stage("export for the peers"):
            network = spec.load_network(weights).eval()
            example = torch.zeros(bundle.inputs.shape)
            torch.export.save(torch.export.export(network, (example,)), folder / PROGRAM)

    folder, _ = cache.get_or_make("toolkits", record, make)
    return folder / PROGRAM


def _convert(name: str, python: Path, program: Path, model: str, progress: Progress) -> Path:
    versions = subprocess.run(
        [str(python), "-c", VERSIONS], capture_output=True, text=True, check=False
    ).stdout
    record = {"peer": name, "packages": versions, "program": sha256_of_file(program)}

    def make(folder: Path) -> None:
        with progress.stage(f"{name} converts {model}"):
            done = subprocess.run(
                [
                    str(python),
                    str(module_file(TOOLKIT_WORKER)),
                    "convert",
                    name,
                    str(program),
                    CONVERTED,
                ],
                cwd=folder,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
            )
        if done.returncode != 0:
            said = " ".join(done.stderr.split())[-STDERR_TAIL:]
            raise BenchmarkError(
                f"{name} does not convert {model}: {said}. Leave its --peer out, or mend its "
                "environment."
            )

    folder, _ = cache.get_or_make("toolkits", record, make)
    return folder / CONVERTED
