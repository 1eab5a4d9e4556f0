"""Temporary folders go with their block, and those of killed processes with the next run."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from edgeseg.storage.temporary import remove_abandoned, temporary_folder

HOLDER = """
import sys, time
from edgeseg.storage.temporary import temporary_folder
with temporary_folder("build") as folder:
    (folder / "graph").write_text("nodes")
    print(folder, flush=True)
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


def test_a_folder_goes_with_its_block_also_by_an_exception(place: Path) -> None:
    with contextlib.suppress(KeyError), temporary_folder("bench") as folder:
        assert folder.parent == place
        assert folder.name.startswith("edgeseg-bench-")
        (folder / "inner").mkdir()
        raise KeyError
    assert list(place.iterdir()) == []


def test_that_of_a_living_process_stays_and_that_of_a_killed_one_goes(place: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDER], stdout=subprocess.PIPE, text=True) as one:
        assert one.stdout is not None
        folder = Path(one.stdout.readline().strip())
        with temporary_folder("bench"):
            assert (folder / "graph").read_text() == "nodes"
        one.send_signal(signal.SIGKILL)
    assert folder.is_dir()
    with temporary_folder("bench"):
        assert not folder.exists()


def test_folders_without_a_lock_go_after_a_day(place: Path) -> None:
    for name in ("edgeseg-build-old", "edgeseg-build-young", "edgeseg-cases", "other-build-old"):
        (place / name).mkdir()
        if not name.endswith("young"):
            os.utime(place / name, (time.time() - 90_000,) * 2)
    (place / "elsewhere").mkdir()
    (place / "edgeseg-build-link.held").symlink_to(place / "elsewhere")
    remove_abandoned()
    left = {path.name for path in place.iterdir()}
    assert left == {
        "edgeseg-build-young", "edgeseg-cases", "other-build-old", "elsewhere",
        "edgeseg-build-link.held",
    }  # fmt: skip


def test_a_fork_that_lives_on_keeps_the_folder(place: Path) -> None:
    with temporary_folder("native") as folder:
        process = os.fork()
        if process == 0:
            time.sleep(60)
            os._exit(0)
        try:
            remove_abandoned()
            assert folder.is_dir()
        finally:
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
    assert not folder.exists()
