"""Fixtures of the tests of runtimes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_jetson import FAKES, take_out


@pytest.fixture
def device(tmp_path: Path) -> Iterator[pytest.MonkeyPatch]:
    """A Jetson with TensorRT 10.3.0 and cuda-python; its environment changes what it pretends."""
    before = take_out()
    # Its own, undone first: it may put modules back that are fakes.
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FAKES)
        patch.setenv("EDGESEG_CACHE_DIR", str(tmp_path / "cache"))
        yield patch
    take_out()
    sys.modules.update(before)
