"""What SQLite says, in words that help on."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from edgeseg.errors import EdgesegError, UsageError, reason_of

APPLICATION_ID = 0x45645377  # marks the file as a sweep's store
SCHEMA_VERSION = 1


def require_own(connection: sqlite3.Connection, path: Path) -> None:
    """Refuse a database of another program, or of a newer edgeseg; an empty one will do.

    Raises:
        UsageError: Says which.
    """
    ((mark,),) = connection.execute("PRAGMA application_id").fetchall()
    ((version,),) = connection.execute("PRAGMA user_version").fetchall()
    ((tables,),) = connection.execute("SELECT count(*) FROM sqlite_master").fetchall()
    if not tables and not mark:
        return
    if mark != APPLICATION_ID:
        raise UsageError(
            f"{path} is a database of another program. Choose another --output, or move it away."
        )
    if version > SCHEMA_VERSION:
        raise UsageError(
            f"{path} has schema version {version}, and this edgeseg knows versions up to "
            f"{SCHEMA_VERSION}. Install the edgeseg that wrote it, or choose another --output."
        )


@contextlib.contextmanager
def translated(path: Path) -> Iterator[None]:
    """A block in which SQLite's errors about a store tell what to do.

    Raises:
        EdgesegError: The store is damaged, locked, full or cannot be written.
    """
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise EdgesegError(
            f"The sweep's store {path} {_what_is_wrong(error)} ({reason_of(error)}). "
            f"{_advice(error)}"
        ) from error
    except OSError as error:
        raise EdgesegError(
            f"The sweep's store {path} cannot be made ({error.strerror}). Choose an --output that "
            "can be written."
        ) from error


def _what_is_wrong(error: sqlite3.Error) -> str:
    return {
        sqlite3.SQLITE_FULL: "does not fit on the disk",
        sqlite3.SQLITE_READONLY: "cannot be written",
        sqlite3.SQLITE_CANTOPEN: "cannot be opened",
        sqlite3.SQLITE_BUSY: "is locked by another process",
        sqlite3.SQLITE_IOERR: "cannot be read or written",
    }.get(_code(error), "is damaged")


def _advice(error: sqlite3.Error) -> str:
    again = "what is finished is kept, and the same command goes on from there"
    return {
        sqlite3.SQLITE_FULL: f"Free some space: {again}.",
        sqlite3.SQLITE_READONLY: "Choose an --output that can be written.",
        sqlite3.SQLITE_CANTOPEN: "Choose an --output whose folder can be written.",
        sqlite3.SQLITE_BUSY: f"Wait for that process or end it; {again}.",
        sqlite3.SQLITE_IOERR: f"Check the disk; {again}.",
    }.get(
        _code(error),
        "Move it away and run the sweep again: finished builds come from the cache, and the cells "
        "are measured anew.",
    )


def _code(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF
