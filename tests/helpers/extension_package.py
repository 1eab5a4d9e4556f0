"""A package of somebody else, installed for one test: files and entry points in a folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest


def install_package(
    folder: Path,
    name: str,
    files: Mapping[str, str],
    entry_points: Mapping[str, Mapping[str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Make a package importable here and in the processes that are started from here.

    Args:
        folder: For the package; made if it is not there.
        files: Content by path inside the folder.
        entry_points: By group, places "module:attribute" by name.
    """
    metadata = folder / f"{name}-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = []
    for group, places in entry_points.items():
        lines += [f"[{group}]", *(f"{entry} = {place}" for entry, place in places.items())]
    (metadata / "entry_points.txt").write_text("\n".join(lines) + "\n")
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(content)
    monkeypatch.syspath_prepend(folder)
    paths = (str(folder), os.environ.get("PYTHONPATH", ""))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
