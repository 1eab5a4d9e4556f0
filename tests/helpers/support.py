"""What tests share beside fixtures."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeseg.lazy import is_installed
from edgeseg.pipeline.builder import second_load
from edgeseg.records import Artifact
from edgeseg.targets import open_backend

ROOT = Path(__file__).resolve().parents[2]
DATA_ENVIRONMENT = "EDGESEG_DATA"
TOOLKITS_ENVIRONMENT = "EDGESEG_TOOLKITS_PYTHON"
INSTALL_SCRIPT = "tests/install_debian_packages.sh"
UNTESTED: set[str] = set()  # what the summary names at the end of the run
REPORTED: list[str] = []  # numbers that it prints


def toolkit_python(name: str) -> Path:
    """Interpreter that has an external toolkit; skips, and says so at the end, where there is none.

    It is looked for in `EDGESEG_TOOLKITS_PYTHON`, then here.
    """
    from edgeseg.errors import UsageError
    from edgeseg.pipeline.measuring.external_toolkits import open_environments

    python = Path(os.environ.get(TOOLKITS_ENVIRONMENT) or sys.executable)
    try:
        open_environments({name: python})
    except UsageError as error:
        UNTESTED.add(f"toolkit {name} (set {TOOLKITS_ENVIRONMENT})")
        pytest.skip(str(error))
    return python


def needs(*packages: str) -> pytest.MarkDecorator:
    """Skip where one of the packages is missing; the end of the run says which."""
    missing = [name for name in packages if not is_installed(name)]
    UNTESTED.update(missing)
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


class Counter:
    """Progress that counts steps and keeps notes."""

    def __init__(self) -> None:
        self.steps = 0.0
        self.notes: list[str] = []
        self.total: float | None = None

    @contextlib.contextmanager
    def stage(self, title: str, total: float | None = None) -> Iterator[Counter]:
        self.total = total
        yield self

    def advance(self, steps: float = 1) -> None:
        self.steps += steps

    def note(self, text: str) -> None:
        self.notes.append(text)


def draw_pair(size: tuple[int, int], seed: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Image (H, W, 3) and mask (H, W) of 0 and 1, both uint8."""
    generator = np.random.default_rng(seed)
    rows, columns = np.mgrid[: size[0], : size[1]]
    centre = generator.uniform(0.35, 0.65, 2) * size
    mask = np.hypot(rows - centre[0], columns - centre[1]) < min(size) * 0.3
    image = np.where(mask[..., None], (120, 70, 50), (220, 180, 170))
    noisy = image + generator.normal(0, 8, (*size, 3))
    return noisy.clip(0, 255).astype(np.uint8), mask.astype(np.uint8)


_in_new_process = second_load.predict_in_new_process


@contextlib.contextmanager
def loaded_again_here() -> Iterator[None]:
    """Let builds load what they made a second time in this process."""

    def predict(artifact: Artifact, inputs: second_load.Masks, name: str) -> second_load.Masks:
        backend = open_backend(artifact, second_load.THREADS)
        return [np.array(backend.run(image), np.float32) for image in inputs]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(second_load, "predict_in_new_process", predict)
        yield


@contextlib.contextmanager
def loaded_again_elsewhere() -> Iterator[None]:
    """Let builds load what they made a second time in another process, as they do for users."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(second_load, "predict_in_new_process", _in_new_process)
        yield


@contextlib.contextmanager
def native_optimised(option: str) -> Iterator[None]:
    """Let the runtime native compile with that option, -O0 or -O2; what is computed is the same."""
    from edgeseg.targets.native import compiler

    words = tuple(option if word.startswith("-O") else word for word in compiler.COMPILE)
    assert option in words
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiler, "COMPILE", words)
        yield


def changed(record: dict[str, Any], place: str, value: Any) -> dict[str, Any]:
    """A copy of a JSON record with another value at "a.b.c"."""
    copied: dict[str, Any] = json.loads(json.dumps(record))
    *parents, last = place.split(".")
    part = copied
    for key in parents:
        part = part[key]
    part[last] = value
    return copied
