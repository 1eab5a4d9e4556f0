"""Kotlin's compiler from npm, and programs that it compiles, run on a Java machine.

Tests skip where java, javac or npm is missing, or where the package cannot be fetched.
"""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pytest
from support import INSTALL_SCRIPT, ROOT, UNTESTED

PACKAGE = "kotlin-compiler"
VERSION = "2.4.20"
SHA512 = "IF5IVM7LpPhA/ntHQQpaVt1yxpaaQovtEVYLyqWMuaLr0XelLPPm7/sM6HLhtcRjjjoSsK7I7lP2kzYJkMy73w=="
NEEDED = ("java", "javac", "npm")
STUBS = ROOT / "tests" / "embed" / "phones" / "stubs"  # stand for Android, LiteRT and JUnit
PROGRAMS = ROOT / "tests" / "embed" / "phones" / "kotlin"
SECONDS = 300


class Kotlin:
    """The compiler.

    Attributes:
        library: Folder with its archives.
    """

    def __init__(self, library: Path) -> None:
        self.library = library

    @property
    def standard_library(self) -> Path:
        return self.library / "kotlin-stdlib.jar"

    def compile(self, sources: Iterable[Path], classes: Path, path: Sequence[Path] = ()) -> None:
        """Compile files and folders into the folder `classes`; a warning is an error.

        Args:
            path: Folders of classes that the sources use.
        """
        done = subprocess.run(
            [
                *("java", "-Xmx1g", "-cp", self.library / "kotlin-compiler.jar"),
                *("org.jetbrains.kotlin.cli.jvm.K2JVMCompiler", "-no-stdlib", "-no-reflect"),
                *("-Werror", "-Wextra", "-jvm-target", "17", "-d", classes),
                *("-cp", os.pathsep.join(map(str, (self.standard_library, *path)))),
                *sources,
            ],
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "warning:" not in done.stdout + done.stderr

    def run(
        self,
        main: str,
        *arguments: str,
        path: Sequence[Path],
        properties: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a program; how it ended is for the caller to judge."""
        return subprocess.run(
            [
                *("java", "-Xmx1g", "-Xcheck:jni"),
                *(f"-D{name}={value}" for name, value in (properties or {}).items()),
                *("-cp", os.pathsep.join(map(str, (self.standard_library, *path)))),
                *(main, *arguments),
            ],
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
            env={**os.environ, **(environment or {})},
        )


def compile_java(sources: Path, classes: Path) -> None:
    """Compile a folder of Java; a warning is an error."""
    files = sorted(sources.rglob("*.java"))
    command = ["javac", "--release", "17", "-Xlint:all", "-Werror", "-d", classes, *files]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stderr


def fetch_kotlin(folder: Path) -> None:
    """Fetch the compiler into the new `folder`, or skip; npm keeps its archive."""
    missing = [name for name in NEEDED if shutil.which(name) is None]
    if missing:
        UNTESTED.add(f"Kotlin (run {INSTALL_SCRIPT})")
        pytest.skip(f"not installed: {', '.join(missing)}")
    work = folder.with_name(f"{folder.name}-fetched")
    work.mkdir(exist_ok=True)
    done = subprocess.run(
        ["npm", "pack", "--prefer-offline", "--silent", f"{PACKAGE}@{VERSION}"],
        cwd=work,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    archive = work / f"{PACKAGE}-{VERSION}.tgz"
    if done.returncode != 0 or not archive.is_file():
        UNTESTED.add("Kotlin (npm cannot fetch its compiler)")
        pytest.skip(f"npm cannot fetch {PACKAGE}: {done.stderr[-200:]}")
    digest = hashlib.sha512(archive.read_bytes()).digest()
    assert base64.b64encode(digest).decode() == SHA512, f"{archive} is another file"
    with tarfile.open(archive) as opened:
        opened.extractall(work, filter="data")
    (work / "package" / "lib").rename(folder)
    shutil.rmtree(work)
