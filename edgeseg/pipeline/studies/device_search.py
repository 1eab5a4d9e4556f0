"""What a search on a device costs, and how near to the best it comes, with the device killed twice.

    python -m edgeseg.pipeline.studies.device_search --model egeunet --target onnxruntime \\
        --device ssh://pi@raspberry.local --json-file search.json

In the middle of the search a worker is killed, and later the process there that all others descend
from, as when the device restarts. When it has ended, all candidates that it has timed and that keep
the limits take turns in one long run on the device, which tells the best of them.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from edgeseg.benchmarks.workers.messages import Latencies
from edgeseg.benchmarks.workers.protocol import Worker
from edgeseg.records import Artifact
from edgeseg.storage.temporary import temporary_folder
from edgeseg.targets.transports.address import SshAddress
from edgeseg.targets.transports.ssh import SshTransport

from ...errors import EdgesegError, UsageError
from ...progress import SILENT, Progress
from ...storage.atomic import write_text
from ...tuning.candidate import Candidate
from ..auto import tune
from ..builder.builder import Builder
from ..builder.context import BuildContext
from ..builder.device_settings import DeviceSettings
from ..builder.request import BuildRequest
from ..devices.ssh_candidates import CandidateWorker, SshCandidates
from ..evaluator.validation import ValidationSet
from ..measuring.device_evaluator import DeviceEvaluator
from ..measuring.device_link import device_address, link_to, tried_of

ANSWER = TypeVar("ANSWER")
KILLED = (60, 200)  # blocks of inferences after which something is killed


class Interrupted(DeviceEvaluator):
    """An evaluator whose device is killed in the middle of its work, and that counts.

    Attributes:
        blocks: Of inferences that were timed so far.
        killed: What was killed, and at which block.
        answers: How often each question was answered to its end.
    """

    current: Interrupted  # the last that was made

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.blocks = 0
        self.killed: list[tuple[str, int]] = []
        self.answers: Counter[str] = Counter()
        type(self).current = self

    def _open_worker(self, artifact: Artifact, name: str) -> Worker:
        worker = super()._open_worker(artifact, name)
        assert isinstance(worker, CandidateWorker)
        timed = worker.time

        def time_block(count: int) -> Latencies:
            self.blocks += 1
            if len(self.killed) < len(KILLED) and self.blocks >= KILLED[len(self.killed)]:
                self._kill()
            return timed(count)

        worker.time = time_block  # type: ignore[method-assign]
        return worker

    def _kill(self) -> None:
        device = self.link.device
        assert isinstance(device, SshCandidates)
        what = ("worker", "agent")[len(self.killed) % 2]
        number = device.pids[-1] if what == "worker" else device.transport.facts["pid"]
        self.killed.append((what, self.blocks))
        settings = self.context.request.device
        assert settings is not None
        address = device_address(settings)
        assert isinstance(address, SshAddress)
        with SshTransport(address, python=settings.python, timeout_s=60) as other:
            other.run(["kill", "-9", str(number)])

    def evaluate(self, candidate: Candidate) -> Any:
        return self._count(
            ("evaluate", candidate), lambda: super(Interrupted, self).evaluate(candidate)
        )

    def race(self, challenger: Candidate, incumbent: Candidate | None, attempt: int = 1) -> Any:
        question = ("race", challenger, incumbent, attempt)
        return self._count(
            question, lambda: super(Interrupted, self).race(challenger, incumbent, attempt)
        )

    def _count(self, question: object, answer: Callable[[], ANSWER]) -> ANSWER:
        found = answer()
        self.answers[repr(question)] += 1
        return found


def search_and_compare(request: BuildRequest, progress: Progress = SILENT) -> dict[str, Any]:
    """Search on the device, and let what was timed take turns afterwards; a record for JSON.

    Raises:
        EdgesegError: The device is not reached, or no candidate can be chosen.
    """
    context = BuildContext(request, progress)
    with temporary_folder("study") as work:
        builder = Builder(context, work / "work", progress)
        started = time.monotonic()
        tuning = tune(context, builder, progress, Interrupted)
        elapsed_s = time.monotonic() - started
        searched = Interrupted.current
        kept = [trial for trial in tuning.trials if trial.speedup_over_plain and not trial.reason]
        every = [Candidate.from_json(trial.candidate) for trial in kept]
        chosen = Candidate.from_json(tuning.candidate)
        every.sort(key=lambda one: one != chosen)  # what the others are compared with
        ratios = _time_all(context, builder, every, work, progress)
    best = max(ratios, key=lambda name: ratios[name])
    copies = searched.link.brought.copies
    return {
        "model": context.spec.name,
        "runtime": context.runtime.name,
        "size": list(context.spec.inputs.shape[2:]),
        "machine": tuning.machine,
        "chosen": chosen.name,
        "chosen_speedup_over_plain": _over_plain(tuning.model_dump(), tuning.candidate),
        "candidates_tried": len(tuning.trials),
        "candidates_compared": len(every),
        "best": best,
        "best_over_chosen": ratios[best],
        "killed": [f"{what} at block {block}" for what, block in searched.killed],
        "interruptions": searched.link.interruptions,
        "files_copied": len(copies),
        "files_copied_twice": sum(count > 1 for count in copies.values()),
        "megabytes_copied": round(searched.link.brought.size_bytes / 1e6, 1),
        "questions_answered": sum(searched.answers.values()),
        "questions_answered_twice": sum(count > 1 for count in searched.answers.values()),
        "device_seconds": round(searched.link.busy_s, 1),
        "search_seconds": round(tuning.search_seconds, 1),
        "elapsed_seconds": round(elapsed_s, 1),
        "ratios_over_chosen": {name: round(ratio, 4) for name, ratio in ratios.items()},
    }


def _over_plain(tuning: dict[str, Any], candidate: dict[str, Any]) -> float | None:
    rows = [row for row in tuning["final"] if row["candidate"] == candidate]
    return rows[0]["speedup_over_plain"] if rows else None


def _time_all(
    context: BuildContext,
    builder: Builder,
    candidates: list[Candidate],
    work: Path,
    progress: Progress,
) -> dict[str, float]:
    """How many times faster than the first each is, in one run on the device."""
    settings = context.request.device
    assert settings is not None
    folder = work / "compare"
    folder.mkdir()
    with link_to(settings, tried_of(context), progress) as link:
        validation = ValidationSet(context, folder, progress)
        with (
            DeviceEvaluator(context, builder, validation, folder, link) as evaluator,
            progress.stage("let all candidates take turns"),
        ):
            timings = evaluator.time_finalists(candidates)
    return {
        f"{number}: {one.name}": timing.over_first.speedup
        for number, (one, timing) in enumerate(zip(candidates, timings, strict=True))
    }


def main() -> None:
    """Print what was found, and write it where that is asked for."""
    parser = argparse.ArgumentParser(prog="python -m edgeseg.pipeline.studies.device_search")
    parser.add_argument("--device", required=True, help="ssh://USER@HOST[:PORT]")
    parser.add_argument("--device-python", default=DeviceSettings.python)
    parser.add_argument("--model", default="egeunet")
    parser.add_argument("--target", default="onnxruntime")
    parser.add_argument("--size", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--search-seconds", type=float, default=BuildRequest.search_seconds)
    parser.add_argument("--calibration-images", type=int, default=BuildRequest.calibration_images)
    parser.add_argument("--timeout", type=float, default=DeviceSettings.timeout_s)
    parser.add_argument("--json-file", type=Path)
    given = parser.parse_args()
    try:
        settings = DeviceSettings(given.device, given.device_python, timeout_s=given.timeout)
        if not isinstance(device_address(settings), SshAddress):
            raise UsageError("The study kills processes over ssh. Give --device ssh://USER@HOST.")
        request = BuildRequest(
            given.model,
            given.target,
            "auto",
            size=tuple(given.size) if given.size else None,
            search_seconds=given.search_seconds,
            calibration_images=given.calibration_images,
            device=settings,
        )
        found = search_and_compare(request)
    except EdgesegError as error:
        sys.exit(f"Error: {error}")
    print(json.dumps(found, indent=2))
    if given.json_file:
        write_text(given.json_file, json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
