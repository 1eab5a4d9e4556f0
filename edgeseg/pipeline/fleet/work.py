"""What is done for a step, wherever that is, and what its failure means."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from edgeseg.benchmarks.report import Report
from edgeseg.bundle.bundle import Bundle
from edgeseg.errors import BenchmarkError, DeviceError, EdgesegError, reason_of
from edgeseg.progress import Progress

from ..builder.device_settings import DeviceSettings
from ..builder.request import BuildRequest
from .steps import FAILED, REFUSED

LOCK_NAME = "sweep.lock"


@dataclass(frozen=True)
class Measurement:
    """What is measured in one run.

    Attributes:
        bundles: Folders, in which bundles of one model lie.
        baselines: Folders of FP32 bundles that others are compared with, where these were
            measured before.
        data: Folder with labelled images; None takes the sample.
        device: How the device is reached; None is the machine that measures.
    """

    bundles: tuple[Path, ...]
    baselines: tuple[Path, ...]
    data: Path | None
    splits: tuple[str, ...]
    images: int | None
    threads: int
    runs: int
    device: DeviceSettings | None = None


@dataclass(frozen=True)
class Work:
    """How steps are done; functions of modules, as other processes import them.

    Attributes:
        build: Builds and verifies a bundle.
        measure: Measures bundles in one interleaved run.
    """

    build: Callable[[BuildRequest, Progress], Bundle]
    measure: Callable[[Measurement, Progress], Report]


def state_after(error: Exception) -> str:
    """What a step is when it raised this: refused where a further try would raise it again."""
    is_chance = isinstance(error, (BenchmarkError, DeviceError))
    return REFUSED if isinstance(error, EdgesegError) and not is_chance else FAILED


def reason_after(error: Exception) -> str:
    """Why, with what to do."""
    if isinstance(error, EdgesegError):
        return str(error)
    return (
        f"{type(error).__name__}: {reason_of(error)}. Run the sweep again to try it once more; "
        "with EDGESEG_DEBUG=1 edgeseg build tells where it comes from."
    )


@contextlib.contextmanager
def taking_turns(folder: Path, *, alone: bool) -> Iterator[None]:
    """A block during which no other driver of the same sweep measures on this machine.

    Args:
        folder: Of the sweep.
        alone: For a measurement: nobody builds meanwhile, either.
    """
    # The system gives the lock up with the process, whatever ended it.
    with (folder / LOCK_NAME).open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        yield
