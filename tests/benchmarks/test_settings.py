from __future__ import annotations

import pytest

from edgeseg.benchmarks.settings import BenchSettings
from edgeseg.errors import UsageError


def test_more_threads_than_cores_are_refused() -> None:
    with pytest.raises(UsageError, match=r"9999 threads were asked for.*Lower --threads"):
        BenchSettings(threads=9999).require_cores()


@pytest.mark.parametrize("setting", ["threads", "runs", "timing_images"])
def test_settings_are_at_least_one(setting: str) -> None:
    with pytest.raises(UsageError, match=f"number of {setting} is 0; it must be at least 1"):
        BenchSettings(**{setting: 0})


@pytest.mark.parametrize("counts", [(1, 2), (2, 2), (0,)])
def test_a_sweep_names_other_numbers_once(counts: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="Name other numbers from 1 on, each once"):
        BenchSettings(threads=1, sweep_threads=counts)


def test_a_sweep_over_more_threads_than_cores_is_refused() -> None:
    with pytest.raises(UsageError, match=r"9999 threads were asked for"):
        BenchSettings(sweep_threads=(9999,)).require_cores()
