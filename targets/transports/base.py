"""What every way to a device offers."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Self

STDERR_TAIL = 600  # characters of what a device said that a message quotes


@dataclass(frozen=True)
class Finished:
    """A command that ended by itself on the device.

    Attributes:
        code: Exit code; negative is the signal that ended it.
        stdout, stderr: What it printed, the end of it where that is long.
    """

    code: int
    stdout: str
    stderr: str


class Transport(abc.ABC):
    """A connection to one device, with a private folder there.

    All names are relative to that folder, which is also where commands run. When the block ends,
    whatever ends it, the commands are killed and the folder is removed; a process on the device
    sees to that by itself when this machine is gone.

    Attributes:
        address: As the user gave it, for messages.
        timeout_s: How long one step on the device may take.
    """

    address: str
    timeout_s: float

    @abc.abstractmethod
    def __enter__(self) -> Self:
        """Connect and make the folder.

        Raises:
            DeviceError: The client program is missing, or the device is not reached, does not let
                the user in, or cannot do what is needed; the message says which.
        """

    @abc.abstractmethod
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    @abc.abstractmethod
    def push(self, source: Path, name: str) -> None:
        """Copy a file to the device; folders in `name` are made.

        Raises:
            DeviceError: The device's disk is full, or the connection is lost.
        """

    @abc.abstractmethod
    def pull(self, name: str, destination: Path, *, limit_bytes: int) -> None:
        """Copy a file from the device.

        Raises:
            DeviceError: It is not there, larger than it can be, or the connection is lost.
        """

    @abc.abstractmethod
    def remove(self, name: str) -> None:
        """Delete a file or a folder; one that is not there is no error."""

    @abc.abstractmethod
    def run(self, command: Sequence[str]) -> Finished:
        """Run a command to its end.

        Raises:
            DeviceError: It takes longer than `timeout_s` and was killed, or the connection is lost.
        """


def check_name(name: str) -> str:
    """Refuse a name that would lead out of the device's folder."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise ValueError(f"{name!r} is no name inside the device's folder.")
    return path.as_posix()


def tail(text: str) -> str:
    """The end of what a device said, on one line."""
    return " ".join(text.split())[-STDERR_TAIL:]
