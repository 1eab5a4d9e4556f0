"""A compiler of Kotlin, and classes that stand for Android's."""

from __future__ import annotations

from pathlib import Path

import pytest
from kotlin_compiler import STUBS, Kotlin, compile_java, fetch_kotlin
from sharing import make_once


@pytest.fixture(scope="session")
def kotlin(shared_folder: Path) -> Kotlin:
    return Kotlin(make_once(shared_folder, "kotlin", fetch_kotlin))


@pytest.fixture(scope="session")
def stubs(kotlin: Kotlin, shared_folder: Path) -> Path:
    """With these kits are compiled and run."""
    return make_once(shared_folder, "stubs", lambda path: compile_java(STUBS / "java", path))
