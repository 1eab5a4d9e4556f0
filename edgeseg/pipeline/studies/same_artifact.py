"""How often `edgeseg compare` is wrong: runs of the same artefact, beside a busy neighbour.

    python -m edgeseg.pipeline.studies.same_artifact BUNDLE --comparisons 200 --neighbour

Each run is compared with the one before it, which must not fail, and with one whose rounds were
made 8 % slower, which must.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from edgeseg.benchmarks.compare import SPEED_WORDS, UNCLEAR, judge_speed
from edgeseg.benchmarks.comparison import SPEED_MARGIN, RunRatio
from edgeseg.benchmarks.latency import quick_ratio
from edgeseg.benchmarks.measure import time_participants
from edgeseg.benchmarks.settings import BenchSettings
from edgeseg.storage.temporary import temporary_folder

from ...bundle.bundle import open_bundle
from ...data.folder import open_sample
from ...errors import EdgesegError
from ...progress import SILENT
from ...storage.atomic import write_text
from ..measuring.local import baseline_participant, bundle_participant

INJECTED = 0.08  # of a run's time


@dataclass(frozen=True)
class SameArtifactResult:
    """Attributes:
    comparisons: Of neighbouring runs.
    false_alarms: Those that call the same artefact slower.
    found: Those of a run and one made slower that say so.
    unclear: Those of the same artefact that cannot tell.
    spread: Standard deviation of the logarithm of a run's ratio.
    spread_of_rounds: What the rounds of the runs tell of it.
    """

    comparisons: int
    false_alarms: int
    found: int
    unclear: int
    spread: float
    spread_of_rounds: float


def measure_runs(folder: Path, runs: int, inferences: int) -> list[RunRatio]:
    """Measure a bundle again and again, each time in fresh processes."""
    bundle, dataset = open_bundle(folder), open_sample(["val"]).first(4)
    settings = BenchSettings(runs=inferences)
    baseline = baseline_participant(bundle, settings, SILENT)
    participants = [baseline, bundle_participant(bundle, baseline, settings)]
    made = []
    for number in range(runs):
        with temporary_folder("same") as name:
            timings = time_participants(participants, dataset, settings, Path(name), SILENT, {})
        blocks = [timings[each.key].blocks for each in (participants[1], baseline)]
        log, without = quick_ratio(*blocks)
        waited = max(timings[each.key].waited_share or 0.0 for each in participants)
        made.append(RunRatio(log, tuple(without), waited))
        print(f"run {number + 1} of {runs}: {np.exp(log):.4f}, waited {waited:.0%}", flush=True)
    return made


def judge_runs(runs: Sequence[RunRatio], margin: float = SPEED_MARGIN) -> SameArtifactResult:
    """Compare each run with the one before it."""
    false_alarms = found = unclear = 0
    for before, after in itertools.pairwise(runs):
        verdict = judge_speed(before, after, margin)
        false_alarms += verdict == SPEED_WORDS[0]
        unclear += verdict == UNCLEAR
        slower = float(np.log1p(INJECTED))
        without = tuple(one + slower for one in after.without)
        made_slower = RunRatio(after.log + slower, without, after.waited)
        found += judge_speed(before, made_slower, margin) == SPEED_WORDS[0]
    return SameArtifactResult(
        comparisons=len(runs) - 1,
        false_alarms=false_alarms,
        found=found,
        unclear=unclear,
        spread=float(np.std([one.log for one in runs])),
        spread_of_rounds=float(np.sqrt(np.mean([one.spread**2 for one in runs]))),
    )


def be_a_neighbour(seed: int) -> None:
    """Work in bursts of up to two seconds, for ever."""
    drawn = random.Random(seed)
    while True:
        end = time.monotonic() + drawn.uniform(0.05, 2)
        while time.monotonic() < end:
            np.linalg.norm(np.ones((300, 300)) @ np.ones((300, 300)))
        time.sleep(drawn.uniform(0.05, 2))


def main() -> None:
    """Print how often the verdict was wrong."""
    parser = argparse.ArgumentParser(prog="python -m edgeseg.pipeline.studies.same_artifact")
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--comparisons", type=int, default=200)
    parser.add_argument("--runs", type=int, default=BenchSettings.runs, help="inferences of a run")
    parser.add_argument("--neighbour", action="store_true", help="work beside in bursts")
    parser.add_argument("--json-file", type=Path)
    given = parser.parse_args()
    neighbour = multiprocessing.Process(target=be_a_neighbour, args=(0,), daemon=True)
    if given.neighbour:
        neighbour.start()
    try:
        runs = measure_runs(given.bundle, given.comparisons + 1, given.runs)
    except EdgesegError as error:
        sys.exit(f"Error: {error}")
    finally:
        if given.neighbour:
            neighbour.kill()
    result = asdict(judge_runs(runs))
    print(json.dumps(result, indent=2))
    if given.json_file:
        logs = [round(run.log, 5) for run in runs]
        waited = [round(run.waited, 4) for run in runs]
        record = {**result, "log_ratios": logs, "waited": waited}
        write_text(given.json_file, json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
