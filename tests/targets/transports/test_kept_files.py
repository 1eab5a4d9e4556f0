"""Files that a device keeps by their content."""

from __future__ import annotations

import ast
import hashlib
import os
import time
from pathlib import Path

import pytest

from edgeseg.lazy import module_file
from edgeseg.targets.transports.kept_files import KEPT_S, STORE, KeptFiles, cache_folders

CONTENT = b"an artefact"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> KeptFiles:
    monkeypatch.setenv("EDGESEG_CACHE_DIR", str(tmp_path / "cache"))
    return KeptFiles(tmp_path / "own")


def arrive(tmp_path: Path, content: bytes = CONTENT) -> Path:
    path = tmp_path / "arriving"
    path.write_bytes(content)
    return path


def test_what_was_kept_is_found_by_its_content(kept: KeptFiles, tmp_path: Path) -> None:
    assert kept.find(SHA256) is None
    path = kept.keep(arrive(tmp_path), SHA256)
    assert path == kept.find(SHA256) == str(tmp_path / "cache" / STORE / SHA256)
    assert not (tmp_path / "arriving").exists()
    kept.place(SHA256, tmp_path / "deep" / "model.bin")
    kept.place(SHA256, tmp_path / "deep" / "model.bin")
    assert (tmp_path / "deep" / "model.bin").read_bytes() == CONTENT
    kept.forget([SHA256, "0" * 64])
    assert kept.find(SHA256) is None
    assert (tmp_path / "deep" / "model.bin").read_bytes() == CONTENT


def test_what_arrives_changed_is_not_kept(kept: KeptFiles, tmp_path: Path) -> None:
    assert kept.keep(arrive(tmp_path, b"another"), SHA256) is None
    assert kept.find(SHA256) is None


def test_a_file_that_lost_its_content_is_not_found(kept: KeptFiles, tmp_path: Path) -> None:
    """As after a loss of power."""
    path = kept.keep(arrive(tmp_path), SHA256)
    assert path is not None
    Path(path).write_bytes(b"")
    assert kept.find(SHA256) is None
    assert not Path(path).exists()


def test_what_nobody_looks_at_goes_after_a_week(kept: KeptFiles, tmp_path: Path) -> None:
    path = kept.keep(arrive(tmp_path), SHA256)
    assert path is not None
    old = time.time() - KEPT_S - 10
    os.utime(path, (old, old))
    assert kept.find("0" * 64) is None
    assert not Path(path).exists()


@pytest.mark.parametrize("name", ["../../etc/passwd", "", "A" * 64, "0" * 63])
def test_only_checksums_name_files(kept: KeptFiles, name: str) -> None:
    with pytest.raises(PermissionError, match="is no checksum"):
        kept.find(name)


def test_without_a_place_that_lasts_files_go_with_the_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("EDGESEG_CACHE_DIR", str(tmp_path / "file" / "below"))
    assert KeptFiles(tmp_path / "own").folder() == tmp_path / "own" / STORE


def test_the_store_is_in_the_cache_of_edgeseg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGESEG_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/shared")
    assert cache_folders() == [Path("/shared/edgeseg")]
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/pi")
    assert cache_folders() == [Path("/home/pi/.cache/edgeseg")]


def test_it_runs_on_an_old_python() -> None:
    text = module_file("edgeseg.targets.transports.kept_files").read_text()
    ast.parse(text, feature_version=(3, 8))
