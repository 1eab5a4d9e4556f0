"""One benchmark: every participant in its own process, taking turns on the same core."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseg.contract import InputContract, OutputContract
from edgeseg.data.folder import FolderDataset
from edgeseg.errors import UsageError
from edgeseg.progress import SILENT, Progress
from edgeseg.records import RunnerSpec

from .accuracy import Accuracy, compare_with_reference, true_labels
from .cpu import allowed_cores
from .environment import describe_environment
from .latency import block_size, interleave, paired_speedup, round_count, summarize, warm_up
from .process import OpenWorker, Worker, WorkerProcess

MEGABYTE = 1e6


@dataclass(frozen=True)
class BenchSettings:
    """Attributes:
    threads: CPU threads of each artefact; its process is kept on so many cores.
    runs: Counted inferences of each artefact, at least.
    timing_images: How many different images are timed in turn.
    """

    threads: int = 1
    runs: int = 200
    timing_images: int = 4

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value < 1:
                raise UsageError(f"The number of {name} is {value}; it must be at least 1.")

    def require_cores(self) -> None:
        """Refuse more threads than this machine lets the process use."""
        if self.threads > len(allowed_cores()):
            raise UsageError(
                f"{self.threads} threads were asked for, but this process may use "
                f"{len(allowed_cores())} cores. Lower --threads."
            )


@dataclass(frozen=True)
class Participant:
    """Something to measure.

    Attributes:
        key: Unique in the run.
        name: For people.
        model, target, precision: For the row.
        runner: What its process opens.
        reference: What opens the float torch model, whose masks it is compared with.
        reference_key: Equal for equal float models, so that each answers once.
        inputs, outputs: Its contracts.
        artifact_bytes: Size on disk of what ships.
        baseline_key: Participant that its latency is compared with; itself for a baseline, empty
            where there is none.
        stand_in: What computes it here in place of its device; then it is scored, not timed.
            Empty where the artefact itself runs.
        device: Where it runs; empty is this machine.
        times_blocks: Its worker tells the mean latency of a block, not that of each inference.
        has_masks: Its worker gives label maps; without them there is no accuracy.
    """

    key: str
    name: str
    model: str
    target: str
    precision: str
    runner: RunnerSpec
    reference: RunnerSpec
    reference_key: str
    inputs: InputContract
    outputs: OutputContract
    artifact_bytes: int
    baseline_key: str
    stand_in: str = ""
    device: str = ""
    times_blocks: bool = False
    has_masks: bool = True

    @property
    def is_baseline(self) -> bool:
        return self.key == self.baseline_key


@dataclass(frozen=True)
class Report:
    """Attributes:
    environment: Machine, versions, date.
    data: Which images.
    reference: Accuracy of the float torch model, for each model.
    rows: One for each participant, baselines first.
    """

    environment: dict[str, Any]
    data: dict[str, Any]
    reference: list[dict[str, Any]]
    rows: list[dict[str, Any]]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass
class _Timing:
    load_ms: float
    first_ms: float
    peak_rss_bytes: int
    warm_up: dict[str, Any]
    size: int  # inferences in a block
    blocks: list[list[float]]


def measure(
    participants: Sequence[Participant],
    dataset: FolderDataset,
    settings: BenchSettings,
    progress: Progress = SILENT,
    *,
    open_worker: OpenWorker = WorkerProcess,
    environment: dict[str, Any] | None = None,
) -> Report:
    """Measure latency, memory and accuracy.

    Args:
        open_worker: Starts what runs a participant, here or on a device.
        environment: Of the device; None describes this machine.

    Raises:
        BenchmarkError: A process fails.
        DataError: An image or mask cannot be read.
    """
    environment = environment or describe_environment(settings.threads)
    with tempfile.TemporaryDirectory(prefix="edgeseg-bench-") as folder:
        timed = [participant for participant in participants if not participant.stand_in]
        place = Path(folder)
        timings = _time(timed, dataset, settings, place, progress, open_worker) if timed else {}
        accuracies, reference = _score(participants, dataset, place, progress, open_worker)
    names = {participant.key: participant.name for participant in participants}
    rows = []
    for participant in participants:
        timing = timings.get(participant.key)
        baseline = timings.get(participant.baseline_key)
        rows.append(
            _row(participant, settings)
            | _accuracy_of_row(accuracies[participant.key])
            | _timing_of_row(participant, timing)
            | _speedup_of_row(names.get(participant.baseline_key, ""), timing, baseline)
        )
    data = {
        "folder": dataset.root.name,
        "splits": list(dataset.splits),
        "images": len(dataset),
        "resolution": "network input",
    }
    return Report(environment, data, reference, rows)


def _time(
    participants: Sequence[Participant],
    dataset: FolderDataset,
    settings: BenchSettings,
    folder: Path,
    progress: Progress,
    open_worker: OpenWorker,
) -> dict[str, _Timing]:
    timings: dict[str, _Timing] = {}
    with contextlib.ExitStack() as stack:
        workers = []
        sizes = []
        with progress.stage("load and warm up", total=len(participants)) as stage:
            for participant in participants:
                # One that does not count: it brings the files into the system's cache, which
                # otherwise the first participant would pay for.
                with open_worker(participant.name, participant.runner) as worker:
                    worker.ask("load", runner=participant.runner.to_json())
            for number, participant in enumerate(participants):
                worker = stack.enter_context(open_worker(participant.name, participant.runner))
                workers.append(worker)
                images = _timing_images(participant, dataset, settings, folder / f"{number}.npy")
                runner = participant.runner.to_json()
                loaded = worker.ask("load", runner=runner, images=str(images))
                first = worker.ask("first")
                warm = warm_up(_time_block(worker))
                # Memory is read before other work; loading and running are what it is for.
                peak = worker.ask("memory")["peak_rss_bytes"] - loaded["bare_rss_bytes"]
                sizes.append(block_size(warm.median_ms, settings.runs))
                timings[participant.key] = _Timing(
                    loaded["load_ms"], first["first_ms"], peak, warm.to_json(), sizes[-1], []
                )
                stage.advance()
        with progress.stage("time", total=round_count(sizes, settings.runs)) as stage:
            blocks = interleave(
                [_time_block(worker) for worker in workers], sizes, settings.runs, stage.advance
            )
        for participant, own in zip(participants, blocks, strict=True):
            timings[participant.key].blocks = own
    return timings


def _time_block(worker: Worker) -> Any:
    return lambda count: worker.ask("time", count=count)["latencies_ms"]


def _timing_images(
    participant: Participant, dataset: FolderDataset, settings: BenchSettings, path: Path
) -> Path:
    pairs = dataset.pairs[: settings.timing_images]
    np.save(path, np.stack([participant.inputs.prepare(pair.read_image()) for pair in pairs]))
    return path


def _score(
    participants: Sequence[Participant],
    dataset: FolderDataset,
    folder: Path,
    progress: Progress,
    open_worker: OpenWorker,
) -> tuple[dict[str, Accuracy | None], list[dict[str, Any]]]:
    """Accuracy of each participant, and of each float model that they are compared with."""
    accuracies: dict[str, Accuracy | None] = {}
    reference_rows = []
    names = [pair.name for pair in dataset]
    references: dict[str, tuple[NDArray[np.uint8], NDArray[np.uint8]]] = {}
    for number, participant in enumerate(participants):
        key = participant.reference_key
        outputs = participant.outputs
        if key not in references:
            title = f"masks of {participant.model} in torch"
            path = folder / f"reference{number}.npy"
            float_labels = _label(
                title, participant.reference, participant, dataset, path, progress, WorkerProcess
            )
            truth = true_labels(dataset, participant.inputs, outputs)
            references[key] = float_labels, truth
            own = compare_with_reference(float_labels, float_labels, truth, names, outputs)
            reference_rows.append(
                {
                    "model": participant.model,
                    "target": "torch",
                    "precision": "fp32",
                    "accuracy": own.accuracy,
                    "accuracy_ci95": own.accuracy_ci95,
                }
            )
        if not participant.has_masks:
            accuracies[participant.key] = None
            continue
        float_labels, truth = references[key]
        title = f"masks of {participant.name}"
        labels = _label(
            title,
            participant.runner,
            participant,
            dataset,
            folder / f"labels{number}.npy",
            progress,
            open_worker,
        )
        accuracies[participant.key] = compare_with_reference(
            labels, float_labels, truth, names, outputs
        )
    return accuracies, reference_rows


def _label(
    title: str,
    runner: RunnerSpec,
    participant: Participant,
    dataset: FolderDataset,
    path: Path,
    progress: Progress,
    open_worker: OpenWorker,
) -> NDArray[np.uint8]:
    with (
        progress.stage(title, total=len(dataset)) as stage,
        open_worker(title, runner) as worker,
    ):
        worker.ask("load", runner=runner.to_json())
        worker.ask(
            "label",
            on_step=stage.advance,
            images=[str(pair.image_path.resolve()) for pair in dataset],
            inputs=participant.inputs.to_json(),
            outputs=participant.outputs.to_json(),
            result=str(path),
        )
    labels: NDArray[np.uint8] = np.load(path, mmap_mode="r")
    return labels


def _row(participant: Participant, settings: BenchSettings) -> dict[str, Any]:
    return {
        "key": participant.key,
        "name": participant.name,
        "model": participant.model,
        "target": participant.target,
        "precision": participant.precision,
        "is_baseline": participant.is_baseline,
        "threads": settings.threads,
        "batch": 1,
        "input_size": [participant.inputs.height, participant.inputs.width],
        "artifact_bytes": participant.artifact_bytes,
        "stand_in": participant.stand_in,
        "device": participant.device,
    }


def _accuracy_of_row(accuracy: Accuracy | None) -> dict[str, Any]:
    """Scores; None for each where the device gave no masks."""
    if accuracy is None:
        return dict.fromkeys(field.name for field in fields(Accuracy))
    return {field.name: getattr(accuracy, field.name) for field in fields(Accuracy)}


def _timing_of_row(participant: Participant, timing: _Timing | None) -> dict[str, Any]:
    """What was timed; None for each where nothing was, as where the device is elsewhere."""
    if timing is None:
        names = (
            "runs", "warm_up", "latency_ms", "fps", "peak_rss_mb", "load_ms", "first_ms",
        )  # fmt: skip
        return dict.fromkeys(names)
    latency: dict[str, Any] = summarize(timing.blocks).to_json()
    runs = sum(len(block) for block in timing.blocks)
    fps = 1e3 / latency["mean"]
    if participant.times_blocks:
        # Means of blocks hide how far single inferences spread.
        latency.update(p90=None, p99=None)
        runs *= timing.size
    return {
        "runs": runs,
        "warm_up": timing.warm_up,
        "latency_ms": latency,
        "fps": fps,
        "peak_rss_mb": timing.peak_rss_bytes / MEGABYTE,
        "load_ms": timing.load_ms,
        "first_ms": timing.first_ms,
    }


def _speedup_of_row(
    baseline_name: str, timing: _Timing | None, baseline: _Timing | None
) -> dict[str, Any]:
    """The ratio to the baseline; None for each where one of the two was not timed."""
    if timing is None or baseline is None:
        return dict.fromkeys(("baseline", "speedup", "speedup_ci95"))
    speedup, interval = paired_speedup(timing.blocks, baseline.blocks)
    return {
        "baseline": {
            "name": baseline_name,
            "latency_ms_p50": summarize(baseline.blocks).p50,
        },
        "speedup": speedup,
        "speedup_ci95": list(interval),
    }
