"""Fixtures of the benchmark tests."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fake_runners
import pytest
from fake_runners import FakeRunner


@pytest.fixture
def fake_runner(monkeypatch: pytest.MonkeyPatch) -> Callable[..., FakeRunner]:
    """Describe a runner of `fake_runners.py` so that a worker can open it."""
    folders = [str(Path(fake_runners.__file__).parent), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, folders)))

    def describe(function: str, *, threads: int = 1, **arguments: Any) -> FakeRunner:
        return FakeRunner(function, threads, arguments)

    return describe
