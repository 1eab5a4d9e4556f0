"""Results of long steps, kept by what they were made from."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
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
from .atomic import remove_stale_partials, writing_folder

PACKAGE_FOLDERS = ("edgeseg", "edgeseg.quantize", "edgeseg.targets", "edgeseg.benchmarks")
# What BACKENDS lacks, since no command names it.
OTHER_PACKAGES = ("numpy", "pillow", "tensorflow")
COMPLETE = ".complete"
DAY_S = 24 * 3600.0
IN_USE_S = 600.0  # what was touched since is left to the command that did it
KINDS = frozenset(
    {"baselines", "bundles", "float-labels", "onnx", "paraphrasers", "toolkits", "tuning"}
    | {"teacher"}
)
_KEY = re.compile(r"[0-9a-f]{64}")
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
    was_there = folder.is_dir()
    if enabled and _is_whole(folder) and mark_used(folder / COMPLETE):
        return folder, True
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
        recorded = json.loads((folder / COMPLETE).read_text(encoding="utf-8"))
        return bool(recorded == _digests(folder))
    except (OSError, ValueError):
        return False


def discard(folder: Path) -> None:
    """Drop one result, when it turned out to be damaged."""
    (folder / COMPLETE).unlink(missing_ok=True)
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
        found = [path.stat() for path in (folder, *folder.rglob("*"))]
    except FileNotFoundError:
        return None
    size_bytes = sum(one.st_size for one in found if stat.S_ISREG(one.st_mode))
    newest = max(one.st_mtime for one in found)
    return Kept(folder.parent.name, folder, size_bytes, max(time.time() - newest, 0.0))


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
