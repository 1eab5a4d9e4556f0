"""Errors a user can cause.

    EdgesegError                 exit code 1: the work was tried and failed
    ├── UsageError               exit code 2: the request cannot be meant as it stands
    │   ├── UnknownNameError     no such model, target, precision, recipe, ...
    │   └── OutputInUseError     the output folder holds something that would be lost
    ├── MissingBackendError      a package is not installed; names the extra that adds it
    ├── DataError                an image, mask, split list or data set cannot be used
    ├── WeightsError             a checkpoint cannot be used
    ├── TrainingError            training cannot go on
    ├── ExportError              a model does not become ONNX
    ├── ParityError              two forms of one model disagree
    ├── CalibrationError         quantisation has nothing sound to work from
    ├── TargetError              a target cannot do what is asked
    ├── BundleError              a bundle is incomplete, changed or of another version
    ├── BenchmarkError           a measurement could not be taken
    │   └── WorkerKilledError    its process was killed from outside: it may go well another time
    ├── DeviceError              a remote device is not reached, or fails at what it is asked
    │   ├── DeviceLostError      the connection broke: the device may come back
    │   └── DeviceTimeoutError   what ran there took too long and was killed
    └── InterruptedCommandError  exit code 130: Ctrl-C ended the command

Each message says what happened, to which thing with which value, and what to do next.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

REASON_LENGTH = 400
MESSAGE_LENGTH = 1_800


def reason_of(error: BaseException) -> str:
    """What a package's own exception says, on one line and not too long, to be quoted."""
    return " ".join(str(error).split())[:REASON_LENGTH]


class EdgesegError(Exception):
    """Base of every deliberate error."""

    exit_code = 1

    def __str__(self) -> str:
        """The message, on paper too: names in it may be long, or hold what moves a cursor."""
        text = super().__str__()
        if len(text) > MESSAGE_LENGTH:
            # What happened stands at the beginning, and what to do at the end.
            text = f"{text[: MESSAGE_LENGTH - 600]} [...] {text[-500:]}"
        return "".join(map(_shown, text))


def _shown(letter: str) -> str:
    return letter if letter.isprintable() or letter == "\n" else ascii(letter)[1:-1]


class UsageError(EdgesegError):
    exit_code = 2


class UnknownNameError(UsageError):
    """A name that no registry knows.

    Args:
        kind: What the name should have been, such as "target".
        name: What was given.
        available: All names that would have been right.
        owner: What should have something of that name, such as "runtime openvino".
    """

    def __init__(self, kind: str, name: str, available: Iterable[str], owner: str = "") -> None:
        names = sorted(available)
        by_lower_case = {other.lower(): other for other in names}
        close = difflib.get_close_matches(name.lower(), by_lower_case, n=1)
        hint = f" Did you mean {by_lower_case[close[0]]}?" if close else ""
        listing = ", ".join(names) or "none"
        # A name alone, such as that of a model, is written as it is.
        subject = owner[0].upper() + owner[1:] if " " in owner else owner
        what = f"{subject} has no {kind} '{name}'" if owner else f"Unknown {kind} '{name}'"
        super().__init__(f"{what}.{hint} Available: {listing}.")


class OutputInUseError(UsageError):
    pass


class MissingBackendError(EdgesegError):
    pass


class DataError(EdgesegError):
    pass


class WeightsError(EdgesegError):
    pass


class TrainingError(EdgesegError):
    pass


class ExportError(EdgesegError):
    pass


class ParityError(EdgesegError):
    pass


class CalibrationError(EdgesegError):
    pass


class TargetError(EdgesegError):
    pass


class BundleError(EdgesegError):
    pass


class BenchmarkError(EdgesegError):
    pass


class WorkerKilledError(BenchmarkError):
    """A measuring process was killed from outside: what was measured may go well another time."""


class DeviceError(EdgesegError):
    pass


class DeviceLostError(DeviceError):
    """The connection to a device broke in the middle of something: the device may come back."""


class DeviceTimeoutError(DeviceError):
    """What ran on a device took too long and was killed; the device itself is there."""


class InterruptedCommandError(EdgesegError):
    """Ctrl-C ended a command."""

    exit_code = 130  # as shells have it
