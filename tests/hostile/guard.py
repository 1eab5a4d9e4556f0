"""What one hostile input may do: be taken, or be refused with one clear message. Nothing else."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from edgeseg.errors import EdgesegError

LONGEST_MESSAGE = 2_000
MOST_MEMORY = 14 * 2**30  # of addresses: torch alone maps several
TAKEN, REFUSED = "taken", "refused"


class Hang(BaseException):
    """It took longer than it may; no handler of edgeseg's catches it."""


class FaultError(Exception):
    """A command ended in another way than with a message."""


class Watch:
    """Notes files that are written outside one folder, by a hook that cannot be gone around."""

    def __init__(self, folder: Path) -> None:
        self._allowed = (f"{folder}{os.sep}", "/dev/", "/proc/")
        self.outside: list[str] = []
        self.is_on = False
        sys.addaudithook(self._see)

    def _see(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.is_on:
            return
        if event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            self._note(event, arguments[0])
        elif event in ("os.mkdir", "os.remove", "os.rmdir", "os.truncate", "os.chmod"):
            self._note(event, arguments[0], arguments[-1])
        elif event in ("os.rename", "os.link", "os.symlink"):
            self._note(event, arguments[1], arguments[-1])
        elif event in ("os.system", "os.exec", "subprocess.Popen", "socket.connect"):
            self.outside.append(f"{event} {arguments[0]!r}")

    def _note(self, event: str, place: Any, descriptor: Any = -1) -> None:
        if isinstance(place, int) or descriptor not in (-1, None):
            return
        path = os.path.abspath(os.fsdecode(place))
        if not (path + os.sep).startswith(self._allowed):
            self.outside.append(f"{event} {path!r}")


@contextlib.contextmanager
def limited(seconds: float) -> Iterator[None]:
    """End what takes longer."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Hang("".join(traceback.format_stack(frame, limit=6)))

    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def limit_memory() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))


def judge(action: Callable[[], object], watch: Watch, seconds: float) -> tuple[str, str]:
    """Run one input: "taken" or "refused", or the fault's name; and what is to be said of it."""
    watch.outside.clear()
    watch.is_on = True
    try:
        with limited(seconds):
            action()
        verdict = TAKEN, ""
    except EdgesegError as error:
        fault = fault_of_message(str(error))
        verdict = ("message", fault) if fault else (REFUSED, str(error))
    except Hang as error:
        verdict = "hang", str(error)
    except (Exception, SystemExit, RecursionError, MemoryError) as error:
        verdict = type(error).__name__, f"{str(error)[:300]}\n{_last_lines(error)}"
    finally:
        watch.is_on = False
    if watch.outside:
        return "outside", "; ".join(watch.outside[:4])
    return verdict


def fault_of_message(text: str) -> str:
    """What is wrong with a message; empty where nothing is."""
    if len(text) > LONGEST_MESSAGE:
        return f"{len(text)} characters: {text[:200]}"
    if not text.replace("\n", "").isprintable():
        return f"control characters: {text[:300]!r}"
    if not text.rstrip().endswith((".", ")", "?")) or len(text) < 20:
        return f"no whole sentence: {text[:300]!r}"
    return ""


def _last_lines(error: BaseException) -> str:
    return "".join(traceback.format_tb(error.__traceback__)[-4:])
