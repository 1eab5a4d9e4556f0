"""Which process wrote something, and whether it still lives."""

from __future__ import annotations

import os
from pathlib import Path

from .atomic import _host, _is_running


def host_mark() -> str:
    """This machine, or the container on it: where a process number means one process."""
    return _host()


def start_mark(pid: int) -> str:
    """When a process started, in ticks since the machine did; empty where that is not told.

    A number that a dead process had is given to another, which started later.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        return text.rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def is_alive(pid: int, start: str) -> bool:
    """Whether the process lives that had this number and began at this time."""
    return _is_running(pid) and (not start or start_mark(pid) == start) and not _is_zombie(pid)


def _is_zombie(pid: int) -> bool:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return text.rpartition(")")[2].split()[:1] == ["Z"]


def own_marks() -> tuple[str, int, str]:
    """Host, number and start of this process."""
    return host_mark(), os.getpid(), start_mark(os.getpid())
