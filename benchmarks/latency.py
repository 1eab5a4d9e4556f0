"""Latency: warm-up, interleaving, statistics. Knows no process and no runtime."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

# Share of the time that a process may wait for its core before its latency says nothing.
MOST_WAITING = 0.2
TimeBlock = Callable[[int], Sequence[float]]  # number of inferences -> latency of each, ms

STEADY_RATIO = 1.03  # medians of two blocks in a row this close are steady
WARM_UP_BLOCKS = 30
WARM_UP_COUNT = 5
BLOCK_MS = 120.0
LEAST_ROUNDS = 12  # so that the speed-up has an interval
BOOTSTRAP_SAMPLES = 2000
QUICK_PERCENT = 20  # of the inferences, which a neighbour in bursts leaves alone
GROUPS = 9  # of rounds, each left out once


@dataclass(frozen=True)
class WarmUp:
    """What happened before the first counted inference.

    Attributes:
        inferences: How many were run.
        is_steady: Whether latency had settled; False after the most blocks.
        median_ms: Of the last block.
    """

    inferences: int
    is_steady: bool
    median_ms: float

    def to_json(self) -> dict[str, Any]:
        return {"inferences": self.inferences, "is_steady": self.is_steady}


@dataclass(frozen=True)
class LatencySummary:
    """Percentiles and mean, in milliseconds."""

    p50: float
    p90: float
    p99: float
    mean: float

    def to_json(self) -> dict[str, float]:
        return asdict(self)


def warm_up(time_block: TimeBlock) -> WarmUp:
    """Run blocks until two in a row have nearly one median."""
    previous = float(np.median(time_block(WARM_UP_COUNT)))
    for block in range(2, WARM_UP_BLOCKS + 1):
        median = float(np.median(time_block(WARM_UP_COUNT)))
        if max(median, previous) <= STEADY_RATIO * min(median, previous):
            return WarmUp(block * WARM_UP_COUNT, True, median)
        previous = median
    return WarmUp(WARM_UP_BLOCKS * WARM_UP_COUNT, False, previous)


def block_size(median_ms: float, runs: int) -> int:
    """Inferences in one turn: about `BLOCK_MS` of work, and few enough for `LEAST_ROUNDS`."""
    by_time = round(BLOCK_MS / max(median_ms, 1e-3))
    return max(min(by_time, -(-runs // LEAST_ROUNDS)), 1)


def interleave(
    time_blocks: Sequence[TimeBlock],
    sizes: Sequence[int],
    runs: int,
    on_round: Callable[[], None] = lambda: None,
) -> list[list[list[float]]]:
    """Take turns until each participant has at least `runs` inferences.

    The order is reversed every other round, so that a drift of the machine's speed hits all
    alike.

    Returns:
        For each participant its blocks, one a round, of latencies in milliseconds.
    """
    blocks: list[list[list[float]]] = [[] for _ in time_blocks]
    for index in range(round_count(sizes, runs)):
        order = list(range(len(time_blocks)))
        for participant in order if index % 2 == 0 else reversed(order):
            blocks[participant].append(list(time_blocks[participant](sizes[participant])))
        on_round()
    return blocks


def round_count(sizes: Sequence[int], runs: int) -> int:
    """Rounds until each has its runs: at least `LEAST_ROUNDS`, and even, so that orders balance."""
    rounds = max(-(-runs // min(sizes)), LEAST_ROUNDS)
    return rounds + rounds % 2


def summarize(blocks: Sequence[Sequence[float]]) -> LatencySummary:
    """Statistics over all inferences of all blocks."""
    values = np.concatenate([np.asarray(block) for block in blocks])
    p50, p90, p99 = np.percentile(values, (50, 90, 99))
    return LatencySummary(float(p50), float(p90), float(p99), float(values.mean()))


def paired_speedup(
    blocks: Sequence[Sequence[float]], baseline: Sequence[Sequence[float]], seed: int = 0
) -> tuple[float, tuple[float, float]]:
    """How many times faster than the baseline, and the 95 % interval of that.

    Each round gives one ratio of medians; the result is the median of the rounds' ratios, its
    interval by bootstrap over rounds.
    """
    ratios = np.array(
        [np.median(theirs) / np.median(ours) for ours, theirs in zip(blocks, baseline, strict=True)]
    )
    generator = np.random.default_rng(seed)
    drawn = ratios[generator.integers(0, len(ratios), (BOOTSTRAP_SAMPLES, len(ratios)))]
    low, high = np.percentile(np.median(drawn, axis=1), (2.5, 97.5))
    return float(np.median(ratios)), (float(low), float(high))


def quick_ratio(
    blocks: Sequence[Sequence[float]], baseline: Sequence[Sequence[float]]
) -> tuple[float, list[float]]:
    """Time of the quickest fifth over that of the baseline, as a logarithm.

    Neighbours only make slower: the 20th percentile of all inferences of a run differs ten times
    less between runs of one artefact than the median of rounds does beside a busy one. See
    `edgeseg.pipeline.studies.same_artifact`.

    Returns:
        The logarithm of the ratio of both 20th percentiles, and that without each of `GROUPS`
        groups of rounds, which tells how sure it is (the delete-a-group jackknife, Kott 2001).
    """

    def percentile(each: Sequence[Sequence[float]], rounds: Sequence[int]) -> float:
        values = np.concatenate([np.asarray(each[index]) for index in rounds])
        return float(np.percentile(values, QUICK_PERCENT))

    def of(rounds: Sequence[int]) -> float:
        return float(np.log(percentile(blocks, rounds) / percentile(baseline, rounds)))

    every = range(len(blocks))
    without = [
        of([index for index in every if index % GROUPS != group])
        for group in range(min(GROUPS, len(blocks)))
        if len(blocks) > 1
    ]
    return of(every), without
