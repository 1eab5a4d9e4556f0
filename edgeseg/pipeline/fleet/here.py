"""A sweep in one process: builds first, then the measurements."""

from __future__ import annotations

import time
from pathlib import Path

from edgeseg.progress import Progress

from .board import Board, Group
from .cells import SweepBuild
from .work import Work, taking_turns

POLL_S = 0.5  # while others run what is left


def run_here(board: Board, work: Work, folder: Path, progress: Progress) -> None:
    """Work until every cell is settled, by this driver or by another.

    Args:
        folder: Of the sweep.
    """
    told = False
    with board.store.beating():
        while not board.is_complete():
            builds, groups = board.open_builds(), board.open_groups()
            if builds:
                _build_all(board, work, folder, progress, builds)
            elif groups:
                _measure(board, work, folder, progress, groups[0])
            else:
                if not told and (others := board.others()):
                    places = ", ".join({f"process {other.pid}" for other in others})
                    board.tell(f"Waiting for {len(others)} steps of another driver ({places}).")
                    told = True
                time.sleep(POLL_S)
            board.refresh()


def _build_all(
    board: Board, work: Work, folder: Path, progress: Progress, builds: list[SweepBuild]
) -> None:
    counts = {"built": 0, "not built": 0}
    with progress.stage("build all", total=len(builds)) as stage:
        for build in builds:
            if board.store.claim([build.key]):
                stage.note(build.folder.name)
                is_built = _build(board, work, folder, progress, build)
                counts["built" if is_built else "not built"] += 1
            stage.advance()
        stage.note(", ".join(f"{count} {what}" for what, count in counts.items() if count))


def _build(board: Board, work: Work, folder: Path, progress: Progress, build: SweepBuild) -> bool:
    with taking_turns(folder, alone=bool(build.device)):  # a search measures
        board.store.note([build.key], "started")
        started = time.monotonic()
        try:
            bundle = work.build(build.request, progress)
        except Exception as error:  # one cell that fails does not stop the others
            board.not_built(build, error)
            return False
    board.built(build, bundle, time.monotonic() - started)
    return True


def _measure(board: Board, work: Work, folder: Path, progress: Progress, group: Group) -> None:
    if not board.claim(group):
        time.sleep(POLL_S)
        return
    with progress.stage(group.title) as stage, taking_turns(folder, alone=True):
        board.store.note(group.keys, "started")
        started = time.monotonic()
        try:
            report = work.measure(group.measurement, progress)
        except Exception as error:
            stage.note("failed")
            board.not_measured(group, error)
            return
    board.measured(group, report, time.monotonic() - started)
