"""Turns with and without counters, on a clock that the test sets."""

from __future__ import annotations

import itertools

import pytest

from edgeseg.targets.profiling import clock
from edgeseg.targets.profiling.clock import WARM_UP, quickest, take_turns, typical


def test_layers_are_told_of_the_quickest_runs_and_add_up_to_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 0.0
    # A neighbour slows every run but two of ten, at other layers each time.
    slow = itertools.cycle((1, 0, 2, 1, 2, 1, 0, 2, 1, 2))
    layers: list[float] = []

    def spend(seconds: float) -> None:
        nonlocal now
        now += seconds

    def counted() -> None:
        stolen = next(slow)
        layers[:] = [0.002 + (stolen == 1) * 0.01, 0.003 + (stolen == 2) * 0.01]
        spend(sum(layers))

    monkeypatch.setattr(clock.time, "perf_counter", lambda: now)
    turns = take_turns(lambda: spend(0.004), counted, lambda: tuple(layers), 10)
    assert turns.run_ms == pytest.approx(4)
    assert turns.counted_ms == pytest.approx(5)
    assert len(turns.quiet) == 2
    told = [typical(times, turns.quiet) for times in zip(*turns.told, strict=True)]
    assert told == pytest.approx([0.002, 0.003])


def test_warming_up_is_not_counted() -> None:
    calls: list[str] = []
    turns = take_turns(lambda: calls.append("plain"), lambda: calls.append("counted"), int, 3)
    assert calls == ["plain", "counted"] * (WARM_UP + 3)
    assert len(turns.plain) == len(turns.counted) == len(turns.told) == 3


def test_one_run_of_few_is_kept() -> None:
    assert quickest([3.0, 1.0, 2.0]) == [1]
    assert quickest([5.0, 1.0, 4.0, 3.0, 2.0, 9.0, 9.0, 9.0, 9.0, 9.0]) == [1, 4]
