from __future__ import annotations

from collections.abc import Iterable, Iterator

import pytest

from edgeseg.benchmarks import latency
from edgeseg.benchmarks.latency import (
    WARM_UP_BLOCKS,
    WARM_UP_COUNT,
    block_size,
    interleave,
    paired_speedup,
    round_count,
    summarize,
    warm_up,
)


@pytest.fixture(autouse=True)
def whole_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency, "WARM_UP_BLOCKS", WARM_UP_BLOCKS)


class FakeMachine:
    """A clock that runs on as work is done; from `slow_from_ms` on everything takes longer."""

    def __init__(self, slow_from_ms: float, factor: float = 2.0) -> None:
        self.now_ms = 0.0
        self.slow_from_ms = slow_from_ms
        self.factor = factor

    def work(self, count: int, cost_ms: float) -> list[float]:
        latencies = []
        for _ in range(count):
            latency = cost_ms * (self.factor if self.now_ms >= self.slow_from_ms else 1.0)
            self.now_ms += latency
            latencies.append(latency)
        return latencies


class FakeBlocks:
    """Blocks whose median is scripted; one outlier in each shows that the median counts."""

    def __init__(self, medians: Iterable[float]) -> None:
        self.medians: Iterator[float] = iter(medians)
        self.counts: list[int] = []

    def __call__(self, count: int) -> list[float]:
        self.counts.append(count)
        return [1000.0] + [next(self.medians)] * (count - 1)


def test_steady_machine_warms_up_in_two_blocks() -> None:
    time_block = FakeBlocks([10.0, 10.0])
    warm = warm_up(time_block)
    assert (warm.inferences, warm.is_steady, warm.median_ms) == (2 * WARM_UP_COUNT, True, 10.0)
    assert time_block.counts == [WARM_UP_COUNT] * 2


@pytest.mark.parametrize(
    ("medians", "blocks"),
    [
        ([20, 15, 12, 10, 10.2], 5),  # settles from above
        ([10, 12, 14, 14.1], 4),  # and from below, as a machine that gets hot
        ([10, 10.4, 10.1], 3),  # 4 % is too much, 3 % is not
    ],
)
def test_warm_up_goes_on_until_two_blocks_agree(medians: list[float], blocks: int) -> None:
    warm = warm_up(FakeBlocks(medians))
    assert warm.is_steady
    assert warm.inferences == blocks * WARM_UP_COUNT
    assert warm.median_ms == medians[-1]


def test_machine_that_never_settles_is_reported() -> None:
    time_block = FakeBlocks([10.0, 20.0] * WARM_UP_BLOCKS)
    warm = warm_up(time_block)
    assert not warm.is_steady
    assert warm.inferences == WARM_UP_BLOCKS * WARM_UP_COUNT == sum(time_block.counts)
    assert warm.to_json() == {"inferences": 150, "is_steady": False}


@pytest.mark.parametrize(
    ("median_ms", "runs", "size"),
    [
        (12.0, 200, 10),  # 120 ms of work
        (1000.0, 200, 1),  # never below one
        (0.1, 200, 17),  # 200 runs in twelve rounds
        (0.0, 200, 17),
        (1000.0, 1, 1),
    ],
)
def test_block_size_by_hand(median_ms: float, runs: int, size: int) -> None:
    assert block_size(median_ms, runs) == size


def test_order_is_reversed_every_other_round() -> None:
    calls: list[str] = []

    def participant(name: str):  # type: ignore[no-untyped-def]
        def time_block(count: int) -> list[float]:
            calls.append(name)
            return [1.0] * count

        return time_block

    rounds = []
    interleave(
        [participant(name) for name in "abc"], [2, 2, 2], 6, lambda: rounds.append(len(calls))
    )
    assert "".join(calls) == ("abc" + "cba") * 6
    assert rounds == list(range(3, 37, 3))


def test_everyone_gets_as_many_rounds_and_enough_runs() -> None:
    sizes = [5, 12]
    blocks = interleave([lambda count: [1.0] * count] * 2, sizes, 63)
    assert round_count(sizes, 63) == 14  # 63 runs in blocks of 5 are 13 rounds; made even
    assert [[len(block) for block in own] for own in blocks] == [[5] * 14, [12] * 14]


def test_there_are_always_enough_rounds_for_an_interval() -> None:
    for median_ms in (0.01, 1.0, 50.0):
        assert round_count([block_size(median_ms, 200)], 200) >= 12


def test_blocks_come_back_to_their_participants() -> None:
    blocks = interleave([lambda count: [1.0] * count, lambda count: [2.0] * count], [1, 1], 2)
    assert blocks == [[[1.0]] * 12, [[2.0]] * 12]


def test_percentiles_by_hand() -> None:
    # 1..101: the p-th percentile of so many values is p + 1.
    values = [float(value) for value in range(1, 102)]
    summary = summarize([values[70:], values[:70]])
    expected = {"p50": 51.0, "p90": 91.0, "p99": 100.0, "mean": 51.0}
    assert summary.to_json() == pytest.approx(expected)


def test_one_outlier_moves_the_mean_only() -> None:
    summary = summarize([[1.0] * 999 + [1001.0]])
    assert (summary.p50, summary.p90, summary.p99) == (1.0, 1.0, 1.0)
    assert summary.mean == pytest.approx(2.0)


def test_speedup_survives_a_machine_that_slows_down_midway() -> None:
    machine = FakeMachine(slow_from_ms=60 * 5 * (10 + 5))
    ours, theirs = interleave(
        [lambda count: machine.work(count, 5.0), lambda count: machine.work(count, 10.0)],
        [5, 5],
        600,
    )
    assert max(map(max, ours)) == 10.0  # it did slow down
    speedup, interval = paired_speedup(ours, theirs)
    assert speedup == pytest.approx(2.0)
    assert interval == pytest.approx((2.0, 2.0))


def test_speedup_survives_a_slow_down_within_a_round() -> None:
    # The clock changes between the turns of one round, which then has a wrong ratio.
    machine = FakeMachine(slow_from_ms=60 * 5 * (10 + 5) + 25)
    ours, theirs = interleave(
        [lambda count: machine.work(count, 5.0), lambda count: machine.work(count, 10.0)],
        [5, 5],
        600,
    )
    ratios = {theirs[index][0] / ours[index][0] for index in range(120)}
    assert ratios > {2.0}
    assert paired_speedup(ours, theirs)[0] == pytest.approx(2.0)


def test_speedup_of_itself_is_one() -> None:
    blocks = [[3.0, 4.0, 9.0], [7.0, 1.0, 2.0]]
    assert paired_speedup(blocks, blocks) == (1.0, (1.0, 1.0))


def test_slower_than_the_baseline_is_below_one() -> None:
    assert paired_speedup([[4.0]] * 3, [[1.0]] * 3)[0] == 0.25


def test_interval_covers_the_rounds_that_vary() -> None:
    ours = [[1.0]] * 21
    theirs = [[1.5]] * 7 + [[2.0]] * 7 + [[2.5]] * 7
    speedup, (low, high) = paired_speedup(ours, theirs)
    assert speedup == 2.0
    assert 1.5 <= low < speedup < high <= 2.5
    assert paired_speedup(ours, theirs) == (speedup, (low, high))


def test_unequal_numbers_of_rounds_are_an_error() -> None:
    with pytest.raises(ValueError, match="zip"):
        paired_speedup([[1.0]] * 2, [[1.0]] * 3)
