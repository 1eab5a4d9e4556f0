"""Long runs: which part of them counts, and what the rest suffered from.

A device that is fast in its first minute may be slow in its thirtieth: it grows hot, or others use
it. A window that is much slower than the fast ones is marked and does not count for the headline.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from edgeseg.errors import UsageError

from .energy import EnergyUse
from .workers.messages import SustainedRun

WINDOW_S = 1.0
FASTEST_SHARE = 0.25  # windows whose median is what the others are compared with
SLOW = 1.1  # times as long
LEAST_CPU_SHARE = 0.9
LOWER_CLOCK = 0.95
NEIGHBOUR, THROTTLED, SLOWER = "neighbour", "throttled", "slower"
UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class Mark:
    """Windows in a row that do not count.

    Attributes:
        kind: "neighbour" where the process had less than nine tenths of its cores, "throttled"
            where the clock fell, "slower" where neither tells why.
        start_s, end_s: Since the beginning.
        slowdown: Largest median of a window, over that of the fast ones.
    """

    kind: str
    start_s: float
    end_s: float
    slowdown: float


def parse_duration(text: str) -> float:
    """Seconds of "90s", "10m" or "1h".

    Raises:
        UsageError: It is no such time, or none at all.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text.strip())
    seconds = float(found[1]) * UNITS[found[2]] if found else 0.0
    if seconds < WINDOW_S:
        raise UsageError(
            f"--sustain '{text}' is no time of a second or more. Write it as 90s, 10m or 1h."
        )
    return seconds


def mark_windows(run: SustainedRun, window_s: float = WINDOW_S) -> tuple[Mark, ...]:
    """The windows that do not count, joined where neighbours are of one kind."""
    medians = np.asarray(run.medians_ms)
    steady = _steady_ms(medians)
    kinds = [_kind_of(run, index, steady) for index in range(len(medians))]
    marks: list[Mark] = []
    for index, kind in enumerate(kinds):
        if not kind:
            continue
        start, end = run.starts_s[index], run.starts_s[index] + window_s
        slowdown = float(medians[index] / steady)
        if index and kinds[index - 1] == kind:
            last = marks.pop()
            marks.append(Mark(kind, last.start_s, end, max(last.slowdown, slowdown)))
        else:
            marks.append(Mark(kind, start, end, slowdown))
    return tuple(marks)


def _steady_ms(medians: np.ndarray) -> float:
    fastest = np.sort(medians)[: max(round(len(medians) * FASTEST_SHARE), 1)]
    return float(np.median(fastest))


def _kind_of(run: SustainedRun, index: int, steady: float) -> str:
    """Empty for a window that counts."""
    if run.cpu_shares[index] < LEAST_CPU_SHARE:
        return NEIGHBOUR
    if run.medians_ms[index] <= SLOW * steady:
        return ""
    if run.clocks_mhz and run.clocks_mhz[index] < LOWER_CLOCK * max(run.clocks_mhz):
        return THROTTLED
    return SLOWER


def summarize_run(
    run: SustainedRun, seconds: float, energy: Sequence[EnergyUse] = ()
) -> dict[str, Any]:
    """What a report says of a long run.

    `p50_ms` is over the windows that count, `first_minute_ms` and `last_minute_ms` over all of
    those; `marks` are what does not count, and `counted_share` what does.
    """
    marks = mark_windows(run)
    medians, starts = np.asarray(run.medians_ms), np.asarray(run.starts_s)
    steady = _steady_ms(medians)
    counts = np.array([not _kind_of(run, index, steady) for index in range(len(medians))])
    minute = min(60.0, seconds / 2)
    total = sum(run.counts)
    return {
        "seconds": seconds,
        "inferences": total,
        "p50_ms": float(np.median(medians[counts])) if counts.any() else None,
        "counted_share": float(counts.mean()),
        "first_minute_ms": float(np.median(medians[starts < minute])),
        "last_minute_ms": float(np.median(medians[starts >= seconds - minute])),
        "marks": [asdict(mark) for mark in marks],
        "medians_ms": [round(value, 5) for value in run.medians_ms],
        "clock_mhz": [min(run.clocks_mhz), max(run.clocks_mhz)] if run.clocks_mhz else None,
        "energy": [use.to_json(total) for use in energy],
    }
