"""Forty cells on a Ray cluster of two nodes, whose workers and whose driver are killed meanwhile.

    python -m edgeseg.pipeline.studies.fleet --output runs/fleet-study

Both nodes are on this machine, so that the measured times mean nothing; what counts is that every
cell is done, and done once. Needs the extra `fleet`. Takes some ten minutes on two cores.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgeseg.lazy import prepare_environment, require
from edgeseg.pipeline.fleet.store import STORE_NAME, Store
from edgeseg.pipeline.fleet.sweep_file import read_sweep_file
from edgeseg.storage.atomic import write_text

PLAN = """models = ["ulite"]
targets = ["onnxruntime", "native"]
precisions = ["fp32", "int8"]
sizes = ["32x32", "64x64", "96x96", "128x128", "160x160"]
devices = ["first", "second"]
runs = 2
images = 4
calibration_images = 4
"""
TASK = "ray::perform"  # how Ray names a process while it does a step
RESULTS = "study.json"
LONGEST_S = 1800.0
BUSY_S = 1.5


@contextlib.contextmanager
def two_nodes() -> Iterator[str]:
    """Address of a cluster whose nodes offer a device each."""
    require("ray", purpose="The study of a fleet")
    cluster_utils = require("ray.cluster_utils", purpose="The study of a fleet")
    head = {"num_cpus": 1, "resources": {"device:first": 1}, "include_dashboard": False}
    cluster = cluster_utils.Cluster(initialize_head=True, head_node_args=head)
    cluster.add_node(num_cpus=1, resources={"device:second": 1})
    try:
        yield str(cluster.address)
    finally:
        cluster.shutdown()


def start(file: Path, output: Path, address: str) -> subprocess.Popen[str]:
    """A driver."""
    words = ["sweep", str(file), "--output", str(output), "--address", address]
    return subprocess.Popen(
        [sys.executable, "-m", "edgeseg", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def workers() -> list[int]:
    """Processes that do a step."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if TASK.encode() in path.read_bytes():
                found.append(int(path.parent.name))
    return found


def events(output: Path) -> list[tuple[str, str, str]]:
    if not (output / STORE_NAME).is_file():
        return []
    with Store(output / STORE_NAME) as store:
        return store.log()


def wait_for(output: Path, event: str, count: int) -> None:
    """Wait until an event has come so often."""
    ended = time.monotonic() + LONGEST_S
    while sum(found == event for _, found, _ in events(output)) < count:
        if time.monotonic() > ended:
            raise TimeoutError(f"{event} came less than {count} times")
        time.sleep(0.3)


def kill_a_worker() -> int:
    """End a process in the middle of a step: one that has been at it for some time."""
    while True:
        before = workers()
        time.sleep(BUSY_S)
        if found := sorted(set(before) & set(workers())):
            os.kill(found[0], signal.SIGKILL)
            return found[0]


def run_study(output: Path) -> dict[str, Any]:
    """Sweep with three kills, and count what was begun and written."""
    output.mkdir(parents=True, exist_ok=True)
    file = output / "sweep.toml"
    write_text(file, PLAN)
    folder = output / "sweep"
    missing = output / "missing.toml"
    write_text(missing, PLAN.replace('"second"', '"pi5"'))
    begun = time.monotonic()
    with two_nodes() as address:
        asked = time.monotonic()
        driver = start(missing, output / "missing", address)
        words, _ = driver.communicate(timeout=LONGEST_S)
        refused_s = time.monotonic() - asked
        driver = start(file, folder, address)
        wait_for(folder, "done", 4)
        killed = [kill_a_worker()]
        wait_for(folder, "done", 24)  # twenty builds, and the first measured cells
        killed.append(kill_a_worker())
        wait_for(folder, "done", 36)
        driver.kill()
        driver.communicate()
        before = written(folder)
        driver = start(file, folder, address)
        text, _ = driver.communicate(timeout=LONGEST_S)
    cells = len(read_sweep_file(file).points())
    return {
        "cells": cells,
        "exit_code": driver.returncode,
        "last_lines": text.splitlines()[-3:],
        "missing_device": {"seconds": refused_s, "message": words.strip().splitlines()[0]},
        "killed_workers": len(killed),
        "killed_drivers": 1,
        "done_before_the_driver_was_killed": len(before),
        **counts(folder, set(before)),
        "seconds": time.monotonic() - begun,
    }


def written(folder: Path) -> Counter[str]:
    """How often each step's result was written."""
    return Counter(step for step, event, _ in events(folder) if event == "done")


def counts(folder: Path, before: set[str]) -> dict[str, Any]:
    """What the store's log says of the whole sweep.

    Args:
        before: Steps that were done when the driver was killed.
    """
    log = events(folder)
    done = written(folder)
    first = next(owner for _, _, owner in log)
    later = [(step, event) for step, event, owner in log if owner != first]
    again = [step for step, event in later if event == "started" and step in before]
    with Store(folder / STORE_NAME) as store:
        states = Counter(step.state for step in store.steps(done).values())
    return {
        "steps_done": states["done"],
        "written_more_than_once": sum(count > 1 for count in done.values()),
        "begun_again_after_they_were_done": len(again),
        "begun": sum(event == "started" for _, event, _ in log),
        "lost_with_a_worker": sum(event == "lost" for _, event, _ in log),
        "taken_back_from_the_driver": sum(event == "taken back" for _, event, _ in log),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="folder for all that is made")
    options = parser.parse_args()
    prepare_environment()
    found = run_study(options.output.resolve())
    write_text(options.output / RESULTS, json.dumps(found, indent=2) + "\n")
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
