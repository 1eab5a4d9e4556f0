from __future__ import annotations

import multiprocessing
import os
import time
from pathlib import Path

import pytest

from edgeseg.benchmarks.sustained import mark_windows
from edgeseg.benchmarks.workers.messages import SustainedRun
from edgeseg.pipeline.studies.slow_phase import SlowedRunner, judge_phase, slow_phase


class FakeArtifact:
    """Opens what takes two milliseconds."""

    def open(self) -> FakeArtifact:
        return self

    def run(self, image: str) -> str:
        time.sleep(0.002)
        return image


def run_of(medians: list[float]) -> SustainedRun:
    count = len(medians)
    return SustainedRun(
        [float(index) for index in range(count)], medians, [1.0] * count, [9] * count, []
    )


def test_a_marked_phase_is_found_and_nothing_else() -> None:
    run = run_of([1.0] * 5 + [1.3] * 5 + [1.0] * 10)
    phase = judge_phase("slower", 5, 10, run, mark_windows(run))
    assert (phase.marked, phase.marked_elsewhere, phase.is_found) == (1, 0, True)


def test_a_phase_that_is_not_marked_is_not_found() -> None:
    run = run_of([1.0] * 20)
    phase = judge_phase("slower", 5, 10, run, mark_windows(run))
    assert (phase.marked, phase.is_found) == (0, False)
    other = run_of([1.3] * 4 + [1.0] * 16)
    assert judge_phase("slower", 5, 10, other, mark_windows(other)).marked_elsewhere == 4 / 15


def test_inferences_are_slower_while_the_phase_lasts(tmp_path: Path) -> None:
    signal = tmp_path / "slow"
    backend = SlowedRunner(FakeArtifact(), signal).open()  # type: ignore[arg-type]
    with slow_phase("slower", signal, 0.05, 0.2):
        time.sleep(0.1)
        assert signal.exists()
        started = time.perf_counter()
        assert backend.run("image") == "image"
        assert time.perf_counter() - started >= 0.002 * 1.3
    assert not signal.exists()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="processes cannot be pinned here")
def test_a_neighbour_takes_its_share_of_the_core_and_ends(tmp_path: Path) -> None:
    with slow_phase("neighbour", tmp_path / "slow", 0.0, 3.0):
        time.sleep(2.9)
        (neighbour,) = multiprocessing.active_children()
        fields = Path(f"/proc/{neighbour.pid}/stat").read_text().split()
        assert int(fields[13]) > 0, "it computes"
    assert not neighbour.is_alive()
