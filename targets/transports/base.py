"""What every way to a device offers: connecting, copying, running, signs of life, cleaning up."""

from __future__ import annotations

import abc
import contextlib
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import ClassVar, Self

from edgeseg.errors import DeviceError, DeviceTimeoutError

STDERR_TAIL = 600  # characters of a device's output that a message quotes
BEAT_S = 5.0
END_S = 15.0


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

    One process of the client program lasts as long as the block. It starts the device's end, which
    takes a sign of life every few seconds.

    Args:
        address: As the user gave it, for messages.
        timeout_s: Longest time that one step on the device may take.

    Attributes:
        busy_s: Seconds that steps on the device have taken so far, copying among them.
    """

    client: ClassVar[str]  # program on this machine
    client_advice: ClassVar[str]  # how to install it

    def __init__(self, address: str, timeout_s: float) -> None:
        self.address = address
        self.timeout_s = timeout_s
        self.busy_s = 0.0
        self._client = ""
        self._ended = threading.Event()
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        """Connect and make the folder.

        Raises:
            DeviceError: The client program is missing, or the device is not reached, does not let
                the user in, or cannot do what is needed; the message says which.
        """
        client = shutil.which(self.client)
        if client is None:
            raise DeviceError(
                f"{self.address} needs the program {self.client}, which is not on this machine. "
                f"Install {self.client_advice}."
            )
        self._client = client
        with contextlib.ExitStack() as stack:
            self._connect(stack)
            threading.Thread(target=self._beat, daemon=True).start()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    @abc.abstractmethod
    def _connect(self, stack: contextlib.ExitStack) -> None:
        """Start the client and wait for the device's end; `stack` takes what ends both."""

    @abc.abstractmethod
    def _send_beat(self) -> None:
        """Give the device's end a sign of life; OSError and ValueError mean that it is gone."""

    @abc.abstractmethod
    def _send_end(self) -> None:
        """Tell the device's end to clean up."""

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

    def _start_client(
        self, stack: contextlib.ExitStack, words: Sequence[str], stderr: int
    ) -> subprocess.Popen[bytes]:
        """Start the process that lasts as long as the block.

        Args:
            stack: Takes what ends it.
            words: After the program's name.
            stderr: As `subprocess.Popen` takes it.
        """
        process = subprocess.Popen(
            [self._client, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            # An interrupt from the terminal is for this process, which ends the client in its own
            # way.
            start_new_session=True,
        )
        stack.callback(self._end_client, process)
        return process

    def _end_client(self, process: subprocess.Popen[bytes]) -> None:
        """Let the device's end clean up, and wait until it has."""
        self._ended.set()
        try:
            with contextlib.suppress(OSError, ValueError):
                self._send_end()
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            pass
        finally:
            process.kill()
            process.wait()
            self._close_pipes(process)

    def _close_pipes(self, process: subprocess.Popen[bytes]) -> None:
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    @contextlib.contextmanager
    def _counting(self) -> Iterator[None]:
        """Count the time of a step, whatever becomes of it."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.busy_s += time.monotonic() - started

    def _beat(self) -> None:
        while not self._ended.wait(BEAT_S):
            try:
                self._send_beat()
            except (OSError, ValueError):
                return

    def _too_slow(self, what: str) -> DeviceTimeoutError:
        """Error of a step that was killed when time was up.

        Args:
            what: What the device was to do.
        """
        return DeviceTimeoutError(
            f"{self.address} took more than {self.timeout_s:g} s to {what}; what ran there was "
            "killed. Give it more time with --timeout, or see what else keeps the device busy."
        )

    def _require_size(self, name: str, size: int, limit: int) -> None:
        """Refuse a file of the device that is larger than it can be, in bytes."""
        if size > limit:
            raise DeviceError(
                f"{self.address} sends {size} bytes as {name}, where there can be {limit} at most. "
                "Check what runs on the device."
            )


def check_name(name: str) -> str:
    """Refuse a name that would lead out of the device's folder."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise ValueError(f"{name!r} is no name inside the device's folder.")
    return path.as_posix()


def tail(text: str) -> str:
    """The end of a device's output, on one line."""
    return " ".join(text.split())[-STDERR_TAIL:]
