"""Packages of npm that a kit needs: fetched once, pinned, and compared with what was tested."""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import TargetError, UsageError
from ..records import sha256_of_file
from ..storage.cache import get_or_make

LIMIT_S = 300
PATIENCE = ("--fetch-retries=1", "--fetch-timeout=60000")


@dataclass(frozen=True, eq=False)
class Package:
    """One version of a package, and those of its files that a kit takes.

    Attributes:
        name: As npm has it.
        version: The only one that was tested.
        files: Path within the package -> SHA-256 of its content.
    """

    name: str
    version: str
    files: Mapping[str, str]

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"


def find_package(package: Package, packages: Path | None) -> Path:
    """Folder of a package, whose files were compared.

    Args:
        packages: A folder node_modules that is there already; None lets npm fetch the package
            into the cache.

    Raises:
        UsageError: There is no npm, it cannot fetch the package, or `packages` lacks it or holds
            another version.
        TargetError: A file is not that which was tested.
    """
    if packages is None:
        record = {"package": str(package)}
        folder, _ = get_or_make("packages", record, lambda empty: _fetch(package, empty))
    else:
        folder = packages / package.name
        _require_version(package, folder)
    for name, wanted in package.files.items():
        path = folder / name
        if not path.is_file() or sha256_of_file(path) != wanted:
            raise TargetError(
                f"{path} is not the file of {package} that kits were tested with. Install that "
                "version anew, or leave out --packages, so that npm fetches it."
            )
    return folder


def licence_of(folder: Path) -> str:
    """Short name of a package's licence, as it states it."""
    record = json.loads((folder / "package.json").read_text(encoding="utf-8"))
    return str(record.get("license", "not stated"))


def _require_version(package: Package, folder: Path) -> None:
    try:
        record = json.loads((folder / "package.json").read_text(encoding="utf-8"))
        found = record["version"]
    except (OSError, ValueError, KeyError, TypeError):
        raise UsageError(
            f"{folder} is no package of npm. Give the folder node_modules as --packages, after: "
            f"npm install {package}"
        ) from None
    if found != package.version:
        raise UsageError(
            f"{folder} is version {found}, and the kit was tested with {package.version}. Run: "
            f"npm install {package}"
        )


def _fetch(package: Package, folder: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise UsageError(
            f"The kit needs {package}, and there is no npm on the PATH to fetch it. Install npm, "
            "or install the package elsewhere and give its folder node_modules as --packages."
        )
    # Scripts of a package never run here, and what it depends on is not needed.
    words = [npm, "pack", str(package), "--ignore-scripts", *PATIENCE]
    try:
        run = subprocess.run(
            words, cwd=folder, capture_output=True, text=True, timeout=LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise _not_fetched(package, f"it took more than {LIMIT_S} s") from None
    archives = list(folder.glob("*.tgz"))
    if run.returncode != 0 or len(archives) != 1:
        lines = [line for line in run.stderr.splitlines() if "code" in line or "error" in line]
        raise _not_fetched(package, (lines or ["it gave no archive"])[0][:200])
    with tarfile.open(archives[0]) as archive:
        archive.extractall(folder, filter="data")
    archives[0].unlink()
    for path in (folder / "package").iterdir():
        path.rename(folder / path.name)
    (folder / "package").rmdir()


def _not_fetched(package: Package, reason: str) -> UsageError:
    return UsageError(
        f"npm cannot fetch {package} ({reason}). Connect to the network, or install the package "
        "elsewhere and give its folder node_modules as --packages."
    )
