"""How much a benchmark measures. Imports nothing heavy: the command line takes defaults from it."""

from __future__ import annotations

from dataclasses import dataclass

from edgeseg.errors import UsageError

from .workers.cpu import allowed_cores


@dataclass(frozen=True)
class BenchSettings:
    """Attributes:
    threads: CPU threads of each artefact; its process is kept on as many cores.
    runs: Least number of counted inferences of each artefact.
    timing_images: How many different images are timed in turn.
    sustain_s: Seconds that each artefact runs without a pause after that; 0 leaves it out.
    sweep_threads: Other numbers of threads that each artefact is measured on in the same run.
    """

    threads: int = 1
    runs: int = 200
    timing_images: int = 4
    sustain_s: float = 0.0
    sweep_threads: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name in ("threads", "runs", "timing_images"):
            value = getattr(self, name)
            if value < 1:
                raise UsageError(f"The number of {name} is {value}; it must be at least 1.")
        counts = (self.threads, *self.sweep_threads)
        if min(counts) < 1 or len({*counts}) < len(counts):
            raise UsageError(
                f"--sweep-threads names {', '.join(map(str, self.sweep_threads))}, and the run has "
                f"{self.threads}. Name other numbers from 1 on, each once."
            )

    def require_cores(self) -> None:
        """Refuse more threads than this machine lets the process use."""
        for count in (self.threads, *self.sweep_threads):
            require_cores(count)


def require_cores(threads: int) -> None:
    """Refuse more threads than this machine lets the process use, or none.

    Raises:
        UsageError: Names both numbers.
    """
    if threads < 1:
        raise UsageError(f"The number of threads is {threads}; it must be at least 1.")
    if threads > len(allowed_cores()):
        raise UsageError(
            f"{threads} threads were asked for, but this process may use "
            f"{len(allowed_cores())} cores. Lower --threads."
        )
