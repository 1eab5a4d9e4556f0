"""Turns of a run with counters and one without, so that both see the same machine."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

WARM_UP = 5


def take_turns(
    plain: Callable[[], object], counted: Callable[[], object], runs: int
) -> tuple[float, float]:
    """Medians of both in milliseconds; each is called `WARM_UP` times more."""
    times: tuple[list[float], list[float]] = ([], [])
    for run in range(WARM_UP + runs):
        for call, took in zip((plain, counted), times, strict=True):
            start = time.perf_counter()
            call()
            if run >= WARM_UP:
                took.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times[0]), statistics.median(times[1])
