"""Folders for the time of some work, which the next run removes when the process was killed.

A folder is locked for as long as its process lives, and processes that it has forked. The system
gives the lock up with the process, whatever ended it; a process number would be given to another.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

START = "edgeseg-"
HELD = ".held"  # ends the name of a folder that has had its lock from the beginning
# What has another name is of an older version, or of a bundle's runner, which may lock nothing.
OLD_S = 24 * 3600.0


@contextlib.contextmanager
def temporary_folder(purpose: str) -> Iterator[Path]:
    """Yield an empty folder among the temporary files; it is removed when the block ends.

    Args:
        purpose: One word that its name shows.
    """
    remove_abandoned()
    # Under another name until it is locked, so that no other run takes it for abandoned.
    folder = Path(tempfile.mkdtemp(prefix=f"{START}{purpose}-"))
    try:
        descriptor = _lock(folder)
        try:
            folder = folder.rename(folder.with_name(folder.name + HELD))
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            if descriptor is not None:
                os.close(descriptor)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove_abandoned() -> None:
    """Remove what killed processes of this user left among the temporary files."""
    with contextlib.suppress(OSError):
        for path in Path(tempfile.gettempdir()).glob(f"{START}*-*"):
            with contextlib.suppress(OSError):
                _remove_if_abandoned(path)


def _remove_if_abandoned(path: Path) -> None:
    state = path.lstat()
    if state.st_uid != os.getuid() or not stat.S_ISDIR(state.st_mode):
        return
    if not path.name.endswith(HELD) and time.time() - state.st_mtime < OLD_S:
        return
    descriptor = _lock(path)
    if descriptor is not None:
        shutil.rmtree(path, ignore_errors=True)
        os.close(descriptor)


def _lock(folder: Path) -> int | None:
    """Descriptor that locks a folder; None where somebody holds it, or the disk knows no locks."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor
