"""Results of long steps, kept by what they were made from."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import logging
import os
import platform
import re
import shutil
import stat
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..lazy import BACKENDS, has_home, installed_version, substitute_home
from ..records import sha256_of_file
from .atomic import remove_other_kind, remove_stale_partials, writing_folder
from .reading import read_json

PACKAGE_FOLDERS = ("edgeseg", "edgeseg.quantize", "edgeseg.targets", "edgeseg.benchmarks")
# What BACKENDS lacks, since no command names it.
OTHER_PACKAGES = ("numpy", "pillow", "tensorflow")
COMPLETE = ".complete"
DAY_S = 24 * 3600.0
IN_USE_S = 600.0  # what was touched since is left to the command that did it
KINDS = frozenset(
    {"baselines", "bundles", "float-labels", "methods", "onnx", "packages", "paraphrasers"}
    | {"teacher", "toolkits", "tuning"}
)
_damaged: list[Path] = []
_KEY = re.compile(r"[0-9a-f]{64}")
SEARCHES = "tuning"
ENGINES = "engines"  # `targets.runners.tensorrt_backend` keeps them by names of its own
_ENGINE = re.compile(r"[0-9a-f]{16}-[a-z0-9-]+")


def cache_root() -> Path:
    """`EDGESEG_CACHE_DIR`, else `edgeseg` in the user's cache folder.

    Raises:
        UsageError: The user has no home, nor may a folder be made in its place.
    """
    if os.environ.get("EDGESEG_CACHE_DIR"):
        return Path(os.environ["EDGESEG_CACHE_DIR"])
    if os.environ.get("XDG_CACHE_HOME"):
        return Path(os.environ["XDG_CACHE_HOME"]) / "edgeseg"
    return _home() / ".cache" / "edgeseg"


def _home() -> Path:
    if has_home():
        return Path.home()
    try:
        return substitute_home()
    except OSError as error:
        raise UsageError(
            f"There is no place for the cache: the user has no home folder, and {error.filename} "
            f"cannot be taken in its place ({error.strerror}). Name a folder with "
            "EDGESEG_CACHE_DIR."
        ) from error


@lru_cache(maxsize=1)
def code_digest() -> str:
    """Hash of edgeseg's own source, so that a change of it never finds old results."""
    digest = hashlib.sha256()
    for package in PACKAGE_FOLDERS:
        for place in importlib.import_module(package).__path__:
            for path in sorted(Path(place).rglob("*.py")):
                digest.update(f"{package}/{path.relative_to(place).as_posix()}\0".encode())
                digest.update(path.read_bytes())
    return digest.hexdigest()


def toolchain_versions() -> dict[str, str]:
    """Versions of Python and of all packages that results may depend on, plug-ins too."""
    return _versions_in(tuple(sys.path))


@lru_cache(maxsize=1)
def _versions_in(_path: tuple[str, ...]) -> dict[str, str]:
    versions = {name: installed_version(name) for name in (*BACKENDS, *OTHER_PACKAGES)}
    versions["python"] = platform.python_version()
    plugins = importlib.metadata.entry_points()
    for group in plugins.groups:
        for entry in plugins.select(group=group) if group.startswith("edgeseg.") else ():
            if entry.dist is not None:
                versions[entry.dist.name] = entry.dist.version
    return {name: version for name, version in versions.items() if version is not None}


def content_key(record: dict[str, Any]) -> str:
    """Hash of a JSON record together with the code and the toolchain that will use it."""
    full = {"record": record, "code": code_digest(), "toolchain": toolchain_versions()}
    return hashlib.sha256(json.dumps(full, sort_keys=True).encode()).hexdigest()


def get_or_make(
    kind: str, record: dict[str, Any], make: Callable[[Path], None], *, enabled: bool = True
) -> tuple[Path, bool]:
    """Folder with the result for `record`.

    Args:
        kind: Subfolder of the cache.
        record: Everything that decides the result; must be JSON.
        make: Fills an empty folder. When it raises, nothing is kept.
        enabled: False makes it anew and replaces what was there.

    Returns:
        The folder, which callers must not change, and whether it was there already.
    """
    assert kind in KINDS, kind
    folder = cache_root() / kind / content_key(record)
    # A file in the place of a folder holds nothing that could be used.
    for place in (cache_root() / kind, folder):
        if remove_other_kind(place, is_folder=True):
            tell_damaged(place)
    was_there = folder.is_dir()
    if enabled and _is_whole(folder) and mark_used(folder / COMPLETE):
        return folder, True
    if enabled and was_there:
        tell_damaged(folder)
    # What was there is damaged, or the rest of one whose removal was cut short. Until it is
    # exchanged it stays: another command may have put a whole one in its place.
    with writing_folder(folder, replace=was_there or not enabled, keep=True) as partial:
        make(partial)
        (partial / COMPLETE).write_text(json.dumps(_digests(partial)), encoding="utf-8")
    return folder, False


def mark_used(path: Path) -> bool:
    """Let a result look new, so that it is not pruned; False where it is no longer there."""
    try:
        os.utime(path)
    except FileNotFoundError:
        return False
    except OSError:  # a cache that may only be read
        return True
    return True


def _digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): sha256_of_file(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != COMPLETE
    }


def _is_whole(folder: Path) -> bool:
    """Whether a result is as it was made."""
    try:
        return bool(read_json(folder / COMPLETE) == _digests(folder))
    except (OSError, ValueError):
        return False


def tell_damaged(path: Path) -> None:
    """Note that a result was damaged and is made anew; see `take_damaged`."""
    _damaged.append(path)
    logging.getLogger("edgeseg").warning("%s was damaged; it is made anew.", path)


def take_damaged() -> list[Path]:
    """What was damaged since this was asked last."""
    found = _damaged.copy()
    _damaged.clear()
    return found


def sealed(record: dict[str, Any]) -> dict[str, Any]:
    """A record with the checksum of its content."""
    return {**record, "sha256": _checksum(record)}


def unsealed(record: Any) -> dict[str, Any] | None:
    """What `sealed` took; None where the content is not what was sealed."""
    if not isinstance(record, dict):
        return None
    content = {name: value for name, value in record.items() if name != "sha256"}
    return content if record.get("sha256") == _checksum(content) else None


def _checksum(record: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def discard(folder: Path) -> None:
    """Drop one result, when it turned out to be damaged."""
    with contextlib.suppress(OSError):
        (folder / COMPLETE).unlink()
    shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class Kept:
    """One result in the cache.

    Attributes:
        kind: Subfolder of the cache.
        size_bytes: On disk, of its files.
        idle_s: Seconds since it was made or last found.
    """

    kind: str
    folder: Path
    size_bytes: int
    idle_s: float


def kept_results() -> list[Kept]:
    """All that is in the cache; what it did not make is passed over."""
    root = cache_root()
    places = [folder for kind in sorted(KINDS) for folder in _named(root / kind, _KEY)]
    places += _named(root / ENGINES, _ENGINE)
    return [kept for kept in map(_examine, places) if kept is not None]


def _named(parent: Path, pattern: re.Pattern[str]) -> list[Path]:
    try:
        places = sorted(parent.iterdir())
    except OSError:
        return []
    return [place for place in places if pattern.fullmatch(place.name)]


def _examine(folder: Path) -> Kept | None:
    """None where another command removes it at this moment."""
    try:
        found = [path.lstat() for path in (folder, *folder.rglob("*"))]
    except OSError:
        return None
    size_bytes = sum(one.st_size for one in found if stat.S_ISREG(one.st_mode))
    newest = max(one.st_mtime for one in found)
    return Kept(folder.parent.name, folder, size_bytes, max(time.time() - newest, 0.0))


def check_results() -> tuple[int, list[Path]]:
    """Compare every result with its checksums, and remove those that are damaged.

    What was removed is made anew when it is needed. Engines have no checksum here: they are
    compared when they are loaded.

    Returns:
        How many were looked at, and what was removed.
    """
    places = [folder for kind in sorted(KINDS) for folder in _named(cache_root() / kind, _KEY)]
    checked, damaged = 0, []
    for place in places:
        # A search fills its folder answer by answer, each with a checksum of its own.
        is_search = place.parent.name == SEARCHES and place.is_dir()
        for one in sorted(place.iterdir()) if is_search else [place]:
            checked += 1
            if not (_is_answer(one) if is_search else _is_whole(one)):
                damaged.append(one)
                if one.is_dir() and not one.is_symlink():
                    discard(one)
                else:
                    one.unlink(missing_ok=True)
    return checked, damaged


def _is_answer(path: Path) -> bool:
    try:
        return unsealed(read_json(path)) is not None
    except (OSError, ValueError):
        return False


def prune(days: float) -> list[Kept]:
    """Remove what no command has made or found for some days, and the rest of killed ones.

    What is less than ten minutes old stays, as a command may be at work with it.

    Returns:
        What was removed.
    """
    root = cache_root()
    for kind in KINDS:
        for partial in (root / kind).glob(".*"):
            key = partial.name[1:65]
            if _KEY.fullmatch(key):
                remove_stale_partials(partial.with_name(key))
    least_s = max(days * DAY_S, IN_USE_S)
    removed = []
    for one in kept_results():
        if one.idle_s >= least_s:
            now = _examine(one.folder)  # it may have been found since
            if now is not None and now.idle_s >= least_s:
                discard(one.folder)
                removed.append(one)
    return removed
