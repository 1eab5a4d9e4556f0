"""Candidates take turns on this machine."""

from __future__ import annotations

from edgeseg.benchmarks.process import WorkerProcess
from edgeseg.records import Artifact
from edgeseg.tuning.candidate import Candidate

from ..builder.runners import ArtifactRunner
from ..builder.second_load import ask_worker, require_repeated
from .contest import THREADS, Contest, Made, Participant


class LocalEvaluator(Contest):
    """See `Contest`; its processes are of this machine."""

    def _open_worker(self, artifact: Artifact, name: str) -> WorkerProcess:
        return ArtifactRunner(artifact, THREADS).open_worker(name)

    def _check(self, candidate: Candidate, made: Made, participant: Participant) -> None:
        again = ask_worker(participant.worker, self.context.references.inputs)
        require_repeated(made.masks, again, self.context.spec.outputs, "It")
