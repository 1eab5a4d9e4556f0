"""Slow phases of a long run are marked and do not count."""

from __future__ import annotations

import numpy as np
import pytest

from edgeseg.benchmarks.energy import EnergyUse
from edgeseg.benchmarks.sustained import mark_windows, parse_duration, summarize_run
from edgeseg.benchmarks.workers.messages import SustainedRun
from edgeseg.cli.terminal.bench_table import describe_sustained
from edgeseg.errors import UsageError


def run_of(medians: list[float], shares: list[float] | None = None, **more: list[float]) -> object:
    count = len(medians)
    return SustainedRun(
        [float(index) for index in range(count)],
        medians,
        shares or [1.0] * count,
        [10] * count,
        more.get("clocks", []),
    )


def noisy(count: int, seed: int) -> list[float]:
    random = np.random.default_rng(seed)
    return list(2.0 * np.exp(random.normal(0, 0.02, count)))


def test_a_steady_run_has_no_marks() -> None:
    for seed in range(20):
        assert mark_windows(run_of(noisy(60, seed))) == ()


def test_a_phase_of_30_percent_is_marked_in_20_of_20_runs() -> None:
    for seed in range(20):
        medians = noisy(60, seed)
        start = 5 + seed
        medians[start : start + 10] = [1.3 * value for value in medians[start : start + 10]]
        (mark,) = mark_windows(run_of(medians))
        assert (mark.kind, mark.start_s, mark.end_s) == ("slower", start, start + 10)
        assert mark.slowdown == pytest.approx(1.3, abs=0.15)
        summary = summarize_run(run_of(medians), 60)
        assert summary["p50_ms"] == pytest.approx(2.0, abs=0.03)
        assert summary["counted_share"] == pytest.approx(50 / 60)


def test_the_end_is_told_from_the_beginning() -> None:
    """A phone that grows hot half way: the headline is of the cool half, the end is told."""
    summary = summarize_run(run_of([2.0] * 60 + [3.0] * 60), 120)
    assert summary["first_minute_ms"] == 2
    assert summary["last_minute_ms"] == 3
    assert summary["p50_ms"] == 2
    assert [mark["start_s"] for mark in summary["marks"]] == [60]


def test_causes_are_told_apart() -> None:
    medians = [2.0] * 8 + [2.6, 2.6, 2.1, 2.6]
    shares = [1.0] * 10 + [0.8, 1.0]
    clocks = [3000.0] * 8 + [2000.0, 2000.0, 3000.0, 3000.0]
    marks = mark_windows(run_of(medians, shares, clocks=clocks))
    assert [mark.kind for mark in marks] == ["throttled", "neighbour", "slower"]


def test_a_run_of_which_nothing_counts_says_so() -> None:
    summary = summarize_run(run_of([2.0, 2.0], [0.5, 0.5]), 2)
    assert summary["p50_ms"] is None
    (line,) = describe_sustained([{"name": "net", "sustained": summary}])
    assert "nothing counts over 0% of the time" in line
    assert "neighbour at 0..2 s (1.00 times as long)" in line
    assert "no energy sensor" in line
    assert describe_sustained([{"name": "net"}, {"name": "net", "sustained": None}]) == []


def test_energy_is_told_with_and_without_what_idles() -> None:
    use = EnergyUse("package-0 (RAPL)", "counter", 30.0, 2.0, 5.0)
    summary = summarize_run(run_of([2.0, 2.0]), 2, [use])
    (told,) = summary["energy"]
    assert told["mj_per_inference"] == pytest.approx(1500)
    assert told["mj_per_inference_above_idle"] == pytest.approx(1000)
    (line,) = describe_sustained([{"name": "net", "sustained": summary}])
    assert "1500.00 mJ an inference by package-0 (RAPL), 1000.00 above idle" in line


def test_durations() -> None:
    assert [parse_duration(text) for text in ("90s", "10m", "1.5h")] == [90, 600, 5400]
    for text in ("10", "0s", "m", "-3s", "0.1s"):
        with pytest.raises(UsageError, match="Write it as 90s, 10m or 1h"):
            parse_duration(text)
