"""Files and folders that appear whole or not at all, also when the process is killed."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import platform
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

from ..errors import OutputInUseError

PARTIAL = ".partial-"
FOREIGN_SECONDS = 24 * 3600.0
RENAME_EXCHANGE = 2  # linux/fs.h
AT_FDCWD = -100


@lru_cache(maxsize=1)
def _host() -> str:
    """This machine, or the container on it: where a process number means one process."""
    with contextlib.suppress(OSError):
        space = Path("/proc/self/ns/pid").stat().st_ino
        return hashlib.sha256(f"{platform.node()}\0{space}".encode()).hexdigest()[:8]
    return hashlib.sha256(platform.node().encode()).hexdigest()[:8]


def _partial_path(path: Path) -> Path:
    writer = f"{_host()}-{os.getpid()}"
    return path.with_name(f".{path.name}{PARTIAL}{writer}-{secrets.token_hex(4)}")


def _sync_folder(path: Path) -> None:
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def remove_stale_partials(path: Path) -> None:
    """Delete what killed processes left beside `path` while they were writing it.

    Of another machine's, on a shared disk, what has not been touched for a day.
    """
    prefix = f".{path.name}{PARTIAL}"
    if not path.parent.is_dir():
        return
    for entry in path.parent.iterdir():
        if entry.name.startswith(prefix):
            host, _, rest = entry.name[len(prefix) :].partition("-")
            pid = rest.partition("-")[0]
            if not pid.isdigit():
                continue
            if not _is_running(int(pid)) if host == _host() else _is_old(entry):
                _remove(entry)


def _is_old(path: Path) -> bool:
    try:
        return time.time() - path.stat().st_mtime > FOREIGN_SECONDS
    except FileNotFoundError:
        return False


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def _telling(path: Path) -> Iterator[None]:
    """Let what the system refuses name the place that was asked for, not the partial one."""
    try:
        yield
    except OSError as error:
        raise type(error)(error.errno, error.strerror, str(path)) from error


@contextlib.contextmanager
def writing_file(path: Path) -> Iterator[IO[bytes]]:
    """Yield a binary file that takes the place of `path` when the block ends without error.

    Only regular files are replaced, behind a link too. A device, a pipe or a socket stays what it
    is, and what is written goes to it at once.
    """
    if is_special(path):
        with path.open("wb") as file:
            yield file
        return
    path = Path(os.path.realpath(path)) if path.is_symlink() else path.absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_stale_partials(path)
    partial = _partial_path(path)
    try:
        with _telling(path):
            opened = partial.open("wb")
        with opened as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        with _telling(path):
            partial.replace(path)
        _sync_folder(path.parent)
    finally:
        with contextlib.suppress(OSError):  # such as a name that is too long
            partial.unlink(missing_ok=True)


def remove_other_kind(path: Path, *, is_folder: bool = False) -> bool:
    """Remove what stands in the place of a file, or of a folder, and is none; whether it did."""
    try:
        mode = path.lstat().st_mode
    except OSError:
        return False
    if (path.is_dir() if is_folder else stat.S_ISREG(mode)) or not path.parent.is_dir():
        return False
    _remove(path)
    return True


def is_special(path: Path) -> bool:
    """Whether something is there that is neither a regular file nor a folder."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def write_bytes(path: Path, content: bytes) -> None:
    with writing_file(path) as file:
        file.write(content)


def write_text(path: Path, content: str) -> None:
    write_bytes(path, content.encode())


@contextlib.contextmanager
def _partial_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside the absolute `path`; what is left of it at the end goes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_stale_partials(path)
    partial = _partial_path(path)
    try:
        with _telling(path):
            partial.mkdir()
        yield partial
    finally:
        with contextlib.suppress(OSError):  # such as a name that is too long
            _remove(partial)


@contextlib.contextmanager
def writing_folder(path: Path, *, replace: bool = False, keep: bool = False) -> Iterator[Path]:
    """Yield a new folder that becomes `path` when the block ends without error.

    Args:
        path: Must not exist, or be an empty folder, unless `replace` or `keep` is true.
        replace: Exchange an existing folder for the new one, in one step where the system can
            (Linux), and delete the old one afterwards.
        keep: Throw the new folder away when `path` exists at the end: another process was
            faster, and its result is as good.

    Raises:
        OutputInUseError: `path` has come into being meanwhile.
    """
    path = path.absolute()
    with _partial_folder(path) as partial:
        yield partial
        for entry in partial.rglob("*"):
            if stat.S_ISREG(entry.lstat().st_mode):
                with entry.open("rb") as file:
                    os.fsync(file.fileno())
        try:
            partial.rename(path)
        except OSError as error:
            if replace and path.is_dir():
                _exchange(partial, path)
            elif not (keep and path.is_dir()):
                raise OutputInUseError(
                    f"Cannot put the finished folder in place at {path}: {error.strerror}. "
                    "Something was created there meanwhile; remove it or choose another output."
                ) from error
        _sync_folder(path.parent)


@contextlib.contextmanager
def adding_files(folder: Path) -> Iterator[Path]:
    """Yield a folder whose files move into `folder` when the block ends without error.

    `folder` may hold other files; those of equal names are replaced, each in one step.
    """
    folder = folder.absolute()
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        # Within the folder, which may be another disk than what it lies in.
        with _partial_folder(folder / "files") as partial:
            yield partial
            for entry in sorted(partial.iterdir()):
                place = folder / entry.name
                if is_special(place) or place.is_symlink():
                    write_bytes(place, entry.read_bytes())
                else:
                    entry.replace(place)
            _sync_folder(folder)
    finally:
        if is_new and not any(folder.iterdir()):
            folder.rmdir()


def _exchange(new: Path, old: Path) -> None:
    """Swap two folders, atomically where renameat2 exists."""
    renameat2: Any = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is not None:
        arguments = (AT_FDCWD, os.fsencode(new), AT_FDCWD, os.fsencode(old), RENAME_EXCHANGE)
        if renameat2(*arguments) == 0:
            return
    aside = _partial_path(old)
    old.rename(aside)
    new.rename(old)
    _remove(aside)
