"""What a sweep has done: SQLite, which is the truth, whoever computes.

A step is a build or a cell (a measurement of a build). It is keyed by its content and is queued,
running, done, failed or refused. A result is written once, with its step, in one transaction.
Several drivers share a store; what one leaves unfinished when it ends is taken back by another.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from edgeseg.storage.processes import is_alive, own_marks

from .steps import DONE, FAILED, QUEUED, RUNNING, STATES, NewStep, Step
from .store_errors import APPLICATION_ID, SCHEMA_VERSION, require_own, translated

STORE_NAME = "sweep.sqlite"
BUSY_S = 30.0
HEARTBEAT_S = 5.0
LOST_S = 120.0  # a driver that has not beaten for so long has ended, or its machine sleeps
MOST_LOSSES = 3
_TABLES = f"""
CREATE TABLE IF NOT EXISTS steps (
    key TEXT PRIMARY KEY,
    kind TEXT NOT NULL CHECK (kind IN ('build', 'cell')),
    name TEXT NOT NULL,
    record TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'queued' CHECK (state IN {STATES}),
    reason TEXT NOT NULL DEFAULT '',
    owner TEXT,
    host TEXT,
    pid INTEGER,
    start TEXT,
    heartbeat REAL,
    losses INTEGER NOT NULL DEFAULT 0,
    seconds REAL
);
CREATE TABLE IF NOT EXISTS builds (key TEXT PRIMARY KEY REFERENCES steps, bundle TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS runs (id TEXT PRIMARY KEY, report TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS results (
    cell TEXT PRIMARY KEY REFERENCES steps, run TEXT NOT NULL REFERENCES runs, row TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS log (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    at REAL NOT NULL, step TEXT NOT NULL, event TEXT NOT NULL, owner TEXT NOT NULL
);
"""


class Store:
    """A sweep's store, opened by one driver.

    Threads of the driver may share it.

    Args:
        path: The file; it is made where there is none.

    Raises:
        UsageError: It is no store, or one that a newer edgeseg made.
        EdgesegError: It is damaged, or cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.host, self.pid, self.start = own_marks()
        self.owner = f"{self.host}-{self.pid}-{secrets.token_hex(4)}"
        self._lock = threading.RLock()
        with translated(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(
                path, timeout=BUSY_S, isolation_level=None, check_same_thread=False
            )
            try:
                self._prepare()
            except BaseException:
                self._connection.close()
                raise

    def _prepare(self) -> None:
        run = self._connection.execute
        require_own(self._connection, self.path)
        run("PRAGMA journal_mode = WAL")
        run("PRAGMA synchronous = FULL")  # what was told to be done survives the machine, too
        with self._writing():
            for statement in filter(str.strip, _TABLES.split(";")):
                run(statement)
            run(f"PRAGMA application_id = {APPLICATION_ID}")
            run(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """A block that is written whole or not at all."""
        with self._lock, translated(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):  # a full disk has rolled back by itself
                    self._connection.execute("ROLLBACK")
                raise

    def _read(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self._lock, translated(self.path):
            return self._connection.execute(query, values).fetchall()

    def _log(self, key: str, event: str) -> None:
        self._connection.execute(
            "INSERT INTO log (at, step, event, owner) VALUES (?, ?, ?, ?)",
            (time.time(), key, event, self.owner),
        )

    def add(self, steps: Iterable[NewStep]) -> None:
        """Queue what is not known yet; what is known keeps its state."""
        with self._writing() as connection:
            for step in steps:
                added = connection.execute(
                    "INSERT INTO steps (key, kind, name, record) VALUES (?, ?, ?, ?)"
                    " ON CONFLICT (key) DO NOTHING",
                    (step.key, step.kind, step.name, json.dumps(dict(step.record))),
                ).rowcount
                if added:
                    self._log(step.key, QUEUED)

    def queue_failed(self, keys: Iterable[str]) -> None:
        """Queue again what failed in an earlier run; what was refused stays so."""
        with self._writing():
            for key in keys:
                self._move(key, FAILED, QUEUED, "queued again", forget=True)

    def take_back(self, limit_s: float = LOST_S) -> int:
        """Queue what drivers left that have ended; how many steps these were.

        A driver has ended when its process on this machine is dead, or when it has told no sign of
        life for so long.
        """
        taken = 0
        with self._writing() as connection:
            rows = connection.execute(
                "SELECT key, owner, host, pid, start, heartbeat FROM steps WHERE state = 'running'"
            ).fetchall()
            for key, owner, host, pid, start, heartbeat in rows:
                is_dead = host == self.host and not is_alive(pid, start)
                if owner != self.owner and (is_dead or time.time() - heartbeat > limit_s):
                    taken += self._move(key, RUNNING, QUEUED, "taken back")
        return taken

    def claim(self, keys: Sequence[str]) -> list[str]:
        """Take those of the steps that are queued; no other driver gets them then."""
        with self._writing() as connection:
            claimed = [key for key in keys if self._move(key, QUEUED, RUNNING, "claimed")]
            for key in claimed:
                connection.execute(
                    "UPDATE steps SET owner = ?, host = ?, pid = ?, start = ?, heartbeat = ?"
                    " WHERE key = ?",
                    (self.owner, self.host, self.pid, self.start, time.time(), key),
                )
        return claimed

    def note(self, keys: Iterable[str], event: str) -> None:
        """Write into the log what happened to steps."""
        with self._writing():
            for key in keys:
                self._log(key, event)

    def release(self, keys: Iterable[str] | None = None) -> None:
        """Queue again what this driver runs; None stands for all of that."""
        with self._writing() as connection:
            query = "SELECT key FROM steps WHERE state = 'running' AND owner = ?"
            own = [key for (key,) in connection.execute(query, (self.owner,))]
            for key in own if keys is None else set(keys) & set(own):
                self._move(key, RUNNING, QUEUED, "released")

    def lose(self, keys: Iterable[str], what: str, advice: str) -> int:
        """Queue again what was lost with a process; too often, and it has failed.

        Args:
            what: Was lost, for the reason.
            advice: What to do next.

        Returns:
            How many steps were queued again.
        """
        queued = 0
        with self._writing() as connection:
            for key in keys:
                if not self._is_own(key):
                    continue
                self._log(key, "lost")
                connection.execute("UPDATE steps SET losses = losses + 1 WHERE key = ?", (key,))
                query = "SELECT losses FROM steps WHERE key = ?"
                ((losses,),) = connection.execute(query, (key,)).fetchall()
                if losses < MOST_LOSSES:
                    queued += self._move(key, RUNNING, QUEUED, "queued again")
                else:
                    reason = f"{what}, {losses} times. {advice}"
                    self._move(key, RUNNING, FAILED, FAILED, reason)
        return queued

    def settle(self, keys: Iterable[str], state: str, reason: str) -> None:
        """Write that steps failed or were refused; those that are done stay so."""
        with self._writing():
            for key in keys:
                self._move(key, RUNNING, state, state, reason) or self._move(
                    key, QUEUED, state, state, reason
                )

    def finish_build(self, key: str, bundle: str, seconds: float) -> bool:
        """Write that a build is done, once.

        Args:
            bundle: Identity of the bundle.

        Returns:
            False where another driver was faster: its result stays.
        """
        with self._writing() as connection:
            written = connection.execute(
                "INSERT INTO builds VALUES (?, ?) ON CONFLICT (key) DO NOTHING", (key, bundle)
            ).rowcount
            return self._finish(key, seconds, is_first=bool(written))

    def forget_build(self, key: str) -> None:
        """Queue a build again whose bundle is gone or was changed."""
        with self._writing() as connection:
            connection.execute("DELETE FROM builds WHERE key = ?", (key,))
            self._move(key, DONE, QUEUED, "bundle is gone")

    def finish_cells(
        self, run: str, report: Mapping[str, Any], rows: Mapping[str, str], seconds: float
    ) -> list[str]:
        """Write what was measured in one run, each cell once.

        Args:
            run: Its name, which no other run has.
            report: As `Report.to_json` gives it.
            rows: Key of the row in the report, by key of the cell.
            seconds: That each took.

        Returns:
            Keys of cells that another driver had finished: its results stay.
        """
        late = []
        with self._writing() as connection:
            connection.execute("INSERT INTO runs VALUES (?, ?)", (run, json.dumps(report)))
            for cell, row in rows.items():
                written = connection.execute(
                    "INSERT INTO results VALUES (?, ?, ?) ON CONFLICT (cell) DO NOTHING",
                    (cell, run, row),
                ).rowcount
                if not self._finish(cell, seconds, is_first=bool(written)):
                    late.append(cell)
        return late

    def _finish(self, key: str, seconds: float, *, is_first: bool) -> bool:
        if not is_first:
            self._log(key, "written by another")
            return False
        self._connection.execute(
            "UPDATE steps SET state = 'done', reason = '', seconds = ? WHERE key = ?",
            (seconds, key),
        )
        self._log(key, DONE)
        return True

    def _is_own(self, key: str) -> bool:
        query = "SELECT 1 FROM steps WHERE key = ? AND state = 'running' AND owner = ?"
        return self._connection.execute(query, (key, self.owner)).fetchone() is not None

    def _move(
        self,
        key: str,
        before: str,
        after: str,
        event: str,
        reason: str = "",
        *,
        forget: bool = False,
    ) -> bool:
        """Take a step from one state to another; False where it is not in the first.

        `forget` sets the number of its losses back.
        """
        moved = self._connection.execute(
            "UPDATE steps SET state = ?, reason = ?, losses = CASE ? WHEN 1 THEN 0 ELSE losses END"
            " WHERE key = ? AND state = ?",
            (after, reason, forget, key, before),
        ).rowcount
        if moved:
            self._log(key, event)
        return bool(moved)

    def beat(self) -> None:
        """Tell a sign of life for all that this driver runs."""
        with self._writing() as connection:
            connection.execute(
                "UPDATE steps SET heartbeat = ? WHERE state = 'running' AND owner = ?",
                (time.time(), self.owner),
            )

    @contextlib.contextmanager
    def beating(self, period_s: float = HEARTBEAT_S) -> Iterator[None]:
        """A block in which a thread tells signs of life; what still runs at its end is released."""
        ended = threading.Event()

        def beat() -> None:
            while not ended.wait(period_s):
                with contextlib.suppress(Exception):  # what fails is told by the next write
                    self.beat()

        thread = threading.Thread(target=beat, name="edgeseg-heartbeat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            self.release()

    def steps(self, keys: Iterable[str]) -> dict[str, Step]:
        """Where steps stand, by key; those that were never queued are left out."""
        wanted = set(keys)
        rows = self._read("SELECT key, state, reason, host, pid, losses, seconds FROM steps")
        return {row[0]: Step(*row) for row in rows if row[0] in wanted}

    def bundle_of(self, build: str) -> str | None:
        """Identity of the bundle that a build made; None where it is not done."""
        rows = self._read("SELECT bundle FROM builds WHERE key = ?", (build,))
        return rows[0][0] if rows else None

    def results(self, cells: Iterable[str]) -> dict[str, tuple[str, str]]:
        """Run and key of the row, by cell, of what is done."""
        wanted = set(cells)
        found = self._read("SELECT cell, run, row FROM results ORDER BY rowid")
        return {cell: (run, row) for cell, run, row in found if cell in wanted}

    def count_others(self, cells: Iterable[str]) -> int:
        """How many results are of other cells: other versions, or other settings."""
        ((count,),) = self._read("SELECT count(*) FROM results")
        others: int = count - len(self.results(cells))
        return others

    def report(self, run: str) -> dict[str, Any]:
        """What one run measured, as `Report.to_json` gave it."""
        ((text,),) = self._read("SELECT report FROM runs WHERE id = ?", (run,))
        record: dict[str, Any] = json.loads(text)
        return record

    def seconds(self) -> dict[str, float]:
        """What a step took on average, by kind, of all that were done here."""
        query = "SELECT kind, avg(seconds) FROM steps WHERE state = 'done' GROUP BY kind"
        return dict(self._read(query))

    def log(self) -> list[tuple[str, str, str]]:
        """Step, event and driver, in their order."""
        return [(*row,) for row in self._read("SELECT step, event, owner FROM log ORDER BY number")]


def new_run() -> str:
    """A name for a run that no other has: when it began, and a few digits."""
    return f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{os.getpid()}-{secrets.token_hex(3)}"
