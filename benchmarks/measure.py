"""One benchmark: every participant in its own process, taking turns on the same core."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseg.data.folder import FolderDataset
from edgeseg.progress import SILENT, Progress
from edgeseg.records import RunnerSpec

from .accuracy import Accuracy, Reference, true_labels
from .environment import describe_environment
from .latency import TimeBlock, block_size, interleave, round_count, warm_up
from .participants import BenchSettings, Participant
from .process import OpenWorker, Worker, WorkerProcess
from .report import Report, Timing, describe_row


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
        timed = [participant for participant in participants if not participant.fallback_runtime]
        place = Path(folder)
        timings = _time(timed, dataset, settings, place, progress, open_worker) if timed else {}
        accuracies, reference = _score(participants, dataset, place, progress, open_worker)
    names = {participant.key: participant.name for participant in participants}
    rows = [
        describe_row(
            participant,
            settings,
            accuracies[participant.key],
            timings.get(participant.key),
            names.get(participant.baseline_key, ""),
            timings.get(participant.baseline_key),
        )
        for participant in participants
    ]
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
) -> dict[str, Timing]:
    timings: dict[str, Timing] = {}
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
                timings[participant.key] = Timing(
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


def _time_block(worker: Worker) -> TimeBlock:
    def time_block(count: int) -> Sequence[float]:
        latencies: list[float] = worker.ask("time", count=count)["latencies_ms"]
        return latencies

    return time_block


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
    references: dict[str, Reference] = {}
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
            references[key] = Reference(float_labels, truth, names, outputs)
            own = references[key].compare(float_labels)
            reference_rows.append(
                {
                    "reference_key": key,
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
        accuracies[participant.key] = references[key].compare(labels)
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
