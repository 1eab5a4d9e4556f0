"""How much a benchmark measures. Imports nothing heavy: the command line takes defaults from it."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from edgeseg.errors import UsageError

from .workers.cpu import allowed_cores


@dataclass(frozen=True)
class BenchSettings:
    """Attributes:
    threads: CPU threads of each artefact; its process is kept on as many cores.
    runs: Least number of counted inferences of each artefact.
    timing_images: How many different images are timed in turn.
    sustain_s: Seconds that each artefact runs without a pause after that; 0 leaves it out.
    """

    threads: int = 1
    runs: int = 200
    timing_images: int = 4
    sustain_s: float = 0.0

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value < 1 and name != "sustain_s":
                raise UsageError(f"The number of {name} is {value}; it must be at least 1.")

    def require_cores(self) -> None:
        """Refuse more threads than this machine lets the process use."""
        require_cores(self.threads)


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
