"""Two artefacts against each other, for as long as it takes to tell which is faster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .latency import TimeBlock, paired_speedup

LEAST_ROUNDS = 8  # by chance alone all of them favour one side once in 128 races
MOST_ROUNDS = 32
BLOCK_MS = 60.0
TIE = 0.01  # ratios so near to 1 are not worth more rounds


@dataclass(frozen=True)
class Race:
    """How one compares with another.

    Attributes:
        speedup: How many times faster it is; below 1 it is slower.
        low, high: 95 % interval of that.
        rounds: How many it took.
    """

    speedup: float
    low: float
    high: float
    rounds: int


def block_size(median_ms: float) -> int:
    """Inferences in one turn: about `BLOCK_MS` of work."""
    return max(round(BLOCK_MS / max(median_ms, 1e-3)), 1)


def run_race(
    challenger: TimeBlock, incumbent: TimeBlock, sizes: tuple[int, int], rounds: int = MOST_ROUNDS
) -> Race:
    """Take turns until the interval of the ratio leaves out 1 or is all but 1, or rounds end.

    The order is reversed every other round, and what ends the race is looked at after an even
    number, so that a drift of the machine's speed hits both alike.

    Args:
        sizes: Inferences of each in one turn.
        rounds: At most so many.
    """
    ours: list[Sequence[float]] = []
    theirs: list[Sequence[float]] = []
    while True:
        for order in (1, -1):
            turns = [(ours, challenger, sizes[0]), (theirs, incumbent, sizes[1])]
            for blocks, time_block, size in turns[::order]:
                blocks.append(list(time_block(size)))
        speedup, (low, high) = paired_speedup(ours, theirs)
        is_decided = low > 1 or high < 1 or (low > 1 - TIE and high < 1 + TIE)
        if len(ours) >= rounds or (len(ours) >= LEAST_ROUNDS and is_decided):
            return Race(speedup, low, high, len(ours))
