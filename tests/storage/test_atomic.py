"""What is written appears whole or not at all, also when the writer is killed."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edgeseg.errors import EdgesegError
from edgeseg.storage import atomic
from edgeseg.storage.atomic import (
    adding_files,
    write_bytes,
    write_text,
    writing_file,
    writing_folder,
)

HALF_A_FILE = """
import sys, time
from pathlib import Path
from edgeseg.storage.atomic import writing_file
with writing_file(Path(sys.argv[1])) as file:
    file.write(b"half")
    file.flush()
    print("writing", flush=True)
    time.sleep(60)
"""
HALF_A_FOLDER = """
import sys, time
from pathlib import Path
from edgeseg.storage.atomic import writing_folder
with writing_folder(Path(sys.argv[1]), replace=True) as folder:
    (folder / "deep").mkdir()
    (folder / "deep" / "half").write_text("half")
    print("writing", flush=True)
    time.sleep(60)
"""


@contextmanager
def writer(program: str, path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that is in the middle of writing `path`; killed at the end."""
    command = [sys.executable, "-c", program, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "writing\n"
            yield process
        finally:
            process.kill()  # SIGKILL: nothing in the process can clean up


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_killed_write_leaves_nothing_and_the_next_one_cleans_up(tmp_path: Path) -> None:
    path = tmp_path / "weights.bin"
    with writer(HALF_A_FILE, path):
        pass
    assert not path.exists()
    (partial,) = names_in(tmp_path)
    assert partial.startswith(".weights.bin.partial-")
    write_bytes(path, b"whole")
    assert names_in(tmp_path) == ["weights.bin"]
    assert path.read_bytes() == b"whole"


def test_a_killed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "weights.bin"
    path.write_bytes(b"old")
    with writer(HALF_A_FILE, path):
        pass
    assert path.read_bytes() == b"old"


def test_a_killed_folder_leaves_nothing_and_the_next_one_cleans_up(tmp_path: Path) -> None:
    path = tmp_path / "bundle"
    with writer(HALF_A_FOLDER, path):
        pass
    assert not path.exists()
    assert len(names_in(tmp_path)) == 1
    with writing_folder(path) as folder:
        (folder / "new").touch()
    assert names_in(tmp_path) == ["bundle"]
    assert names_in(path) == ["new"]


def test_a_killed_replacement_leaves_the_old_folder(tmp_path: Path) -> None:
    path = tmp_path / "bundle"
    path.mkdir()
    (path / "old").touch()
    with writer(HALF_A_FOLDER, path):
        pass
    assert names_in(path) == ["old"]


def test_the_partial_of_a_running_process_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "weights.bin"
    with writer(HALF_A_FILE, path):
        write_bytes(path, b"whole")
        assert len(names_in(tmp_path)) == 2


def test_files_of_others_are_left_alone(tmp_path: Path) -> None:
    host = atomic._host()
    others = [
        ".out.partial-notes",
        f".another.partial-{host}-999999999-aa",
        f"out.partial-{host}-999999999-aa",
        ".out.partial-0ther-999999999-bb",
    ]
    for name in others:
        (tmp_path / name).touch()
    (tmp_path / f".out.partial-{host}-999999999-aa").touch()  # no process can have this number
    old = tmp_path / ".out.partial-0ther-999999999-aa"  # of another machine, days ago
    old.touch()
    os.utime(old, (0, 0))
    write_text(tmp_path / "out", "text")
    assert names_in(tmp_path) == sorted([*others, "out"])


def test_a_failed_file_leaves_the_old_one_and_no_trace(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def fail() -> None:
        with writing_file(path) as file:
            file.write(b"half")
            raise RuntimeError("disk on fire")

    with pytest.raises(RuntimeError, match="disk on fire"):
        fail()
    assert names_in(tmp_path) == ["file"]
    assert path.read_text() == "old"


@pytest.mark.parametrize("replace", [False, True])
def test_a_failed_folder_leaves_no_trace(tmp_path: Path, replace: bool) -> None:
    def fail() -> None:
        with writing_folder(tmp_path / "folder", replace=replace) as folder:
            (folder / "half").touch()
            raise RuntimeError("disk on fire")

    with pytest.raises(RuntimeError, match="disk on fire"):
        fail()
    assert names_in(tmp_path) == []


def test_a_failed_replacement_leaves_the_old_folder(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    path.mkdir()
    (path / "old").touch()

    def fail() -> None:
        with writing_folder(path, replace=True):
            raise RuntimeError("disk on fire")

    with pytest.raises(RuntimeError, match="disk on fire"):
        fail()
    assert names_in(tmp_path) == ["folder"]
    assert names_in(path) == ["old"]


def test_nothing_is_in_place_before_the_end(tmp_path: Path) -> None:
    with writing_file(tmp_path / "file") as file:
        file.write(b"half")
        assert not (tmp_path / "file").exists()
    with writing_folder(tmp_path / "folder"):
        assert not (tmp_path / "folder").exists()
    assert names_in(tmp_path) == ["file", "folder"]


def test_text_is_written_as_utf_8_below_new_folders(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "name.txt"
    write_text(path, "läsion\n")
    assert path.read_bytes() == b"l\xc3\xa4sion\n"


def test_the_rights_are_those_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    write_text(tmp_path / "atomic", "")
    assert (tmp_path / "atomic").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_pipe_is_written_to_and_stays_one(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append(path.read_bytes()))
    reader.start()
    write_text(path, "a report")
    reader.join(timeout=30)
    assert received == [b"a report"]
    assert path.is_fifo()
    assert names_in(tmp_path) == ["pipe"]


def test_a_device_stays_one(tmp_path: Path) -> None:
    link = tmp_path / "nothing"
    link.symlink_to(os.devnull)
    write_text(link, "a report")
    assert link.is_symlink()
    assert Path(os.devnull).is_char_device()


def test_a_full_device_is_an_error_and_stays_one() -> None:
    full = Path("/dev/full")
    if not full.is_char_device():
        pytest.skip("no /dev/full")
    with pytest.raises(OSError, match="No space left"):
        write_text(full, "a report")
    assert full.is_char_device()


def test_a_file_behind_a_link_is_replaced_and_the_link_stays(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "report").write_text("old")
    link = tmp_path / "link"
    link.symlink_to(Path("deep") / "report")
    write_text(link, "new")
    assert link.is_symlink()
    assert (tmp_path / "deep" / "report").read_text() == "new"


def test_files_are_added_to_links_and_devices_too(tmp_path: Path) -> None:
    (tmp_path / "mask").symlink_to(os.devnull)
    with adding_files(tmp_path) as folder:
        (folder / "mask").write_bytes(b"mask")
        (folder / "other").write_bytes(b"other")
    assert (tmp_path / "mask").is_symlink()
    assert (tmp_path / "other").read_bytes() == b"other"


def test_an_empty_folder_may_be_filled(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with writing_folder(tmp_path / "out") as folder:
        (folder / "new").touch()
    assert names_in(tmp_path / "out") == ["new"]


def test_a_folder_that_came_into_being_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "out"

    def write() -> None:
        with writing_folder(path) as folder:
            (folder / "ours").touch()
            path.mkdir()
            (path / "theirs").touch()

    with pytest.raises(EdgesegError, match="remove it or choose another output") as caught:
        write()
    assert str(path) in str(caught.value)
    assert names_in(path) == ["theirs"]
    assert names_in(tmp_path) == ["out"]


def replace_folder(path: Path, mark: str) -> None:
    with writing_folder(path, replace=True) as folder:
        (folder / mark).touch()


def hide_exchange(patch: pytest.MonkeyPatch) -> None:
    """Act as a system without renameat2."""
    patch.setattr(ctypes, "CDLL", lambda *_, **__: object())


@pytest.mark.parametrize("prepare", [lambda _: None, hide_exchange], ids=["exchange", "two steps"])
def test_a_replacement_takes_the_place_of_the_old_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prepare: Callable[[pytest.MonkeyPatch], None]
) -> None:
    prepare(monkeypatch)
    path = tmp_path / "folder"
    for mark in ("first", "second", "third"):
        replace_folder(path, mark)
        assert names_in(path) == [mark]
        assert names_in(tmp_path) == ["folder"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux exchanges in one step")
def test_the_folder_is_never_missing_while_it_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    replace_folder(path, "0")
    done, missing = threading.Event(), threading.Event()

    def watch() -> None:
        while not done.is_set():
            if not path.is_dir():
                missing.set()

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        for index in range(1, 101):
            replace_folder(path, str(index))
    finally:
        done.set()
        watcher.join()
    assert not missing.is_set()
    assert names_in(path) == ["100"]


def test_a_place_that_cannot_be_written_is_told_by_its_own_name(tmp_path: Path) -> None:
    long = tmp_path / ("x" * 250)  # its partial name would be too long
    with pytest.raises(OSError, match=f"'{long}'$"), writing_file(long):
        pass
    with pytest.raises(OSError, match=f"'{long}'$"), writing_folder(long):
        pass
    assert list(tmp_path.iterdir()) == []
