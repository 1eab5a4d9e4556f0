"""External toolkits that run a bundle's network too, each in an environment of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from edgeseg.benchmarks.participants import Participant
from edgeseg.benchmarks.process import Runner, WorkerProcess
from edgeseg.benchmarks.report import Failure
from edgeseg.benchmarks.settings import BenchSettings
from edgeseg.benchmarks.workers import toolkit_worker
from edgeseg.benchmarks.workers.messages import Done, Label, LabelPrepared
from edgeseg.benchmarks.workers.protocol import do_nothing
from edgeseg.benchmarks.workers.toolkits import ONNX, TOOLKITS, Toolkit
from edgeseg.storage.temporary import temporary_folder

from ... import contract
from ...bundle.bundle import SOURCE_ONNX, SOURCE_WEIGHTS, Bundle
from ...contract import InputContract
from ...data.images import read_image
from ...errors import BenchmarkError, UnknownNameError, UsageError, reason_of
from ...lazy import module_file
from ...models import ModelSpec
from ...progress import Progress
from ...records import sha256_of_file
from ...storage import cache
from ..builder.bundle_reference import may_import

WORKER = module_file(toolkit_worker.__name__)  # runs in the toolkit's environment
CONTRACT = module_file(contract.__name__)  # is read there
PROGRAM = "program.pt2"
CONVERTED = "network"
STDERR_TAIL = 400
# Arguments are import names. The present folder is left out: what lies there is no package.
PROBE = """
import json, sys
sys.path[:] = [place for place in sys.path if place]
from importlib.metadata import distributions
from importlib.util import find_spec
versions = {str(item.metadata["Name"]): item.version for item in distributions()}
missing = [name for name in sys.argv[1:] if find_spec(name) is None]
print(json.dumps([versions, missing]))
"""
ADVICE = "Leave its --toolkit out, or repair its environment"


class ToolkitProcess(WorkerProcess):
    """A worker that images are read for: nothing in a toolkit's environment reads them."""

    advice = ADVICE

    def label(self, request: Label, on_step: Callable[[], None] = do_nothing) -> Done:
        assert request.inputs is not None
        assert request.outputs is not None
        inputs = InputContract.from_json(dict(request.inputs))
        labels = []
        with temporary_folder("toolkit") as name:
            prepared, label_map = Path(name) / "image.npy", Path(name) / "labels.npy"
            for path in request.images:
                image = read_image(Path(path), inputs)
                np.save(prepared, inputs.prepare(image)[np.newaxis])
                self.label_prepared(
                    LabelPrepared(str(prepared), 1, request.outputs, str(label_map))
                )
                labels.append(np.load(label_map)[0])
                on_step()
        np.save(request.result, np.stack(labels))
        return Done()


@dataclass(frozen=True)
class ToolkitRunner(Runner):
    """The network as an external toolkit runs it.

    Attributes:
        toolkit: Its name.
        python: Interpreter of its environment.
        network: Folder with what it made of the network.
        threads: CPU threads.
    """

    toolkit: str
    python: Path
    network: Path
    threads: int

    def open_worker(self, name: str) -> ToolkitProcess:
        words = ("measure", self.toolkit, self.network, self.threads, CONTRACT)
        command = [str(word) for word in (self.python, WORKER, *words)]
        return ToolkitProcess(name, command, self.threads)


@dataclass(frozen=True)
class ToolkitEnvironment:
    """An environment in which a toolkit is installed.

    Attributes:
        name: Of the toolkit.
        python: The interpreter.
        versions: Of all distributions in it, by name.
    """

    name: str
    python: Path
    versions: Mapping[str, str]

    @property
    def toolkit(self) -> Toolkit:
        return TOOLKITS[self.name]

    def describe(self) -> str:
        """What the toolkit does to a network, and the versions of what does it."""
        versions = {_normal(name): version for name, version in self.versions.items()}
        packages = [name for name in self.toolkit.packages.values() if name != "numpy"]
        listed = [
            f"{name} {versions[_normal(name)]}" for name in packages if _normal(name) in versions
        ]
        return f"{self.toolkit.how} ({', '.join(listed)})" if listed else self.toolkit.how


def _normal(name: str) -> str:
    return name.lower().replace("_", "-")


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


def open_environments(toolkits: Mapping[str, Path]) -> list[ToolkitEnvironment]:
    """Look whether each interpreter has what its toolkit needs.

    Args:
        toolkits: Interpreters by name.

    Raises:
        UsageError: An interpreter does not run, or lacks a package.
    """
    environments = []
    for name, python in toolkits.items():
        packages = TOOLKITS[name].packages
        command = [str(python), "-c", PROBE, *packages]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise UsageError(
                f"The interpreter {python} of {name} does not run: {_tail(done.stderr)}. Name the "
                "bin/python of an environment with the toolkit in it."
            )
        versions, missing = json.loads(done.stdout)
        if missing:
            raise UsageError(
                f"The interpreter {python} cannot run {name}, because it lacks "
                f"{', '.join(packages[package] for package in missing)}. Install it there with: "
                f"{python} -m pip install {' '.join(packages.values())}"
            )
        environments.append(ToolkitEnvironment(name, python, versions))
    return environments


def require_timed(bundle: Bundle, baseline: Participant) -> None:
    """Refuse to compare toolkits with what is not timed.

    Raises:
        UsageError: The bundle's runtime does not run on this machine.
    """
    if baseline.fallback_runtime:
        raise UsageError(
            f"--toolkit measures on this machine, where target {baseline.target} does not run. "
            f"Leave out --toolkit or {bundle.folder}."
        )


def toolkit_participants(
    bundle: Bundle,
    baseline: Participant,
    environments: Sequence[ToolkitEnvironment],
    settings: BenchSettings,
    progress: Progress,
    named: str | None = None,
) -> tuple[list[Participant], list[Failure]]:
    """The FP32 network of a bundle, as each toolkit converts and runs it.

    Args:
        baseline: What their latency is compared with.
        named: Class that the user named; see `reference_runner`.

    Returns:
        The participants, and the toolkits that do not convert the network.
    """
    model = bundle.manifest.model.name
    participants = []
    failures = []
    for environment in environments:
        name = environment.name
        participant = replace(
            baseline,
            key=f"{name} {baseline.reference_key}",
            name=f"{model} by {name}",
            target=name,
            precision="fp32",
            toolkit=environment.describe(),
        )
        try:
            network = _convert(environment, bundle, progress, named)
        except BenchmarkError as error:
            failures.append(Failure.of(participant, error))
            continue
        participants.append(
            replace(
                participant,
                runner=ToolkitRunner(name, environment.python, network, settings.threads),
                artifact_bytes=sum(
                    path.stat().st_size for path in network.rglob("*") if path.is_file()
                ),
            )
        )
    return participants, failures


def _export(bundle: Bundle, progress: Progress, named: str | None) -> Path:
    """The bundle's FP32 network as a file of torch.export, cached.

    Raises:
        BenchmarkError: torch.export does not take it, or its class may not be imported.
    """
    place = bundle.manifest.model.spec.get("place")
    if not may_import(bundle, named):
        raise BenchmarkError(
            f"It starts from the class {place}, which {bundle.folder} names and nobody else. If "
            f"that code is yours, run again with --model {place}."
        )
    if place == named and str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    weights = bundle.folder / SOURCE_WEIGHTS
    spec = ModelSpec.from_json(bundle.manifest.model.spec)
    record = {
        "weights": sha256_of_file(weights),
        "model": spec.to_json(),
        "source": spec.code_digest(),
    }

    def make(folder: Path) -> None:
        import torch

        with progress.stage("export for external toolkits"):
            network = spec.load_network(weights).eval()
            example = torch.zeros(bundle.inputs.shape)
            try:
                program = torch.export.export(network, (example,))
            except Exception as error:
                raise BenchmarkError(
                    f"torch.export does not take {bundle.manifest.model.name}: "
                    f"{reason_of(error)}. Leave out the toolkits that start from it."
                ) from error
            torch.export.save(program, folder / PROGRAM)

    folder, _ = cache.get_or_make("toolkits", record, make)
    return folder / PROGRAM


def _convert(
    environment: ToolkitEnvironment, bundle: Bundle, progress: Progress, named: str | None
) -> Path:
    """Folder with what a toolkit makes of the network, cached.

    Raises:
        BenchmarkError: It does not convert the network.
    """
    name, model = environment.name, bundle.manifest.model.name
    takes_onnx = environment.toolkit.source == ONNX
    source = bundle.folder / SOURCE_ONNX if takes_onnx else _export(bundle, progress, named)
    record = {
        "toolkit": name,
        "packages": dict(environment.versions),
        "source": sha256_of_file(source),
    }

    def make(folder: Path) -> None:
        network = folder / CONVERTED
        network.mkdir()
        words = (environment.python, WORKER, "convert", name, source.resolve(), network.resolve())
        with progress.stage(f"{name} converts {model}"):
            done = subprocess.run(
                [str(word) for word in words],
                cwd=folder,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
            )
        if done.returncode != 0:
            reason = _tail(done.stderr) or f"exit code {done.returncode}"
            raise BenchmarkError(f"{name} does not convert {model}: {reason}. {ADVICE}.")

    folder, _ = cache.get_or_make("toolkits", record, make)
    return folder / CONVERTED


def _tail(text: str) -> str:
    return " ".join(text.split())[-STDERR_TAIL:].rstrip(".")
