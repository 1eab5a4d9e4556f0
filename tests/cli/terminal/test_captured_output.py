"""What other packages print stays off the terminal, and is found again where something fails."""

from __future__ import annotations

import contextlib
import ctypes
import io
import logging
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest

from edgeseg.cli.terminal.captured_output import (
    KEPT_LOGS,
    captured_output,
    notes_of,
    terminal_stderr,
    terminal_stdout,
)
from edgeseg.errors import TargetError, UsageError
from edgeseg.lazy import ENVIRONMENT


@pytest.fixture(autouse=True)
def logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGESEG_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("EDGESEG_DEBUG", raising=False)
    return tmp_path / "cache" / "logs"


def be_noisy() -> None:
    """Print in each way in which packages do."""
    print("by print")
    sys.stderr.write("by sys.stderr\n")
    warnings.warn("by a warning", UserWarning, stacklevel=1)
    logging.getLogger("a-package").error("by a logger")
    os.write(1, b"by descriptor 1\n")
    os.write(2, b"by descriptor 2\n")
    ctypes.CDLL(None).puts(b"by the C library")
    subprocess.run([sys.executable, "-c", "print('by a child')"], check=True)


WAYS = ("print", "sys.stderr", "descriptor 1", "descriptor 2", "the C library", "a child")


def test_only_our_own_words_reach_the_terminal(
    capfd: pytest.CaptureFixture[str], logs: Path
) -> None:
    with warnings.catch_warnings(), captured_output():
        warnings.simplefilter("default")
        be_noisy()
        print("a result", file=terminal_stdout())
        print("a note", file=terminal_stderr())
    print("afterwards")
    output = capfd.readouterr()
    assert output.out == "a result\nafterwards\n"
    assert output.err == "a note\n"
    (log,) = logs.iterdir()
    text = log.read_text()
    assert all(f"by {way}" in text for way in WAYS)


def test_a_stream_that_another_has_put_in_place_is_kept() -> None:
    with contextlib.redirect_stdout(io.StringIO()) as taken, captured_output():
        print("by a package")
        print("a result", file=terminal_stdout())
    assert taken.getvalue() == "a result\n"


def test_a_quiet_command_leaves_no_log(logs: Path) -> None:
    with captured_output():
        print("a result", file=terminal_stdout())
    assert list(logs.iterdir()) == []


def test_a_translated_error_names_the_log_with_its_cause(logs: Path) -> None:
    told = TargetError("It does not compile. Build another.")
    told.__cause__ = RuntimeError("the compiler gives up")
    with pytest.raises(TargetError) as caught, captured_output():
        raise told
    (log,) = logs.iterdir()
    assert notes_of(caught.value) == [f"Details: {log}"]
    assert "RuntimeError: the compiler gives up" in log.read_text()


@pytest.mark.parametrize("error", [UsageError("No. Do that."), TargetError("No. Do that.")])
def test_an_error_that_says_all_names_no_log(error: Exception, logs: Path) -> None:
    with pytest.raises(type(error)) as caught, captured_output():
        raise error
    assert notes_of(caught.value) == []
    assert list(logs.iterdir()) == []


def test_the_newest_logs_are_kept(logs: Path) -> None:
    logs.mkdir(parents=True)
    for index in range(KEPT_LOGS + 3):
        (logs / f"202001{index + 1:02}-000000-1.log").write_text("old")
    (logs / "notes.txt").write_text("the user's own")
    with captured_output():
        print("by a package")
    names = sorted(path.name for path in logs.glob("*.log"))
    assert len(names) == KEPT_LOGS
    assert names[0] == "20200105-000000-1.log"
    assert (logs / "notes.txt").exists()


def test_a_cache_that_cannot_be_written_is_no_reason_to_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EDGESEG_CACHE_DIR", str(tmp_path / "file" / "cache"))
    with captured_output():
        print("by a package")
        print("a result", file=terminal_stdout())
    assert capfd.readouterr().out == "a result\n"


def test_debug_shows_all(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], logs: Path
) -> None:
    monkeypatch.setenv("EDGESEG_DEBUG", "1")
    with captured_output():
        print("by a package")
    assert capfd.readouterr().out == "by a package\n"
    assert not logs.exists()


def test_a_log_handler_from_inside_works_afterwards(capfd: pytest.CaptureFixture[str]) -> None:
    with captured_output():
        handler = logging.StreamHandler()
    handler.emit(logging.makeLogRecord({"msg": "late"}))
    assert capfd.readouterr().err == "late\n"


PROGRAM = """
import sys, time
import typer
from edgeseg.cli import app, main
from edgeseg.cli.terminal.captured_output import CapturedCommand, terminal_stdout
from edgeseg.cli.terminal.console import print_error, print_result

@app.command("work", cls=CapturedCommand)
def work(kind: str) -> None:
    print("noise")
    if kind == "many":
        for _ in range(100_000):
            print_result("a long line of results " * 10)
    if kind == "wrong":
        raise ZeroDivisionError("one by nothing")
    try:
        print_result("ready")
        terminal_stdout().flush()
        time.sleep(60 if kind == "long" else 0)
    finally:
        print_result("unwound")

sys.argv = ["edgeseg", "work", *sys.argv[1:]]
main()
"""


def start(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_unwinds_and_gives_the_terminal_back(number: signal.Signals) -> None:
    with start("long") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        assert process.stdout.read() == "unwound\n"
        told = process.stderr.read()
        assert "Traceback" not in told
        assert ("Stopped by SIGTERM" in told) == (number == signal.SIGTERM)
    assert process.returncode in (128 + number, 1)


def test_a_reader_that_has_seen_enough_ends_the_command() -> None:
    with start("many") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 1


def test_a_bug_names_the_log_with_its_traceback(logs: Path) -> None:
    with start("wrong") as process:
        out, err = process.communicate()
    assert process.returncode == 1
    assert out == ""
    (log,) = logs.iterdir()
    assert f"Details: {log}" in err
    assert "Traceback" not in err
    text = log.read_text()
    assert text.startswith("noise\nTraceback")
    assert "ZeroDivisionError: one by nothing" in text


def test_help_makes_no_log(logs: Path) -> None:
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-m", "edgeseg", "build", "--help"], check=True)
    assert done.returncode == 0
    assert time.monotonic() - started < 60
    assert not logs.exists()


def test_packages_are_told_to_report_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    from edgeseg.lazy import prepare_environment

    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DO_NOT_TRACK", "0")
    prepare_environment()
    assert os.environ["NNCF_CI"] == "1"
    assert os.environ["HF_HUB_DISABLE_TELEMETRY"] == "1"
    assert os.environ["DO_NOT_TRACK"] == "0"  # what the user has set stays
