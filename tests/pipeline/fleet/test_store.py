from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeseg.errors import EdgesegError, UsageError
from edgeseg.pipeline.fleet.steps import NewStep
from edgeseg.pipeline.fleet.store import MOST_LOSSES, Store
from edgeseg.pipeline.fleet.store_errors import SCHEMA_VERSION

STEPS = [
    NewStep("b", "build", "net-intel-int8", {"precision": "int8"}),
    NewStep("c1", "cell", "net intel int8 1", {"threads": 1}),
    NewStep("c2", "cell", "net intel int8 2", {"threads": 2}),
]
KEYS = [step.key for step in STEPS]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sweep.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with Store(path) as opened:
        opened.add(STEPS)
        yield opened


def states(store: Store) -> dict[str, str]:
    return {key: step.state for key, step in store.steps(KEYS).items()}


def events(store: Store, key: str) -> list[str]:
    return [event for step, event, _ in store.log() if step == key]


def test_a_step_that_is_known_keeps_its_state(store: Store) -> None:
    store.claim(["b"])
    store.finish_build("b", "digest", 2.0)
    store.add(STEPS)
    assert states(store) == {"b": "done", "c1": "queued", "c2": "queued"}
    assert events(store, "b") == ["queued", "claimed", "done"]


def test_a_step_is_claimed_by_one_driver(store: Store, path: Path) -> None:
    with Store(path) as other:
        assert store.claim(["c1"]) == ["c1"]
        assert other.claim(["c1", "c2"]) == ["c2"]
        assert other.claim(["c1"]) == []
        assert other.take_back() == 0  # the process of both lives


def test_many_drivers_at_once_claim_each_step_once(path: Path) -> None:
    keys = [f"k{number}" for number in range(60)]
    with Store(path) as first:
        first.add(NewStep(key, "cell", key, {}) for key in keys)
    claimed: list[str] = []

    def work() -> None:
        with Store(path) as own:
            for key in keys:
                claimed.extend(own.claim([key]))

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(claimed) == sorted(keys)


def test_a_result_is_written_once_and_the_second_writer_is_told(store: Store, path: Path) -> None:
    store.claim(["c1", "c2"])
    rows = {"c1": "row1", "c2": "row2"}
    assert store.finish_cells("run1", {"rows": [1]}, rows, 3.0) == []
    with Store(path) as other:
        assert other.finish_cells("run2", {"rows": [2]}, {"c1": "rowX"}, 4.0) == ["c1"]
        assert other.results(KEYS) == {"c1": ("run1", "row1"), "c2": ("run1", "row2")}
        assert other.report("run1") == {"rows": [1]}
    assert store.steps(["c1"])["c1"].seconds == 3.0
    assert events(store, "c1") == ["queued", "claimed", "done", "written by another"]


def test_a_build_is_written_once(store: Store, path: Path) -> None:
    assert store.finish_build("b", "first", 1.0)
    with Store(path) as other:
        assert not other.finish_build("b", "second", 1.0)
    assert store.bundle_of("b") == "first"


def test_nothing_of_a_result_is_written_when_a_part_fails(store: Store) -> None:
    store.claim(["c1"])
    with pytest.raises(EdgesegError, match="damaged"):
        store.finish_cells("run1", {}, {"c1": None}, 1.0)  # type: ignore[dict-item]
    assert store.results(KEYS) == {}
    assert states(store)["c1"] == "running"
    assert store.finish_cells("run1", {}, {"c1": "row"}, 1.0) == []


def test_what_a_dead_process_ran_is_taken_back(store: Store, path: Path) -> None:
    program = f"""
import os, signal
from pathlib import Path
from edgeseg.pipeline.fleet.store import Store
store = Store(Path({str(path)!r}))
print(store.claim(["c1"]), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.stdout == "['c1']\n", done.stderr
    assert states(store)["c1"] == "running"
    assert store.take_back() == 1
    assert states(store)["c1"] == "queued"
    assert events(store, "c1")[-1] == "taken back"


@pytest.mark.parametrize(
    ("change", "taken"),
    [
        ("host = 'elsewhere', heartbeat = heartbeat - 300", 1),  # of another machine, silent
        ("host = 'elsewhere'", 0),  # of another machine, which beat a moment ago
        ("start = '1'", 1),  # the number belongs to another process now
        ("heartbeat = heartbeat - 300", 1),  # alive, and stopped by somebody
    ],
)
def test_a_driver_counts_as_ended(store: Store, path: Path, change: str, taken: int) -> None:
    store.claim(["c1"])
    with sqlite3.connect(path) as connection:
        connection.execute(f"UPDATE steps SET {change} WHERE key = 'c1'")
    with Store(path) as other:
        assert other.take_back() == taken


def test_signs_of_life_are_told_while_work_goes_on(store: Store, path: Path) -> None:
    with store.beating(period_s=0.02):
        store.claim(["c1"])
        with sqlite3.connect(path) as connection:
            connection.execute("UPDATE steps SET heartbeat = 0")
        threading.Event().wait(0.5)
        with Store(path) as other:
            assert other.take_back() == 0
    assert states(store)["c1"] == "queued"  # released at the end of the block


def test_what_is_lost_too_often_has_failed(store: Store) -> None:
    for _ in range(MOST_LOSSES):
        assert store.claim(["c1"]) == ["c1"]
        store.lose(["c1"], "its worker died", "Look at its log.")
    step = store.steps(["c1"])["c1"]
    assert (step.state, step.reason) == ("failed", "its worker died, 3 times. Look at its log.")
    store.queue_failed(["c1"])
    assert store.steps(["c1"])["c1"].losses == 0
    assert store.claim(["c1"]) == ["c1"]


def test_what_failed_is_tried_again_and_what_was_refused_is_not(store: Store) -> None:
    store.settle(["c1"], "failed", "no device")
    store.settle(["c2"], "refused", "no such precision")
    store.queue_failed(KEYS)
    assert states(store) == {"b": "queued", "c1": "queued", "c2": "refused"}


def test_a_late_failure_does_not_undo_a_result(store: Store, path: Path) -> None:
    store.finish_cells("run1", {}, {"c1": "row"}, 1.0)
    with Store(path) as other:
        other.settle(["c1"], "failed", "too slow")
    assert states(store)["c1"] == "done"


def test_a_store_is_wal_and_survives_the_machine(store: Store) -> None:
    run = store._connection.execute
    assert run("PRAGMA journal_mode").fetchone() == ("wal",)
    assert run("PRAGMA synchronous").fetchone() == (2,)  # FULL
    assert run("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)


def test_a_database_of_another_program_is_refused(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE songs (name TEXT)")
    with pytest.raises(UsageError, match=r"database of another program\. Choose another --output"):
        Store(path)


def test_a_newer_store_is_refused(store: Store, path: Path) -> None:
    store.close()
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    with pytest.raises(UsageError, match="Install the edgeseg that wrote it"):
        Store(path)


def test_a_damaged_store_is_refused(path: Path) -> None:
    path.write_bytes(b"no database at all" * 100)
    with pytest.raises(EdgesegError, match=r"is damaged .*Move it away and run the sweep again"):
        Store(path)


def test_a_store_that_is_cut_short_is_refused(store: Store, path: Path) -> None:
    store.finish_cells("run1", {"filling": "x" * 200_000}, {"c1": "row"}, 1.0)
    store.close()
    content = path.read_bytes()
    path.write_bytes(content[:4096] + os.urandom(len(content) - 4096))
    with pytest.raises(EdgesegError, match="Move it away"):
        read_report(path)


def read_report(path: Path) -> None:
    with Store(path) as damaged:
        damaged.add(STEPS)
        damaged.report("run1")


def test_a_full_disk_is_told_and_what_is_finished_is_kept(store: Store) -> None:
    store.finish_cells("run1", {}, {"c1": "row"}, 1.0)
    pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
    store._connection.execute(f"PRAGMA max_page_count = {pages}")
    store.claim(["c2"])
    with pytest.raises(EdgesegError, match=r"does not fit on the disk .*Free some space"):
        store.finish_cells("run2", {"filling": "x" * 200_000}, {"c2": "row"}, 1.0)
    assert store.results(KEYS) == {"c1": ("run1", "row")}
    store._connection.execute("PRAGMA max_page_count = 100000")
    assert store.finish_cells("run2", {"filling": "x" * 200_000}, {"c2": "row"}, 1.0) == []


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(EdgesegError, match=r"cannot be made .*Choose an --output"):
        Store(tmp_path / "file" / "sweep.sqlite")
    (tmp_path / "folder" / "sweep.sqlite").mkdir(parents=True)
    with pytest.raises(EdgesegError, match=r"cannot be opened .*Choose an --output"):
        Store(tmp_path / "folder" / "sweep.sqlite")


def test_a_store_that_may_only_be_read_is_told(store: Store) -> None:
    store._connection.execute("PRAGMA query_only = 1")
    with pytest.raises(EdgesegError, match=r"cannot be written .*Choose an --output"):
        store.claim(["c1"])
