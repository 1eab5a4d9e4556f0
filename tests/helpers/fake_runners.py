"""Runners that benchmark workers open; the tests put this folder on PYTHONPATH."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseg.benchmarks.process import ProcessRunner

Images = NDArray[np.float32]


class Runner:
    def __init__(self, function: Callable[[Images], Images]) -> None:
        self.run = function


@dataclass(frozen=True)
class FakeRunner(ProcessRunner):
    """What a function of this module returns."""

    function: str
    threads: int = 1
    arguments: dict[str, Any] = field(default_factory=dict)
    times_blocks: bool = False
    has_masks: bool = True

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> FakeRunner:
        return cls(**record)

    def modules(self) -> Sequence[str]:
        return ("numpy",)

    def open(self) -> Any:
        return getattr(sys.modules[__name__], self.function)(**self.arguments)


def dark_is_foreground(image: Images) -> Images:
    return (image[:, :1] < 127).astype(np.float32)


def open_threshold() -> Runner:
    return Runner(dark_is_foreground)


def open_shifted(rows: int) -> Runner:
    """Finds everything some rows too low."""
    return Runner(lambda image: np.roll(dark_is_foreground(image), rows, axis=2))


def open_broken(reason: str) -> Runner:
    raise ValueError(reason)


def open_deliberate(reason: str) -> Runner:
    from edgeseg.errors import TargetError

    raise TargetError(reason)


def open_nan() -> Runner:
    return Runner(lambda image: np.full_like(image[:, :1], np.nan))


def open_chatty() -> Runner:
    """Prints as libraries do: through Python, and past it."""

    def run(image: Images) -> Images:
        print("a library says something", flush=True)
        os.write(1, b"{ and native code too\n")
        return dark_is_foreground(image)

    print("hello")
    return Runner(run)


def open_killed() -> Runner:
    """Dies as a process does that the system takes the memory from."""

    def run(image: Images) -> Images:
        print("asking for much memory", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
        return image

    return Runner(run)


def open_mortal(inferences: int) -> Runner:
    """Works for a while, then dies."""
    left = [inferences]

    def run(image: Images) -> Images:
        left[0] -= 1
        if left[0] < 0:
            os._exit(9)
        return dark_is_foreground(image)

    return Runner(run)


def open_leaving(code: int) -> Runner:
    os._exit(code)


def open_hungry(megabytes: int) -> Runner:
    """Uses so much memory while it runs, and gives it back."""

    def run(image: Images) -> Images:
        np.ones(megabytes * 1_000_000, np.uint8)
        return dark_is_foreground(image)

    return Runner(run)


def open_environment() -> Runner:
    """Tells what surrounds it by way of an error."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
    raise ValueError(f"cores {cores}, OMP_NUM_THREADS {os.environ.get('OMP_NUM_THREADS')}")
