"""What a benchmark measures, and how much of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from edgeseg.contract import InputContract, OutputContract
from edgeseg.errors import UsageError
from edgeseg.records import RunnerSpec

from .cpu import allowed_cores


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
    fallback_runtime: str = ""
    device: str = ""
    times_blocks: bool = False
    has_masks: bool = True

    @property
    def is_baseline(self) -> bool:
        return self.key == self.baseline_key
