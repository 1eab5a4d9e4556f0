"""Fixtures of the benchmark tests."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgeseg.records import RunnerSpec


@pytest.fixture
def fake_runner(monkeypatch: pytest.MonkeyPatch) -> Callable[..., RunnerSpec]:
    """Describe a runner of `fake_runners.py` so that a worker can open it."""
    folders = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, folders)))

    def describe(function: str, *, threads: int = 1, **arguments: Any) -> RunnerSpec:
        return RunnerSpec(f"fake_runners:{function}", arguments, ("numpy",), threads)

    return describe
