"""Makes candidates and lets them take turns, each in a process of its own on the same core.

Where these processes run, a subclass says.
"""

from __future__ import annotations

import abc
import contextlib
import hashlib
import json
import logging
import shutil
import sys
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from edgeseg.benchmarks.latency import TimeBlock, block_size, interleave, paired_speedup, warm_up
from edgeseg.benchmarks.race import MOST_ROUNDS, run_race
from edgeseg.benchmarks.race import block_size as race_block_size
from edgeseg.benchmarks.workers.messages import LabelPrepared
from edgeseg.benchmarks.workers.protocol import Worker
from edgeseg.errors import (
    DeviceError,
    DeviceTimeoutError,
    EdgesegError,
    TargetError,
    WorkerKilledError,
)
from edgeseg.lower.rewrites import rewrite_names
from edgeseg.metrics.scores import Labels
from edgeseg.records import Artifact
from edgeseg.tuning.candidate import Candidate
from edgeseg.tuning.constraints import Evaluation
from edgeseg.tuning.evaluator import FinalTiming, Ratio
from edgeseg.tuning.regions import QuantizableConv

from ..builder.baselines import MENDED, PLAIN, baseline_artifact
from ..builder.builder import Builder
from ..builder.context import BuildContext
from ..builder.convolutions import quantizable_convs_of
from .validation import ValidationSet

OPEN_AT_ONCE = 3  # processes that are kept for the next race
FINAL_RUNS = 160  # inferences of each in the last run,
FINAL_MS = 8000.0  # or as many as the slowest does in this time,
LEAST_FINAL_RUNS = 24  # but no fewer
THREADS = 1  # of each artefact
ANSWER = TypeVar("ANSWER")


@dataclass
class Participant:
    """A process that has loaded an artefact and is warm."""

    worker: Worker
    median_ms: float
    peak_rss_bytes: int

    def time_block(self) -> TimeBlock:
        return lambda count: self.worker.time(count).latencies_ms


@dataclass(frozen=True)
class Made:
    """A candidate's artefact.

    Attributes:
        layers: What is known of its INT8 part.
        masks: What it gave for the check images in this process; none of the plain export.
    """

    artifact: Artifact
    layers: dict[str, int] = field(default_factory=dict)
    masks: tuple[NDArray[np.float32], ...] = ()


class Contest(abc.ABC):
    """Answers `edgeseg.tuning.search` by letting candidates take turns.

    Use it as a context: processes end with it.

    Args:
        folder: For artefacts; it is the evaluator's own.
    """

    def __init__(
        self, context: BuildContext, builder: Builder, validation: ValidationSet, folder: Path
    ) -> None:
        self.context = context
        self.validation = validation
        self.folder = folder
        self.builder = builder
        self._made: dict[str, Made] = {}
        self._open: OrderedDict[str, tuple[Participant, contextlib.ExitStack]] = OrderedDict()
        self._convs: dict[tuple[str, ...], list[QuantizableConv]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close_all_but(0)

    @abc.abstractmethod
    def _open_worker(self, artifact: Artifact, name: str) -> Worker:
        """The worker of an artefact, not started yet.

        Args:
            name: For messages.
        """

    @abc.abstractmethod
    def _check(self, candidate: Candidate, made: Made, participant: Participant) -> None:
        """Refuse an artefact that computes something else where it runs.

        Raises:
            ParityError: It does.
        """

    def _ask(self, question: Callable[[], ANSWER]) -> ANSWER:
        """Answer a question, and once more where what was interrupted may go on."""
        return question()

    def _most_rounds(self) -> int:
        """In which two take turns."""
        return MOST_ROUNDS

    def _labels(self, participant: Participant, images: int) -> Labels:
        """Label maps of the first images of the validation set."""
        result = self.folder / "labels.npy"
        outputs = self.context.spec.outputs.to_json()
        participant.worker.label_prepared(
            LabelPrepared(str(self.validation.images), images, outputs, str(result))
        )
        labels: Labels = np.load(result)
        return labels

    def evaluate_plain(self) -> Evaluation:
        return self._ask(lambda: self._examine(None, self.validation.screening_count))

    def evaluate(self, candidate: Candidate) -> Evaluation:
        return self._finding(candidate, self.validation.screening_count)

    def score(self, candidate: Candidate) -> Evaluation:
        return self._finding(candidate, len(self.validation.dataset))

    def _finding(self, candidate: Candidate, images: int) -> Evaluation:
        logging.disable(logging.WARNING)  # tools warn of what an evaluation records
        try:
            return self._ask(lambda: self._examine(candidate, images))
        except EdgesegError as error:
            if isinstance(error, DeviceError) and not isinstance(error, DeviceTimeoutError):
                raise  # no candidate can be tried
            is_accident = isinstance(error, (WorkerKilledError, DeviceTimeoutError))
            return Evaluation(refusal=" ".join(str(error).split()), is_accident=is_accident)
        except Exception as error:
            # A rewrite or a tool that fails on this network is no reason to give up the others.
            return Evaluation(
                refusal=f"internal error, {type(error).__name__}: {error}",
                is_accident=isinstance(error, (OSError, MemoryError)),
            )
        finally:
            logging.disable(logging.NOTSET)

    def race(self, challenger: Candidate, incumbent: Candidate | None, attempt: int = 1) -> Ratio:
        return self._ask(lambda: self._race_again(challenger, incumbent))

    def _race_again(self, challenger: Candidate, incumbent: Candidate | None) -> Ratio:
        try:
            return self._race(challenger, incumbent)
        except WorkerKilledError:
            return self._race(challenger, incumbent)  # with a new process

    def _race(self, challenger: Candidate, incumbent: Candidate | None) -> Ratio:
        theirs, ours = self._participant(incumbent), self._participant(challenger)
        sizes = race_block_size(ours.median_ms), race_block_size(theirs.median_ms)
        race = run_race(ours.time_block(), theirs.time_block(), sizes, self._most_rounds())
        return Ratio(race.speedup, race.low, race.high)

    def time_finalists(self, candidates: Sequence[Candidate]) -> list[FinalTiming]:
        return self._ask(lambda: self._time_finalists(candidates))

    def _time_finalists(self, candidates: Sequence[Candidate]) -> list[FinalTiming]:
        runners = [self._participant(one, keep=len(candidates) + 1) for one in (None, *candidates)]
        slowest = max(one.median_ms for one in runners)
        runs = min(max(round(FINAL_MS / slowest), LEAST_FINAL_RUNS), FINAL_RUNS)
        sizes = [block_size(one.median_ms, runs) for one in runners]
        blocks = interleave([one.time_block() for one in runners], sizes, runs)
        plain, first = blocks[0], blocks[1]
        return [FinalTiming(_ratio(own, plain), _ratio(own, first)) for own in blocks[1:]]

    def effective(self, rewrites: Sequence[str]) -> tuple[str, ...]:
        try:
            _, counts = self.builder.lower(tuple(rewrites))
        except Exception:
            return tuple(rewrites)  # to be evaluated, and refused with the reason
        return tuple(name for name in rewrite_names() if counts.get(name))

    def graph_bytes(self, rewrites: Sequence[str]) -> int:
        try:
            return self.builder.lower(tuple(rewrites))[0].stat().st_size
        except Exception:
            return sys.maxsize  # to be left out first

    def convs(self, rewrites: Sequence[str]) -> list[QuantizableConv]:
        key = tuple(rewrites)
        if key not in self._convs:
            self._convs[key] = quantizable_convs_of(self.builder.lower(key)[0])
        return self._convs[key]

    def kept_in_float(self, candidate: Candidate) -> tuple[str, ...]:
        try:
            return self.builder.keep_sensitive(candidate).float_nodes
        except EdgesegError:
            return candidate.float_nodes  # to be evaluated, and refused with the reason

    def _examine(self, candidate: Candidate | None, images: int) -> Evaluation:
        made = self._make(candidate)
        participant = self._participant(candidate)
        if candidate is None:
            # Only its size and memory count: it may compute something else.
            return Evaluation("", made.artifact.size_bytes, participant.peak_rss_bytes)
        self._check(candidate, made, participant)
        change = self.validation.compare(self._labels(participant, images))
        return Evaluation(
            "",
            made.artifact.size_bytes,
            participant.peak_rss_bytes,
            change.flips_per_10k,
            change.changes,
            images,
            made.layers,
            findings=change.findings,
            is_exact=self.context.runtime.is_exact(made.artifact),
        )

    def _make(self, candidate: Candidate | None) -> Made:
        """What the runtime loads, made where it is not there."""
        key = key_of(candidate)
        if key not in self._made:
            place = self.folder / key
            shutil.rmtree(place, ignore_errors=True)
            if candidate is None:
                self._made[key] = Made(self._plain_artifact())
            else:
                built = self.builder.make(candidate, place)
                layers = built.quantization.layers if built.quantization else {}
                self._made[key] = Made(built.artifact, dict(layers), built.masks)
        return self._made[key]

    def _plain_artifact(self) -> Artifact:
        """The plain export; where the runtime's own tool refuses that, the mended one."""
        onnx_path = self.context.exported.path
        runtime = self.context.runtime
        try:
            return baseline_artifact(runtime, onnx_path, PLAIN)
        except TargetError:
            return baseline_artifact(runtime, onnx_path, MENDED)

    def _participant(self, candidate: Candidate | None, keep: int = OPEN_AT_ONCE) -> Participant:
        key = key_of(candidate)
        if key in self._open and self._open[key][0].worker.has_ended:
            self._open.pop(key)[1].close()
        if key not in self._open:
            artifact = self._make(candidate).artifact
            self._close_all_but(keep - 1)
            with contextlib.ExitStack() as stack:
                participant = self._start(candidate, artifact, stack)
                self._open[key] = participant, stack.pop_all()
        self._open.move_to_end(key)
        return self._open[key][0]

    def _start(
        self, candidate: Candidate | None, artifact: Artifact, stack: contextlib.ExitStack
    ) -> Participant:
        name = candidate.name if candidate else "the plain export"
        worker = stack.enter_context(self._open_worker(artifact, name))
        loaded = worker.load(str(self.validation.timed_images))
        worker.first()
        warm = warm_up(lambda count: worker.time(count).latencies_ms)
        # Memory is read before other work; loading and running are what it is for.
        peak = worker.memory().peak_rss_bytes - loaded.bare_rss_bytes
        return Participant(worker, warm.median_ms, peak)

    def _close_all_but(self, count: int) -> None:
        """End the processes that were not used for longest, and drop their artefacts."""
        while len(self._open) > max(count, 0):
            key, (_, stack) = self._open.popitem(last=False)
            stack.close()
            self._drop(key)

    def _drop(self, key: str) -> None:
        """Throw an artefact away; it can be made again."""
        self._made.pop(key, None)
        shutil.rmtree(self.folder / key, ignore_errors=True)


def key_of(candidate: Candidate | None) -> str:
    if candidate is None:
        return PLAIN
    text = json.dumps(candidate.to_json(), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _ratio(own: list[list[float]], other: list[list[float]]) -> Ratio:
    speedup, (low, high) = paired_speedup(own, other)
    return Ratio(speedup, low, high)
