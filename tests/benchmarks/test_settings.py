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
