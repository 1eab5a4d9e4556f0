"""Places for files that a command writes at its end: refused before the work, not after it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from ...errors import UsageError
from ...storage.atomic import is_special


def require_file_places(places: Mapping[str, Path | None]) -> None:
    """Refuse what no file can be written to, and one file for two options.

    Args:
        places: By option; None was not given.

    Raises:
        UsageError: It names the option.
    """
    given = {option: path for option, path in places.items() if path is not None}
    for option, path in given.items():
        if path.is_dir():
            raise UsageError(f"{option} {path} is a folder. Name a file in it.")
        _require_parent(option, path)
    _require_apart(given)


def require_folder_place(option: str, path: Path | None) -> None:
    """Refuse what no folder can be made at.

    Raises:
        UsageError: It names the option.
    """
    if path is None:
        return
    if path.exists() and not path.is_dir():
        raise UsageError(f"{option} {path} is a file. Name a folder.")
    if not path.exists():
        _require_parent(option, path)


def _require_parent(option: str, path: Path) -> None:
    if is_special(path):  # a pipe or a device takes what it gets
        return
    parent = next(place for place in path.absolute().parents if place.exists())
    if not parent.is_dir():
        raise UsageError(f"{option} {path}: {parent} is a file, and no folder. Name another place.")
    if not os.access(path if path.exists() else parent, os.W_OK):
        raise UsageError(f"{option} {path} cannot be written. Name another place.")


def _require_apart(given: Mapping[str, Path]) -> None:
    seen: dict[Path, str] = {}
    for option, path in given.items():
        place = path.resolve()
        if place in seen and not is_special(path):
            raise UsageError(
                f"{seen[place]} and {option} name the same file, {path}. Name two files."
            )
        seen[place] = option
