"""Candidates are made here and take turns on a device, whose clock decides."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from edgeseg.benchmarks.race import MOST_ROUNDS
from edgeseg.benchmarks.workers.protocol import Worker
from edgeseg.errors import DeviceError, DeviceLostError, ParityError, WorkerKilledError
from edgeseg.metrics.agreement import require_parity
from edgeseg.metrics.scores import Labels
from edgeseg.records import Artifact
from edgeseg.tuning.candidate import Candidate
from edgeseg.tuning.constraints import Evaluation

from ..builder.builder import Builder
from ..builder.context import BuildContext
from ..builder.runners import ArtifactRunner
from ..builder.second_load import ask_worker, require_repeated
from ..evaluator.contest import THREADS, Contest, Made, Participant, key_of
from ..evaluator.validation import ValidationSet
from .device_link import DeviceLink

COARSE = 2  # times as many rounds of blocks that a program starts anew for
ATTEMPTS = 3  # at a question in which the device went away each time
ANSWER = TypeVar("ANSWER")


class DeviceEvaluator(Contest):
    """See `Contest`; its processes are of a device.

    An artefact stays on this machine as long as the evaluator lives: what is made again need not be
    the same bytes, and would be copied again.

    Args:
        link: Connected.
    """

    def __init__(
        self,
        context: BuildContext,
        builder: Builder,
        validation: ValidationSet,
        folder: Path,
        link: DeviceLink,
    ) -> None:
        super().__init__(context, builder, validation, folder)
        self.link = link
        self._artifacts: dict[Worker, tuple[Artifact, str]] = {}
        self._masks: dict[str, Sequence[NDArray[np.float32]]] = {}

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            self._abandon(error)
            return
        # What was found is found, whatever becomes of the device now.
        with contextlib.suppress(DeviceError):
            self._close_all_but(0)
            self.link.device.forget()

    def score(self, candidate: Candidate) -> Evaluation:
        if key_of(candidate) not in self._masks:
            first = self.evaluate(candidate)
            if first.refusal:
                return first
        # In another process than that: see `_check`.
        self._ask(lambda: self._close(candidate))
        return super().score(candidate)

    def _open_worker(self, artifact: Artifact, name: str) -> Worker:
        worker = self.link.device.open_worker(artifact, name)
        self._artifacts[worker] = artifact, name
        return worker

    def _check(self, candidate: Candidate, made: Made, participant: Participant) -> None:
        """The device's masks are near to torch's, and the same in each of its processes."""
        is_half = self.context.runtime.is_half(made.artifact.settings)
        if not self.link.device.has_masks:
            if is_half:
                raise ParityError(
                    f"It computes in FP16 on {self.link.address} and not on this machine, and the "
                    "device's program writes no masks that would tell how near it comes. Take a "
                    "program that does, or an ssh device."
                )
            with self._worker_here(made.artifact, candidate.name) as here:
                again = ask_worker(here, self.context.references.inputs)
            require_repeated(made.masks, again, self.context.spec.outputs, "It")
            return
        references, outputs = self.context.references, self.context.spec.outputs
        masks = ask_worker(participant.worker, references.inputs)
        what = f"The {candidate.precision} artefact on {self.link.address}"
        ready = iter(masks)
        agreement = references.compare(lambda image: next(ready), outputs, what)
        tolerance = self.context.runtime.tolerances.get(candidate.precision)
        if tolerance is not None and not is_half:
            require_parity(agreement, tolerance, what)
        first = self._masks.setdefault(key_of(candidate), masks)
        require_repeated(first, masks, outputs, what)

    def _labels(self, participant: Participant, images: int) -> Labels:
        """Those of the device; of this machine where the device's program writes no masks."""
        if self.link.device.has_masks:
            return super()._labels(participant, images)
        artifact, name = self._artifacts[participant.worker]
        with self._worker_here(artifact, name) as here:
            return super()._labels(replace(participant, worker=here), images)

    @contextlib.contextmanager
    def _worker_here(self, artifact: Artifact, name: str) -> Iterator[Worker]:
        with ArtifactRunner(artifact, THREADS).open_worker(name) as worker:
            worker.load()
            yield worker

    def _most_rounds(self) -> int:
        return MOST_ROUNDS * (COARSE if self.link.device.times_blocks else 1)

    def _ask(self, question: Callable[[], ANSWER]) -> ANSWER:
        """Ask anew from the beginning where the device went away.

        Raises:
            WorkerKilledError: It does each time.
            DeviceError: It does not come back.
        """
        for _ in range(ATTEMPTS):
            try:
                return question()
            except DeviceLostError as error:
                lost = error
                self._abandon(error)
                self.link.await_return(error)
        raise WorkerKilledError(
            f"{self.link.address} went away {ATTEMPTS} times while it was to do the same thing. "
            f"{lost} Look whether its memory and its power supply suffice; what was measured is "
            "kept."
        ) from lost

    def _abandon(self, error: BaseException) -> None:
        """Close processes that cannot be asked any more."""
        while self._open:
            _, (_, stack) = self._open.popitem()
            with contextlib.suppress(DeviceError):
                stack.__exit__(type(error), error, error.__traceback__)

    def _close(self, candidate: Candidate) -> None:
        opened = self._open.pop(key_of(candidate), None)
        if opened is not None:
            opened[1].close()

    def _drop(self, key: str) -> None:
        """Keep it: see above."""
