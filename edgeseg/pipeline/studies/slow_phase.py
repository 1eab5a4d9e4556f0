"""How often a slow phase of a long run is marked: one is put into each of many runs.

    python -m edgeseg.pipeline.studies.slow_phase BUNDLE --runs 20 --json-file FILE

Half of the runs share their core for a while with a process that takes 30 % of its time, as a
neighbour does. In the other half each inference takes 30 % longer for a while, as on a core whose
clock falls without the system telling so.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgeseg.benchmarks.process import ProcessRunner
from edgeseg.benchmarks.sustained import WINDOW_S, Mark, mark_windows
from edgeseg.benchmarks.workers.cpu import allowed_cores
from edgeseg.benchmarks.workers.messages import Sustain, SustainedRun
from edgeseg.storage.temporary import temporary_folder

from ...bundle.bundle import open_bundle
from ...data.folder import open_sample
from ...errors import EdgesegError
from ...storage.atomic import write_text
from ..builder.runners import ArtifactRunner

SLOWER = 0.3  # share by which inferences take longer, or of the core that a neighbour takes
KINDS = ("neighbour", "slower")
TURN_S = 0.02  # in which the neighbour works and rests once


@dataclass(frozen=True)
class Phase:
    """One run with a slow phase.

    Attributes:
        kind: "neighbour" or "slower", as it was put in.
        start_s, end_s: Of the phase, since the beginning of the run.
        marked: Share of its whole windows that are marked.
        marked_elsewhere: Share of the windows outside that are, by other neighbours or wrongly.
        is_found: At least nine tenths of its windows are marked.
    """

    kind: str
    start_s: float
    end_s: float
    marked: float
    marked_elsewhere: float

    @property
    def is_found(self) -> bool:
        return self.marked >= 0.9


def judge_phase(
    kind: str, start_s: float, end_s: float, run: SustainedRun, marks: Sequence[Mark]
) -> Phase:
    """How much of a phase is marked, and of the rest.

    Windows that lie in part inside and in part outside are left out of both.
    """
    inside, outside = [], []
    for start in run.starts_s:
        end = start + WINDOW_S
        is_marked = any(mark.start_s <= start and end <= mark.end_s + 1e-9 for mark in marks)
        if start_s <= start and end <= end_s:
            inside.append(is_marked)
        elif end <= start_s or start >= end_s:
            outside.append(is_marked)
    return Phase(kind, start_s, end_s, _share(inside), _share(outside))


def _share(marked: Sequence[bool]) -> float:
    return sum(marked) / len(marked) if marked else 0.0


@dataclass(frozen=True)
class SlowedRunner(ProcessRunner):
    """An artefact whose inferences take longer while a file exists.

    Attributes:
        signal: The file.
    """

    inner: ArtifactRunner
    signal: Path
    threads: int = 1

    def to_json(self) -> dict[str, Any]:
        return {"inner": self.inner.to_json(), "signal": str(self.signal)}

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> SlowedRunner:
        return cls(ArtifactRunner.from_json(record["inner"]), Path(record["signal"]))

    def modules(self) -> Sequence[str]:
        return self.inner.modules()

    def open(self) -> _Slowed:
        return _Slowed(self.inner.open(), self.signal)


class _Slowed:
    def __init__(self, backend: Any, signal: Path) -> None:
        self._backend = backend
        self._signal = signal

    def run(self, image: Any) -> Any:
        started = time.perf_counter()
        mask = self._backend.run(image)
        took = time.perf_counter() - started
        if self._signal.exists():
            while time.perf_counter() - started < took * (1 + SLOWER):
                pass
        return mask


@contextmanager
def slow_phase(kind: str, signal: Path, start_s: float, end_s: float) -> Iterator[None]:
    """Slow what runs on the first core from a time to another, while the block lasts."""

    def work() -> None:
        time.sleep(start_s)
        if kind == "slower":
            signal.touch()
        else:
            neighbour.start()
        time.sleep(end_s - start_s)
        if kind == "slower":
            signal.unlink()
        else:
            neighbour.kill()
            neighbour.join()

    neighbour = multiprocessing.get_context("spawn").Process(target=share_the_core, daemon=True)
    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def share_the_core() -> None:
    """Take 30 % of the first core, in turns, for ever."""
    os.sched_setaffinity(0, allowed_cores()[:1])
    while True:
        end = time.perf_counter() + TURN_S * SLOWER
        while time.perf_counter() < end:
            pass
        time.sleep(TURN_S * (1 - SLOWER))


def measure_phase(bundle: Path, kind: str, seconds: float, start_s: float, end_s: float) -> Phase:
    """One long run of a bundle with a slow phase."""
    opened = open_bundle(bundle)
    image = open_sample(["val"]).pairs[0].read_image(opened.inputs)
    with temporary_folder("phase") as name:
        import numpy as np

        images, signal = Path(name) / "images.npy", Path(name) / "slow"
        np.save(images, opened.inputs.prepare(image)[None])
        runner = SlowedRunner(ArtifactRunner(opened.artifact, 1), signal)
        with runner.open_worker(opened.name) as worker:
            worker.load(str(images))
            worker.first()
            worker.time(50)
            # A process takes a while to start: the phase begins before it is looked for.
            early = 1.0 if kind == "neighbour" else 0.0
            with slow_phase(kind, signal, start_s - early, end_s + early):
                run = worker.sustain(Sustain(seconds, WINDOW_S, 1))
    return judge_phase(kind, start_s, end_s, run, mark_windows(run))


def main() -> None:
    """Print how many of the slow phases were marked."""
    parser = argparse.ArgumentParser(prog="python -m edgeseg.pipeline.studies.slow_phase")
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=16.0, help="length of a run")
    parser.add_argument("--json-file", type=Path)
    given = parser.parse_args()
    phases = []
    try:
        for number in range(given.runs):
            start = 3.0 + number % 4
            end = start + given.seconds / 3
            kind = KINDS[number % len(KINDS)]
            phases.append(measure_phase(given.bundle, kind, given.seconds, start, end))
            print(f"run {number + 1} of {given.runs}: {phases[-1]}", flush=True)
    except EdgesegError as error:
        sys.exit(f"Error: {error}")
    result = {
        "runs": len(phases),
        "found": sum(one.is_found for one in phases),
        "marked_elsewhere": round(sum(one.marked_elsewhere for one in phases) / len(phases), 4),
    }
    print(json.dumps(result, indent=2))
    if given.json_file:
        record = {**result, "phases": [asdict(one) for one in phases]}
        write_text(given.json_file, json.dumps(record) + "\n")


if __name__ == "__main__":
    # Workers import the runner by the name of its module, which is not that of a program.
    from edgeseg.pipeline.studies import slow_phase as this_module

    this_module.main()
