from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from edgeseg.benchmarks.race import LEAST_ROUNDS, MOST_ROUNDS, block_size, run_race


class Clocked:
    """Something that takes so many milliseconds, times a noise of its own."""

    def __init__(self, latency_ms: float, noise: float = 0.0, seed: int = 0) -> None:
        self.latency_ms = latency_ms
        self.generator = np.random.default_rng(seed)
        self.noise = noise
        self.counts: list[int] = []

    def __call__(self, count: int) -> Sequence[float]:
        self.counts.append(count)
        factors = 1 + self.noise * self.generator.standard_normal(count)
        return [self.latency_ms * factor for factor in factors]


@pytest.mark.parametrize(("ours", "theirs"), [(5.0, 10.0), (10.0, 5.0)])
def test_a_clear_race_ends_after_the_fewest_rounds(ours: float, theirs: float) -> None:
    challenger, incumbent = Clocked(ours, 0.02, 1), Clocked(theirs, 0.02, 2)
    race = run_race(challenger, incumbent, (4, 3))
    assert race.rounds == LEAST_ROUNDS
    assert race.low <= race.speedup <= race.high
    assert race.speedup == pytest.approx(theirs / ours, rel=0.05)
    assert challenger.counts == [4] * LEAST_ROUNDS
    assert incumbent.counts == [3] * LEAST_ROUNDS


def test_equals_are_told_to_be_equal_before_the_rounds_end() -> None:
    race = run_race(Clocked(10.0), Clocked(10.0), (2, 2))
    assert (race.speedup, race.low, race.high, race.rounds) == (1.0, 1.0, 1.0, LEAST_ROUNDS)


def test_noise_takes_all_rounds() -> None:
    race = run_race(Clocked(10.0, 0.5, 1), Clocked(10.0, 0.5, 2), (1, 1))
    assert race.rounds == MOST_ROUNDS
    assert race.low < 1 < race.high


def test_turns_are_reversed_every_other_round() -> None:
    turns: list[str] = []

    def taking_turns(name: str) -> object:
        def time_block(count: int) -> Sequence[float]:
            turns.append(name)
            return [1.0] * count

        return time_block

    run_race(taking_turns("a"), taking_turns("b"), (1, 1))  # type: ignore[arg-type]
    assert turns == ["a", "b", "b", "a"] * (LEAST_ROUNDS // 2)


@pytest.mark.parametrize(("latency_ms", "count"), [(10.0, 6), (100.0, 1), (1e-9, 60_000)])
def test_a_turn_takes_about_as_long_for_all(latency_ms: float, count: int) -> None:
    assert block_size(latency_ms) == count
