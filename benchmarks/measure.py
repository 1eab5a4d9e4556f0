"""One benchmark: every participant in its own process, taking turns on the same core."""

from __future__ import annotations

import base64
import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import chain
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseg.contract import IGNORED
from edgeseg.data.clusters import clusters_of
from edgeseg.data.digest import images_digest
from edgeseg.data.folder import FolderDataset
from edgeseg.data.gallery import compare_masks, comparison_strip
from edgeseg.data.groups import read_groups
from edgeseg.errors import BenchmarkError
from edgeseg.progress import SILENT, Progress
from edgeseg.storage.temporary import temporary_folder

from .accuracy import Accuracy, Reference, true_labels
from .energy import EnergyMeter
from .environment import describe_environment
from .latency import TimeBlock, block_size, interleave, round_count, warm_up
from .participants import Participant
from .process import Runner
from .report import PROTOCOL_VERSION, Failure, Report, Timing, describe_row
from .settings import BenchSettings
from .sustained import WINDOW_S, summarize_run
from .workers.messages import Label, Sustain, TimePhases
from .workers.protocol import Worker

PHASE_MS, MOST_PHASE_REPEATS = 2000.0, 5
Failures = dict[str, Failure]  # by the key of the participant


def measure(
    participants: Sequence[Participant],
    dataset: FolderDataset,
    settings: BenchSettings,
    progress: Progress = SILENT,
    *,
    environment: dict[str, Any] | None = None,
) -> Report:
    """Measure latency, memory and accuracy.

    An external toolkit that fails is left out and told of in the report.

    Args:
        environment: Of the device; None describes this machine.

    Raises:
        BenchmarkError: A process fails that is not a toolkit's.
        DataError: An image or mask cannot be read.
    """
    environment = environment or describe_environment(settings.threads)
    with temporary_folder("bench") as name:
        timed = [participant for participant in participants if not participant.fallback_runtime]
        folder = Path(name)
        failures: Failures = {}
        timings = (
            time_participants(timed, dataset, settings, folder, progress, failures) if timed else {}
        )
        working = [each for each in participants if each.fallback_runtime or each.key in timings]
        accuracies, reference = _score(working, dataset, folder, progress, failures)
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
        if participant.key in accuracies
    ]
    clusters = clusters_of(dataset)
    data = {
        "folder": dataset.root.name,
        "splits": list(dataset.splits),
        "images": len(dataset),
        "resolution": "network input",
        "names": [pair.name for pair in dataset],
        "sha256": images_digest(dataset),
        "groups": read_groups(dataset),
        **({} if clusters is None else {"clusters": clusters.to_json()}),
    }
    protocol = {"version": PROTOCOL_VERSION, **asdict(settings)}
    return Report(environment, data, reference, rows, list(failures.values()), protocol)


@contextlib.contextmanager
def _leaving_out(participant: Participant, failures: Failures) -> Iterator[None]:
    """A block that ends early where an external toolkit fails, which is then in `failures`."""
    try:
        yield
    except BenchmarkError as error:
        if not participant.toolkit:
            raise
        failures[participant.key] = Failure.of(participant, error)


def time_participants(
    participants: Sequence[Participant],
    dataset: FolderDataset,
    settings: BenchSettings,
    folder: Path,
    progress: Progress,
    failures: Failures,
) -> dict[str, Timing]:
    """Timings by key; toolkits that fail are added to `failures` instead.

    Args:
        folder: For files that the workers read.
    """
    timings: dict[str, Timing] = {}
    with contextlib.ExitStack() as stack:
        time_blocks = []
        sizes = []
        workers: dict[str, Worker] = {}
        with progress.stage("load and warm up", total=len(participants)) as stage:
            working = _rehearse(participants, dataset, settings, folder, failures)
            for number, participant in enumerate(working):
                images = _timing_images(participant, dataset, settings, folder / f"{number}.npy")
                with _leaving_out(participant, failures):
                    worker = stack.enter_context(participant.runner.open_worker(participant.name))
                    loaded = worker.load(str(images))
                    first = worker.first()
                    warm = warm_up(_time_block(worker))
                    # Memory is read before other work; loading and running are what it is for.
                    peak = worker.memory().peak_rss_bytes - loaded.bare_rss_bytes
                    size = block_size(warm.median_ms, settings.runs)
                    timings[participant.key] = Timing(
                        loaded.load_ms, first.first_ms, peak, warm.to_json(), size, []
                    )
                    sizes.append(size)
                    workers[participant.key] = worker
                    waits = timings[participant.key].waits
                    time_block = _time_block(worker, waits)
                    time_blocks.append(_lasting(time_block, participant, failures))
                stage.advance()
        with progress.stage("time", total=round_count(sizes, settings.runs)) as stage:
            blocks = interleave(time_blocks, sizes, settings.runs, stage.advance)
        for timing, own in zip(timings.values(), blocks, strict=True):
            timing.blocks = own
        _time_phases(participants, workers, timings, dataset, settings, progress)
        if settings.sustain_s:
            _sustain(participants, workers, timings, settings, progress)
    return {key: timing for key, timing in timings.items() if key not in failures}


def _time_phases(
    participants: Sequence[Participant],
    workers: Mapping[str, Worker],
    timings: Mapping[str, Timing],
    dataset: FolderDataset,
    settings: BenchSettings,
    progress: Progress,
) -> None:
    """Time a prediction part by part, of each artefact that ships and that prepares pictures."""
    chosen = [each for each in participants if each.key in workers and has_phases(each)]
    paths = [str(pair.image_path.resolve()) for pair in dataset.pairs[: settings.timing_images]]
    with progress.stage("time its parts", total=len(chosen)) as stage:
        for participant in chosen:
            timing = timings[participant.key]
            request = TimePhases(
                paths,
                phase_repeats(median(chain.from_iterable(timing.blocks)), len(paths)),
                participant.inputs.to_json(),
                participant.outputs.to_json(),
            )
            timing.phases = workers[participant.key].time_phases(request)
            stage.advance()


def has_phases(participant: Participant) -> bool:
    """Whether it ships, and pictures are prepared where it runs."""
    ships = not (participant.is_baseline or participant.toolkit or participant.threads)
    return ships and participant.runner.times_phases


def phase_repeats(median_ms: float, images: int) -> int:
    """Predictions of each image, about two seconds of all, at most five."""
    return min(max(int(PHASE_MS / (median_ms * images)), 1), MOST_PHASE_REPEATS)


def _sustain(
    participants: Sequence[Participant],
    workers: Mapping[str, Worker],
    timings: Mapping[str, Timing],
    settings: BenchSettings,
    progress: Progress,
) -> None:
    """Let each artefact that ships run alone for a while; the others wait and are still loaded."""
    request = Sustain(settings.sustain_s, WINDOW_S, settings.threads)
    for participant in participants:
        if participant.key not in workers or participant.threads:
            continue
        if participant.is_baseline or participant.toolkit:
            continue
        meter = EnergyMeter()
        windows = int(settings.sustain_s / WINDOW_S)
        with (
            progress.stage(f"sustain {participant.name}", total=windows) as stage,
            meter.measuring(),
        ):
            run = workers[participant.key].sustain(request, stage.advance)
        summary = summarize_run(run, settings.sustain_s, meter.uses)
        timings[participant.key].sustained = summary


def _rehearse(
    participants: Sequence[Participant],
    dataset: FolderDataset,
    settings: BenchSettings,
    folder: Path,
    failures: Failures,
) -> list[Participant]:
    """Load each once, which brings its files into the system's cache: the first would pay for that.

    Toolkits run an image too. Those that fail go to `failures`; returned are the others.
    """
    for participant in participants:
        with (
            _leaving_out(participant, failures),
            participant.runner.open_worker(participant.name) as worker,
        ):
            if participant.toolkit:
                path = folder / "rehearsal.npy"
                worker.load(str(_timing_images(participant, dataset, settings, path)))
                worker.first()
            else:
                worker.load()
    return [participant for participant in participants if participant.key not in failures]


def _time_block(worker: Worker, waits: list[float] | None = None) -> TimeBlock:
    """What times a block.

    Args:
        waits: Gets the time that the process waited for its core, over that of the block.
    """

    def time_block(count: int) -> Sequence[float]:
        timed = worker.time(count)
        if waits is not None and timed.waited_ms is not None:
            waits.append(timed.waited_ms / max(sum(timed.latencies_ms), 1e-9))
        return timed.latencies_ms

    return time_block


def _lasting(time_block: TimeBlock, participant: Participant, failures: Failures) -> TimeBlock:
    """Blocks that are NaN once a toolkit has failed: the others still take their turns."""

    def time_or_fail(count: int) -> Sequence[float]:
        latencies: Sequence[float] = [math.nan] * count
        if participant.key not in failures:
            with _leaving_out(participant, failures):
                latencies = time_block(count)
        return latencies

    return time_or_fail


def _timing_images(
    participant: Participant, dataset: FolderDataset, settings: BenchSettings, path: Path
) -> Path:
    pairs = dataset.pairs[: settings.timing_images]
    inputs = participant.inputs
    np.save(path, np.stack([inputs.prepare(pair.read_image(inputs)) for pair in pairs]))
    return path


def _score(
    participants: Sequence[Participant],
    dataset: FolderDataset,
    folder: Path,
    progress: Progress,
    failures: Failures,
) -> tuple[dict[str, Accuracy | None], list[dict[str, Any]]]:
    """Accuracy of each participant, and of each FP32 reference that they are compared with.

    Toolkits whose masks are none have no accuracy, and are added to `failures`.
    """
    accuracies: dict[str, Accuracy | None] = {}
    reference_rows = []
    names, clusters = [pair.name for pair in dataset], clusters_of(dataset)
    references: dict[str, Reference] = {}
    for number, participant in enumerate(participants):
        key = participant.reference_key
        outputs = participant.outputs
        if key not in references:
            title = f"masks of {participant.model} in torch"
            path = folder / f"reference{number}.npy"
            reference_labels = _label(
                title, participant.reference, participant, dataset, path, progress
            )
            truth = true_labels(dataset, participant.inputs, outputs)
            references[key] = Reference(reference_labels, truth, names, outputs, clusters)
            own = references[key].compare(reference_labels)
            reference_rows.append(
                {
                    "reference_key": key,
                    "model": participant.model,
                    "target": "torch",
                    "precision": "fp32",
                    "accuracy": own.accuracy,
                    "accuracy_ci95": own.accuracy_ci95,
                    "per_image": own.per_image,
                }
            )
        if not participant.runner.has_masks:
            accuracies[participant.key] = None
            continue
        title, path = f"masks of {participant.name}", folder / f"labels{number}.npy"
        with _leaving_out(participant, failures):
            labels = _label(title, participant.runner, participant, dataset, path, progress)
            accuracy = references[key].compare(labels)
            accuracies[participant.key] = _with_picture(
                accuracy, participant, dataset, references[key], labels
            )
    return accuracies, reference_rows


def _with_picture(
    accuracy: Accuracy,
    participant: Participant,
    dataset: FolderDataset,
    reference: Reference,
    labels: NDArray[np.uint8],
) -> Accuracy:
    """The same with a picture of the worst image, where a pixel flips and it is no baseline."""
    worst = accuracy.worst_image
    if participant.is_baseline or not worst["flips_per_10k"]:
        return accuracy
    index = reference.names.index(worst["name"])
    row = compare_masks(
        worst["name"],
        dataset.pairs[index].read_image(participant.inputs),
        reference.labels[index],
        labels[index],
        np.where(reference.truth[index] == IGNORED, 0, reference.truth[index]).astype(np.uint8),
    )
    picture = base64.b64encode(comparison_strip(row)).decode()
    worst_image = {**worst, "picture": f"data:image/webp;base64,{picture}"}
    return replace(accuracy, worst_image=worst_image)


def _label(
    title: str,
    runner: Runner,
    participant: Participant,
    dataset: FolderDataset,
    path: Path,
    progress: Progress,
) -> NDArray[np.uint8]:
    with (
        progress.stage(title, total=len(dataset)) as stage,
        runner.open_worker(title) as worker,
    ):
        worker.load()
        request = Label(
            images=[str(pair.image_path.resolve()) for pair in dataset],
            result=str(path),
            inputs=participant.inputs.to_json(),
            outputs=participant.outputs.to_json(),
        )
        worker.label(request, stage.advance)
    labels: NDArray[np.uint8] = np.load(path, mmap_mode="r")
    return labels
