"""Turns of a run with counters and one without, so that both see the same machine."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

WARM_UP = 5
QUIET = 5  # one run of so many: the quickest, which a busy neighbour leaves alone
Told = TypeVar("Told")


@dataclass(frozen=True)
class Turns(Generic[Told]):
    """What was measured, in the order of the turns, without those that warm up.

    Attributes:
        plain, counted: Milliseconds of the runs without counters and with them.
        told: What the counters told of each run.
        mean_counted_ms: Of all runs with counters, those that warm up too.
    """

    plain: tuple[float, ...]
    counted: tuple[float, ...]
    told: tuple[Told, ...]
    mean_counted_ms: float

    @property
    def run_ms(self) -> float:
        """Of a run without counters."""
        return typical(self.plain, quickest(self.plain))

    @property
    def counted_ms(self) -> float:
        """Of a run with counters."""
        return typical(self.counted, self.quiet)

    @property
    def quiet(self) -> list[int]:
        """The runs with counters of which layers are told."""
        return quickest(self.counted)


def take_turns(
    plain: Callable[[], object],
    counted: Callable[[], object],
    read: Callable[[], Told],
    runs: int,
) -> Turns[Told]:
    """Run without counters and with them in turns; each is called `WARM_UP` times more.

    Args:
        read: What the counters tell of the last run, which is no part of it.
    """
    times: tuple[list[float], list[float]] = ([], [])
    told = []
    for run in range(WARM_UP + runs):
        for call, took in zip((plain, counted), times, strict=True):
            start = time.perf_counter()
            call()
            took.append(1e3 * (time.perf_counter() - start))
        one = read()
        if run >= WARM_UP:
            told.append(one)
    kept = tuple(times[0][WARM_UP:]), tuple(times[1][WARM_UP:])
    return Turns(kept[0], kept[1], tuple(told), statistics.fmean(times[1]))


def quickest(times: Sequence[float]) -> list[int]:
    """Places of the quickest fifth, at least one."""
    order = sorted(range(len(times)), key=times.__getitem__)
    return order[: max(len(times) // QUIET, 1)]


def typical(times: Sequence[float], places: Sequence[int]) -> float:
    """The mean at some places: means of parts add up to the mean of the whole."""
    return statistics.fmean(times[place] for place in places)
