"""Progress: plain lines where nobody watches, bars that move where somebody does."""

from __future__ import annotations

import errno
import io
import os
import pty
import re
import subprocess
import sys
import threading

import pytest
from rich.console import Console

from edgeseg.cli.terminal.progress import (
    BarProgress,
    LineProgress,
    finished_line,
    format_seconds,
    make_progress,
)


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def lines_of(console: Console) -> list[str]:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), width=80)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (4.12, "4.1 s"), (125.4, "2 min 05 s"), (3720, "1 h 2 min")],
)
def test_seconds_are_told_in_units_that_fit(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


def test_a_finished_stage_is_one_line(console: Console) -> None:
    clock = Clock()
    with LineProgress(console, clock).stage("export to ONNX"):
        assert lines_of(console) == []  # nothing beforehand
        clock.now += 4.1
    assert lines_of(console) == ["export to ONNX  4.1 s"]


def test_a_note_ends_the_line(console: Console) -> None:
    with LineProgress(console, Clock()).stage("train") as stage:
        stage.note("first")
        stage.note("loss [red]0.2")
    assert lines_of(console) == ["train  0.0 s, loss [red]0.2"]


def test_stages_within_a_stage_leave_no_line(console: Console) -> None:
    progress = LineProgress(console, Clock())
    with progress.stage("build"), progress.stage("compile"), progress.stage("read"):
        pass
    with progress.stage("check"):
        pass
    assert lines_of(console) == ["build  0.0 s", "check  0.0 s"]


def test_a_failed_stage_leaves_no_line_and_the_next_one_does(console: Console) -> None:
    progress = LineProgress(console, Clock())
    with pytest.raises(ValueError, match="broken"), progress.stage("build"):
        raise ValueError("broken")
    with progress.stage("check"):
        pass
    assert lines_of(console) == ["check  0.0 s"]


def test_a_long_stage_gives_signs_of_life() -> None:
    came = threading.Event()

    class Watched(io.StringIO):
        def write(self, text: str) -> int:
            if " ... " in text:
                came.set()
            return super().write(text)

    console, clock = Console(file=Watched(), width=80), Clock()
    progress = LineProgress(console, clock, heartbeat_s=0.01)
    with progress.stage("search"), progress.stage("calibrate", total=64) as stage:
        stage.advance(12)
        clock.now += 31
        came.clear()  # one may have come before the clock moved on
        assert came.wait(timeout=60)
    assert "search: calibrate, 12 of 64 ... 31.0 s" in lines_of(console)
    assert not any(thread.name == "edgeseg-progress" for thread in threading.enumerate())


class Broken(io.StringIO):
    """A terminal that has gone."""

    def __init__(self, is_terminal: bool) -> None:
        super().__init__()
        self.is_terminal = is_terminal

    def isatty(self) -> bool:
        return self.is_terminal

    def write(self, _: str) -> int:
        raise OSError(errno.EIO, "gone")


@pytest.mark.parametrize("is_terminal", [False, True])
def test_work_goes_on_when_the_terminal_is_gone(is_terminal: bool) -> None:
    console = Console(file=Broken(is_terminal), width=80, _environ={"TERM": "xterm"})
    progress = make_progress(console)
    assert isinstance(progress, BarProgress if is_terminal else LineProgress)
    finished = []
    for title in ("build", "check"):
        with progress.stage(title, total=2) as stage:
            stage.advance()
            stage.note("half")
            finished.append(title)
    assert finished == ["build", "check"]


def test_lines_are_chosen_without_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # as some build servers do
    assert isinstance(make_progress(Console(file=io.StringIO())), LineProgress)


PROGRAM = """
import sys, time
from rich.console import Console
from edgeseg.cli.terminal.progress import make_progress

progress = make_progress(Console(file=sys.stderr, highlight=False))
with progress.stage("build a bundle", total=4) as stage:
    for step in range(4):
        with progress.stage("calibrate [x]", total=10) as inner:
            for _ in range(10):
                inner.advance()
                time.sleep(0.03)
        stage.note("a note that is far too long for one line of a terminal with 80 columns")
        stage.advance()
with progress.stage("check"):
    time.sleep(0.3)
"""


def test_bars_move_on_a_terminal() -> None:
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        stdout=subprocess.DEVNULL,
        stderr=follower,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "80", "LINES": "24"},
    )
    os.close(follower)
    parts = []
    while True:
        try:
            part = os.read(leader, 65536)
        except OSError:  # Linux: the other end is closed
            break
        if not part:
            break
        parts.append(part)
    os.close(leader)
    assert process.wait() == 0
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", b"".join(parts).decode())
    shares = {int(share) for share in re.findall(r"(\d+) %", text)}
    assert len(shares) > 3  # it moved
    assert "calibrate [x]" in text  # the stage within the stage, its name as it is
    assert re.search(r"\d\.\d s, \d\.\d s left", text)
    rows = [row.rstrip() for row in re.split(r"[\r\n]+", text)]
    assert max(len(row) for row in rows if "━" in row) <= 80
    kept = [row for row in rows if re.fullmatch(r"(build a bundle|check)  \d\.\d s.*", row)]
    assert len(kept) == 2


def test_a_line_holds_title_time_and_note() -> None:
    assert finished_line("time", 61.0, "3 rounds") == "time  1 min 01 s, 3 rounds"
