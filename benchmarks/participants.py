"""What a benchmark measures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from edgeseg.contract import InputContract, OutputContract

from .process import Runner


@dataclass(frozen=True)
class Participant:
    """Something to measure.

    Attributes:
        key: Unique in the run.
        name: For people.
        model, target, precision: For the row.
        runner: How to start the worker that measures it.
        reference: How to start that of the FP32 reference, with whose masks it is compared.
        reference_key: Equal for equal references, so that each predicts once.
        inputs, outputs: Its contracts.
        artifact_bytes: Size on disk of what ships.
        baseline_key: Participant that its latency is compared with; itself for a baseline, empty
            where there is none.
        fallback_runtime: What computes it here in place of its own runtime; it is then scored and
            not timed. Empty where the artefact itself runs.
        device: Where it runs; empty is this machine.
        toolkit: What an external toolkit does to the network, for people; empty for what is ours.
            A toolkit that fails is left out, and the run goes on.
        threads: CPU threads where they are not those of the run, as in a sweep over threads; 0 are
            the run's.
        bundle_sha256: Identity of the bundle that it is; empty where it is none.
    """

    key: str
    name: str
    model: str
    target: str
    precision: str
    runner: Runner
    reference: Runner
    reference_key: str
    inputs: InputContract
    outputs: OutputContract
    artifact_bytes: int
    baseline_key: str
    fallback_runtime: str = ""
    device: str = ""
    toolkit: str = ""
    threads: int = 0
    bundle_sha256: str = ""

    @property
    def is_baseline(self) -> bool:
        return self.key == self.baseline_key


def on_threads(participants: Iterable[Participant], counts: Iterable[int]) -> Iterator[Participant]:
    """Artefacts on other numbers of threads, each compared with itself on those of the run.

    Args:
        participants: Artefacts that are timed.
    """
    for count in counts:
        for participant in participants:
            yield replace(
                participant,
                key=f"{participant.key} on {count} threads",
                name=f"{participant.name} ({count} thread{'s' if count > 1 else ''})",
                runner=participant.runner.on_threads(count),
                baseline_key=participant.key,
                threads=count,
            )
