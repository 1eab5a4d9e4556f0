"""Cache keys hold what the user's process imported, and nothing that was installed."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeseg.storage.imported_code import imported_code_digest, imported_files

NAME = "helper_of_a_test"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop(NAME, None)


def test_a_helper_counts_once_it_is_imported_and_with_each_edit(folder: Path) -> None:
    (folder / f"{NAME}.py").write_text("WIDTH = 3\n")
    before = imported_code_digest()
    importlib.import_module(NAME)
    after = imported_code_digest()
    assert imported_files()[NAME] == folder / f"{NAME}.py"
    assert before != after == imported_code_digest()
    (folder / f"{NAME}.py").write_text("WIDTH = 4\n")
    assert imported_code_digest() not in (before, after)


def test_installed_packages_python_and_edgeseg_do_not_count(folder: Path) -> None:
    before = imported_code_digest()
    place = folder / "site-packages" / f"{NAME}.py"
    place.parent.mkdir()
    place.write_text("")
    sys.path.insert(0, str(place.parent))
    try:
        importlib.import_module(NAME)
    finally:
        sys.path.remove(str(place.parent))
    assert imported_code_digest() == before
    names = {name.partition(".")[0] for name in imported_files()}
    assert names.isdisjoint({NAME, "edgeseg", "json", "numpy", "pytest", "__main__"})


def test_the_same_file_elsewhere_is_the_same_and_a_removed_one_is_told(folder: Path) -> None:
    digests = []
    for place in ("a", "b"):
        (folder / place).mkdir()
        (folder / place / f"{NAME}.py").write_text("WIDTH = 3\n")
        sys.path.insert(0, str(folder / place))
        importlib.invalidate_caches()
        importlib.import_module(NAME)
        digests.append(imported_code_digest())
        sys.path.remove(str(folder / place))
        if place == "b":
            (folder / place / f"{NAME}.py").unlink()
            digests.append(imported_code_digest())
        del sys.modules[NAME]
    assert digests[0] == digests[1] != digests[2]
