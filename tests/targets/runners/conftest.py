"""Fixtures of the tests of TensorRT's runner."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fake_jetson import SHAPE, write_plan
from numpy.typing import NDArray


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder = tmp_path / "bundle"
    folder.mkdir()
    write_plan(folder)
    return folder


@pytest.fixture
def image() -> NDArray[np.float32]:
    return np.random.default_rng(0).uniform(0, 255, SHAPE).astype(np.float32)
