"""Gives edgeseg thousands of hostile inputs and reports what was neither taken nor refused.

    make hostile                                      10,000 inputs, some minutes
    .venv/bin/python tests/hostile/run.py --kind images --inputs 500
    .venv/bin/python tests/hostile/run.py --kind images --only 37      one of them again

An input is right when it is used, or refused with one message of edgeseg's that ends in advice.
Everything else is a fault: another exception, a hang, the end of the process, a message that is
long or holds control characters, a file written outside the folder, a process or a connection that
is started. Inputs follow from the seed, the kind and their number alone.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from guard import REFUSED, TAKEN
from kinds import SHARES

SECONDS = 20.0  # an input may take
GRACE = 25.0  # and then its process, before it is ended
START = 240.0  # a process may take until its first input
PART = 400  # inputs that one process runs


@dataclass
class Tally:
    """What came of one kind."""

    verdicts: Counter[str] = field(default_factory=Counter)
    faults: list[tuple[int, str, str]] = field(default_factory=list)

    def add(self, index: int, verdict: str, words: str) -> None:
        self.verdicts[verdict] += 1
        if verdict not in (TAKEN, REFUSED):
            self.faults.append((index, verdict, words))


def run_part(kind: str, first: int, count: int, seed: int, folder: Path, tally: Tally) -> None:
    """Run some inputs in as many processes as it takes: one that ends begins after the fault."""
    end = first + count
    while first < end:
        reached = first
        for index, verdict, words in _verdicts(kind, first, end - first, seed, folder):
            tally.add(index, verdict, words)
            reached = index + 1
        first = max(reached, first + 1)


def _verdicts(
    kind: str, first: int, count: int, seed: int, folder: Path
) -> Iterator[tuple[int, str, str]]:
    command = [sys.executable, str(HERE / "worker.py"), kind, str(first), str(count), str(seed)]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [*command, str(folder), str(SECONDS)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env=environment,
    )
    lines: queue.Queue[str] = queue.Queue()
    assert process.stdout is not None
    reader = threading.Thread(target=_read, args=(process.stdout, lines), daemon=True)
    reader.start()
    current, wait, done = first, START, 0
    while done < count:
        try:
            line = lines.get(timeout=wait)
        except queue.Empty:
            process.kill()
            yield current, "hang", "The process did not answer to its alarm."
            break
        if not line:
            process.wait()
            words = process.stderr.read()[-600:] if process.stderr else ""
            yield current, f"crash {process.returncode}", words
            break
        answer: dict[str, Any] = json.loads(line)
        current, wait = answer["index"], SECONDS + GRACE
        if "verdict" in answer:
            done += 1
            yield current, answer["verdict"], answer["words"]
    process.kill()
    process.wait()


def _read(stream: Any, lines: queue.Queue[str]) -> None:
    for line in stream:
        lines.put(line)
    lines.put("")


def run_all(
    kinds: dict[str, int], seed: int, folder: Path, jobs: int, first: int = 0
) -> dict[str, Tally]:
    """Run so many inputs of each kind, `jobs` processes at once."""
    tallies = {kind: Tally() for kind in kinds}
    parts: queue.Queue[tuple[str, int, int]] = queue.Queue()
    for kind, count in kinds.items():
        for start in range(0, count, PART):
            parts.put((kind, first + start, min(PART, count - start)))

    def work(number: int) -> None:
        while True:
            try:
                kind, start, count = parts.get_nowait()
            except queue.Empty:
                return
            place = folder / f"{kind}-{number}"
            run_part(kind, start, count, seed, place, tallies[kind])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return tallies


def describe(tallies: dict[str, Tally], seconds: float) -> str:
    """A line for each kind, and each fault once with the numbers of the inputs that show it."""
    lines = [f"{'kind':14}{'inputs':>8}{'taken':>8}{'refused':>9}{'faults':>8}"]
    for kind, tally in tallies.items():
        counts = tally.verdicts
        lines.append(
            f"{kind:14}{counts.total():8}{counts[TAKEN]:8}{counts[REFUSED]:9}{len(tally.faults):8}"
        )
    total = sum(tally.verdicts.total() for tally in tallies.values())
    faults = sum(len(tally.faults) for tally in tallies.values())
    lines.append(f"{total} inputs in {seconds:.0f} s, {faults} faults")
    for kind, tally in tallies.items():
        groups: dict[tuple[str, str], list[int]] = {}
        words: dict[tuple[str, str], str] = {}
        for index, verdict, text in tally.faults:
            key = verdict, text.rstrip().rpartition("File ")[2] or text[:60]
            groups.setdefault(key, []).append(index)
            words.setdefault(key, text)
        for key, numbers in sorted(groups.items(), key=lambda item: -len(item[1])):
            shown = ", ".join(map(str, numbers[:5]))
            lines.append(f"\n{kind}: {key[0]}, {len(numbers)} times (inputs {shown})\n{words[key]}")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=10_000, help="of all kinds together")
    parser.add_argument("--kind", choices=sorted(SHARES), help="this kind alone")
    parser.add_argument("--only", type=int, help="number of the one input of --kind to run")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    arguments = parser.parse_args()
    whole = sum(SHARES.values())
    if arguments.kind:
        kinds = {arguments.kind: 1 if arguments.only is not None else arguments.inputs}
    else:
        kinds = {kind: share * arguments.inputs // whole for kind, share in SHARES.items()}
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="hostile-") as folder:
        make = [sys.executable, str(HERE / "material.py"), str(Path(folder) / "material")]
        subprocess.run(make, check=True)
        tallies = run_all(kinds, arguments.seed, Path(folder), arguments.jobs, arguments.only or 0)
    print(describe(tallies, time.monotonic() - started))
    return 1 if any(tally.faults for tally in tallies.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
