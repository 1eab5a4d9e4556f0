"""Makes candidates and measures them, each in a process of its own, in turns on the same core."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import shutil
import sys
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgeseg.benchmarks.latency import TimeBlock, block_size, interleave, paired_speedup, warm_up
from edgeseg.benchmarks.process import WorkerProcess
from edgeseg.benchmarks.race import block_size as race_block_size
from edgeseg.benchmarks.race import run_race
from edgeseg.errors import EdgesegError, TargetError, WorkerKilledError
from edgeseg.lower.rewrites import REWRITES
from edgeseg.records import Artifact, RunnerSpec
from edgeseg.tuning.candidate import Choice
from edgeseg.tuning.constraints import Finding
from edgeseg.tuning.evaluator import Finish, Ratio
from edgeseg.tuning.regions import Site

from ..bench import MENDED, PLAIN, artifact_runner, baseline_artifact
from ..builder.builder import Workshop
from ..builder.context import Preparation
from .convolutions import sites_of_graph
from .validation import Judges

OPEN_AT_ONCE = 3  # processes that are kept for the next race
FINAL_RUNS = 160  # inferences of each in the last run,
FINAL_MS = 8000.0  # or as many as the slowest does in this time,
LEAST_FINAL_RUNS = 24  # but no fewer
THREADS = 1  # of each artefact


@dataclass
class _Contestant:
    """A process that has loaded an artefact and is warm."""

    worker: WorkerProcess
    median_ms: float
    peak_rss_bytes: int

    def time_block(self) -> TimeBlock:
        return lambda count: self.worker.ask("time", count=count)["latencies_ms"]


class BenchLaboratory:
    """Answers `edgeseg.tuning.search` on this machine.

    Use it as a context: processes end with it.

    Args:
        folder: For artefacts; it is the laboratory's own.
    """

    def __init__(
        self, preparation: Preparation, workshop: Workshop, judges: Judges, folder: Path
    ) -> None:
        self.preparation = preparation
        self.judges = judges
        self.folder = folder
        self.workshop = workshop
        self._artifacts: dict[str, tuple[Artifact, dict[str, int]]] = {}
        self._open: OrderedDict[str, tuple[_Contestant, contextlib.ExitStack]] = OrderedDict()
        self._sites: dict[tuple[str, ...], list[Site]] = {}

    def __enter__(self) -> BenchLaboratory:
        return self

    def __exit__(self, *error: object) -> None:
        self._close_all_but(0)

    def examine_plain(self) -> Finding:
        return self._examine(None, self.judges.few)

    def examine(self, choice: Choice) -> Finding:
        return self._finding(choice, self.judges.few)

    def score(self, choice: Choice) -> Finding:
        return self._finding(choice, len(self.judges.dataset))

    def _finding(self, choice: Choice, images: int) -> Finding:
        logging.disable(logging.WARNING)  # tools warn of what is a finding here
        try:
            return self._examine(choice, images)
        except EdgesegError as error:
            is_accident = isinstance(error, WorkerKilledError)
            return Finding(refusal=" ".join(str(error).split()), is_accident=is_accident)
        except Exception as error:
            # A rewrite or a tool that fails on this network is no reason to give up the others.
            return Finding(
                refusal=f"internal error, {type(error).__name__}: {error}",
                is_accident=isinstance(error, (OSError, MemoryError)),
            )
        finally:
            logging.disable(logging.NOTSET)

    def race(self, challenger: Choice, incumbent: Choice | None, attempt: int = 1) -> Ratio:
        try:
            return self._race(challenger, incumbent)
        except WorkerKilledError:
            return self._race(challenger, incumbent)  # with a new process

    def _race(self, challenger: Choice, incumbent: Choice | None) -> Ratio:
        theirs, ours = self._contestant(incumbent), self._contestant(challenger)
        sizes = race_block_size(ours.median_ms), race_block_size(theirs.median_ms)
        race = run_race(ours.time_block(), theirs.time_block(), sizes)
        return Ratio(race.speedup, race.low, race.high)

    def line_up(self, choices: Sequence[Choice]) -> list[Finish]:
        runners = [self._contestant(one, keep=len(choices) + 1) for one in (None, *choices)]
        slowest = max(one.median_ms for one in runners)
        runs = min(max(round(FINAL_MS / slowest), LEAST_FINAL_RUNS), FINAL_RUNS)
        sizes = [block_size(one.median_ms, runs) for one in runners]
        blocks = interleave([one.time_block() for one in runners], sizes, runs)
        plain, first = blocks[0], blocks[1]
        return [Finish(_ratio(own, plain), _ratio(own, first)) for own in blocks[1:]]

    def effective(self, rewrites: Sequence[str]) -> tuple[str, ...]:
        try:
            _, counts = self.workshop.lower(tuple(rewrites))
        except Exception:
            return tuple(rewrites)  # to be examined, and refused with the reason
        return tuple(name for name in REWRITES if counts.get(name))

    def graph_bytes(self, rewrites: Sequence[str]) -> int:
        try:
            return self.workshop.lower(tuple(rewrites))[0].stat().st_size
        except Exception:
            return sys.maxsize  # to be left out first

    def sites(self, rewrites: Sequence[str]) -> list[Site]:
        key = tuple(rewrites)
        if key not in self._sites:
            self._sites[key] = sites_of_graph(self.workshop.lower(key)[0])
        return self._sites[key]

    def _examine(self, choice: Choice | None, images: int) -> Finding:
        artifact, layers = self._artifact(choice)
        contestant = self._contestant(choice)
        if choice is None:
            # Only its size and memory count: it may compute something else.
            return Finding("", artifact.size_bytes, contestant.peak_rss_bytes)
        result = self.folder / "labels.npy"
        contestant.worker.ask(
            "label_prepared",
            images=str(self.judges.images),
            count=images,
            outputs=self.preparation.spec.outputs.to_json(),
            result=str(result),
        )
        judged = self.judges.judge(np.load(result))
        return Finding(
            "",
            artifact.size_bytes,
            contestant.peak_rss_bytes,
            judged.flips_per_10k,
            judged.dice_drop,
            images,
            layers,
            judged.hd95_growth,
        )

    def _artifact(self, choice: Choice | None) -> tuple[Artifact, dict[str, int]]:
        """What the runtime loads, and what is known of its INT8 part."""
        key = _key_of(choice)
        if key not in self._artifacts:
            place = self.folder / key
            shutil.rmtree(place, ignore_errors=True)
            if choice is None:
                self._artifacts[key] = self._plain_artifact(), {}
            else:
                made = self.workshop.make(choice, place)
                layers = made.quantization.layers if made.quantization else {}
                self._artifacts[key] = made.artifact, dict(layers)
        return self._artifacts[key]

    def _plain_artifact(self) -> Artifact:
        """The plain export; where the runtime's own tool refuses that, the mended one."""
        onnx_path, _ = self.preparation.exported
        target = self.preparation.target
        try:
            return baseline_artifact(target, onnx_path, PLAIN)
        except TargetError:
            return baseline_artifact(target, onnx_path, MENDED)

    def _contestant(self, choice: Choice | None, keep: int = OPEN_AT_ONCE) -> _Contestant:
        key = _key_of(choice)
        if key in self._open and self._open[key][0].worker.has_ended:
            self._open.pop(key)[1].close()
        if key not in self._open:
            artifact, _ = self._artifact(choice)
            self._close_all_but(keep - 1)
            with contextlib.ExitStack() as stack:
                contestant = self._start(choice, artifact, stack)
                self._open[key] = contestant, stack.pop_all()
        self._open.move_to_end(key)
        return self._open[key][0]

    def _start(
        self, choice: Choice | None, artifact: Artifact, stack: contextlib.ExitStack
    ) -> _Contestant:
        runner = self._runner(artifact)
        name = choice.name if choice else "the plain export"
        worker = stack.enter_context(WorkerProcess(name, runner))
        images = str(self.judges.timed_images)
        loaded = worker.ask("load", runner=runner.to_json(), images=images)
        worker.ask("first")
        warm = warm_up(lambda count: worker.ask("time", count=count)["latencies_ms"])
        # Memory is read before other work; loading and running are what it is for.
        peak = worker.ask("memory")["peak_rss_bytes"] - loaded["bare_rss_bytes"]
        return _Contestant(worker, warm.median_ms, peak)

    def _runner(self, artifact: Artifact) -> RunnerSpec:
        return artifact_runner(
            self.preparation.target.name,
            artifact.folder,
            artifact.files,
            artifact.runtime,
            THREADS,
        )

    def _close_all_but(self, count: int) -> None:
        """End the processes that were not used for longest, and drop their artefacts."""
        while len(self._open) > max(count, 0):
            key, (_, stack) = self._open.popitem(last=False)
            stack.close()
            self._artifacts.pop(key, None)
            shutil.rmtree(self.folder / key, ignore_errors=True)


def _key_of(choice: Choice | None) -> str:
    if choice is None:
        return PLAIN
    text = json.dumps(choice.to_json(), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _ratio(own: list[list[float]], other: list[list[float]]) -> Ratio:
    speedup, (low, high) = paired_speedup(own, other)
    return Ratio(speedup, low, high)
