"""Keeps what other packages print off the terminal, in a log file that an error message names."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

import typer
from typer.core import TyperCommand

from edgeseg.errors import EdgesegError, InterruptedCommandError, UsageError
from edgeseg.storage.cache import cache_root

LOGS = "logs"  # in the cache folder
KEPT_LOGS = 20
DEBUG = "EDGESEG_DEBUG"
_LOG_NAME = re.compile(r"\d{8}-\d{6}-\d+\.log")


class _Terminal:
    """The streams of the person who called, while standard output and error are captured."""

    def __init__(self) -> None:
        self.stdout: TextIO | None = None
        self.stderr: TextIO | None = None


_terminal = _Terminal()


def terminal_stdout() -> TextIO:
    """Where results go, captured or not."""
    return _terminal.stdout or sys.stdout


def terminal_stderr() -> TextIO:
    """Where progress, notes and errors go, captured or not."""
    return _terminal.stderr or sys.stderr


class CapturedCommand(TyperCommand):
    """A command whose body runs with the output of other packages captured.

    Help, version and refused options are printed before the body starts: they cost nothing and
    leave no log. "--json -" is "--json": the document goes to the standard output in either case.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        kept = [
            word
            for index, word in enumerate(args)
            if word != "-" or args[:index][-1:] != ["--json"]
        ]
        _require_words(kept)
        return super().parse_args(ctx, kept)

    def invoke(self, ctx: Any) -> Any:
        try:
            with captured_output():
                return super().invoke(ctx)
        except KeyboardInterrupt:
            raise InterruptedCommandError(
                "Interrupted. Nothing half-written is left; run the command again."
            ) from None


def _require_words(words: Sequence[str]) -> None:
    """Refuse an empty word, which as a path would be the current folder.

    Raises:
        UsageError: There is one.
    """
    for index, word in enumerate(words):
        option, is_set, value = word.partition("=")
        if not word or (is_set and not value and option.startswith("--")):
            before = option or "".join(words[:index][-1:])
            what = before if before.startswith("-") else "An argument"
            raise UsageError(
                f"{what} is empty, as a variable of the shell gives it that is not set. Name what "
                "is meant, or leave it out."
            )


@contextlib.contextmanager
def captured_output() -> Iterator[None]:
    """Send standard output and error, of this process and its children, to a log file.

    The descriptors 1 and 2 themselves are redirected, so that the output of C libraries and of
    child processes is captured too. `terminal_stdout` and `terminal_stderr` reach the terminal
    meanwhile. An empty log is removed; of the others the newest `KEPT_LOGS` are kept. An exception
    that a package caused, or that comes after a package printed something, has its traceback
    written to the log and carries the path of the log as a note.

    EDGESEG_DEBUG=1 switches the capture off. Inside a block of its own kind it does nothing.
    """
    is_open = sys.stdout is not None and sys.stderr is not None
    if os.environ.get(DEBUG) or _terminal.stdout is not None or not is_open:
        yield
        return
    log_path = _open_log()
    try:
        with _redirected(log_path):
            try:
                yield
            except Exception as error:
                _write_failure(error, log_path)
                raise
    finally:
        _remove_empty_log(log_path)


def _write_failure(error: Exception, log_path: Path) -> None:
    """Write the traceback to the log, and name the log in the exception, where that helps."""
    # The first two are ways in which Typer ends a command, the others are told in full already.
    if isinstance(error, (typer.Exit, typer.Abort, UsageError, BrokenPipeError)):
        return
    _flush_log_streams()
    is_explained = isinstance(error, EdgesegError) and error.__cause__ is None
    if is_explained and not log_path.stat().st_size:
        return
    traceback.print_exc()
    error.add_note(f"Details: {log_path}")


def notes_of(error: BaseException) -> list[str]:
    """What was added to an exception on its way, such as where its log is."""
    return list(getattr(error, "__notes__", ()))


@contextlib.contextmanager
def _redirected(log_path: Path) -> Iterator[None]:
    """Point the descriptors 1 and 2, and Python's streams on them, to a log file."""
    streams = sys.stdout, sys.stderr
    for stream in streams:
        stream.flush()
    with contextlib.ExitStack() as stack:
        terminal = [
            _keep_descriptor(number, stream, stack)
            for number, stream in zip((1, 2), streams, strict=True)
        ]
        log = os.open(log_path, os.O_WRONLY | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.close(log)
        # They do not own the descriptors: a log handler that keeps one writes to the terminal
        # again once the capture has ended, and never to a closed file.
        sys.stdout, sys.stderr = (
            os.fdopen(number, "w", buffering=1, errors="backslashreplace", closefd=False)
            for number in (1, 2)
        )
        _terminal.stdout, _terminal.stderr = terminal
        try:
            yield
        finally:
            _flush_log_streams()
            sys.stdout, sys.stderr = streams
            _terminal.stdout = _terminal.stderr = None


def _keep_descriptor(number: int, own: TextIO, stack: contextlib.ExitStack) -> TextIO:
    """A stream to where `own` goes; when `stack` ends, the descriptor `number` is put back."""
    copy = os.dup(number)
    if not _is_on(own, number):
        # Somebody has put another stream in its place, such as a test or a notebook.
        stack.callback(os.close, copy)
        stack.callback(os.dup2, copy, number)
        return own
    stream = os.fdopen(
        copy,
        "w",
        buffering=1 if os.isatty(copy) else -1,
        encoding=own.encoding,
        # A name that is no text is shown with escapes.
        errors="backslashreplace" if own.errors == "strict" else own.errors,
    )
    # In reverse order: a reader that has gone makes the flush fail, and the rest still happens.
    stack.callback(_close, stream)
    stack.callback(os.dup2, copy, number)
    stack.callback(stream.flush)
    return stream


def _is_on(stream: TextIO, number: int) -> bool:
    """Whether a stream writes to a descriptor."""
    try:
        return stream.fileno() == number
    except (OSError, ValueError):
        return False


def _close(stream: TextIO) -> None:
    with contextlib.suppress(OSError):
        stream.close()


def _flush_log_streams() -> None:
    """Bring what Python and C hold back to the log, before the terminal takes its place."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    with contextlib.suppress(Exception):  # no C library by that name
        ctypes.CDLL(None).fflush(None)


def _open_log() -> Path:
    """Make a log file in the cache folder; elsewhere where that cannot be written."""
    name = f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
    try:
        folder = cache_root() / LOGS
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / name
        path.touch()
        _remove_old_logs(folder)
    except OSError:
        path = Path(tempfile.mkdtemp(prefix="edgeseg-log-")) / name
        path.touch()
    return path


def _remove_old_logs(folder: Path) -> None:
    """Keep the newest logs; their names begin with the time."""
    logs = sorted(path for path in folder.iterdir() if _LOG_NAME.fullmatch(path.name))
    for path in logs[:-KEPT_LOGS]:
        path.unlink(missing_ok=True)


def _remove_empty_log(path: Path) -> None:
    with contextlib.suppress(OSError):
        if not path.stat().st_size:
            path.unlink()
            if path.parent.name != LOGS:
                path.parent.rmdir()
