"""Fixtures of the target tests."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_jetson import FAKES, take_out


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """A Jetson with TensorRT 10.3.0 and cuda-python; its environment changes what it pretends."""
    before = take_out()
    monkeypatch.syspath_prepend(FAKES)
    monkeypatch.setenv("EDGESEG_CACHE_DIR", str(tmp_path / "cache"))
    yield monkeypatch
    take_out()
    sys.modules.update(before)
