"""Devices that are reached with the system's OpenSSH client.

One connection, one process at its other end (agent.py), which owns the folder and everything that
runs. ssh reads the user's own configuration and keys; it is told never to ask anything, and host
keys are checked as the user has set it.
"""

from __future__ import annotations

import collections
import contextlib
import json
import os
import select
import shlex
import shutil
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from edgeseg.errors import DeviceError

from . import agent
from .address import SshAddress
from .base import Finished, Transport, check_name
from .ssh_failures import explain_loss, explain_refusal, explain_system_error

OPTIONS = {
    "BatchMode": "yes",
    "ConnectTimeout": "15",
    # A host that does not answer for so long is gone.
    "ServerAliveInterval": "5",
    "ServerAliveCountMax": "4",
    # Of the user's configuration, what is for people at a terminal.
    "RequestTTY": "no",
    "RemoteCommand": "none",
    "PermitLocalCommand": "no",
    "EscapeChar": "none",
    "ClearAllForwardings": "yes",
    "ForwardAgent": "no",
    "ForwardX11": "no",
    # A connection that others share may be used, but this one ends when the work does.
    "ControlMaster": "no",
}
BOOTSTRAP = "import sys;exec(sys.stdin.buffer.read({size}))"
HELLO_S = 60.0
GRACE_S = 30.0  # after the device should have answered that time is up
BEAT_S = 5.0
SILENCE_S = 30.0
END_S = 15.0
PIECE_BYTES = 1 << 20
NOISE_BYTES = 1 << 20  # of login messages, before the agent speaks


class SshTransport(Transport):
    """See `Transport`.

    Args:
        address: Where.
        python: Interpreter on the device, found by its PATH or absolute.
        timeout_s: How long one step on the device may take.
        silence_s: After so long without a sign of this machine the device cleans up.

    Attributes:
        facts: What the device says of itself: `python` (path of the interpreter),
            `python_version`, `machine`, `cores`, `folder`, `free_bytes`.
    """

    def __init__(
        self,
        address: SshAddress,
        *,
        python: str = "python3",
        timeout_s: float = 600.0,
        silence_s: float = SILENCE_S,
    ) -> None:
        self.address = str(address)
        self.timeout_s = timeout_s
        self.facts: dict[str, Any] = {}
        self._where = address
        self._python = python
        self._silence_s = silence_s
        self._ended = threading.Event()
        self._sending = threading.Lock()
        self._received = b""
        self._said: collections.deque[str] = collections.deque(maxlen=60)
        self._listener = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self) -> Self:
        client = shutil.which("ssh")
        if client is None:
            raise DeviceError(
                f"{self.address} needs the program ssh, which is not on this machine. Install the "
                "OpenSSH client (Debian: apt install openssh-client)."
            )
        source = Path(agent.__file__).read_bytes()
        self._process = subprocess.Popen(
            [client, *self._arguments(len(source))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            # An interrupt from the terminal is for this process, which ends ssh in its own way.
            start_new_session=True,
        )
        try:
            self._connect(source)
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close()

    def push(self, source: Path, name: str) -> None:
        name = check_name(name)
        what = f"store {source.name} ({source.stat().st_size / 1e6:.1f} MB)"
        deadline = self._deadline()
        with source.open("rb") as file:
            append = False
            while (piece := file.read(PIECE_BYTES)) or not append:
                self._ask(what, piece, deadline, do="put", name=name, append=append)
                append = True

    def pull(self, name: str, destination: Path, *, limit_bytes: int) -> None:
        what = f"send {name}"
        request = {"do": "get", "name": check_name(name), "limit": PIECE_BYTES}
        deadline = self._deadline()
        with destination.open("wb") as file:
            while True:
                answer, piece = self._ask(what, b"", deadline, offset=file.tell(), **request)
                if answer["total"] > limit_bytes:
                    raise DeviceError(
                        f"{self.address} sends {answer['total']} bytes as {name}, where there can "
                        f"be {limit_bytes} at most. Check what runs on the device."
                    )
                file.write(piece)
                if not piece or file.tell() >= answer["total"]:
                    return

    def remove(self, name: str) -> None:
        self._ask(f"remove {name}", do="remove", name=check_name(name))

    def sha256(self, name: str) -> str:
        """Of a file there, computed there."""
        answer, _ = self._ask(f"read {name}", do="digest", name=check_name(name))
        return str(answer["sha256"])

    def run(self, command: Sequence[str]) -> Finished:
        answer, _ = self._ask(
            f"run {command[0]}",
            do="run",
            command=list(command),
            environment={},
            timeout_s=self.timeout_s,
        )
        return Finished(answer["code"], answer["stdout"], answer["stderr"])

    def start(self, command: Sequence[str], environment: Mapping[str, str]) -> RemoteWorker:
        """Start a process that answers each line with one.

        Args:
            environment: Added to the device's own.
        """
        answer, _ = self._ask(
            f"start {command[0]}",
            do="start",
            command=list(command),
            environment=dict(environment),
        )
        return RemoteWorker(self, answer["worker"])

    def _arguments(self, size: int) -> list[str]:
        options = [word for name, value in OPTIONS.items() for word in ("-o", f"{name}={value}")]
        port = ["-p", str(self._where.port)] if self._where.port else []
        code = BOOTSTRAP.format(size=size)
        # -I: what lies in the user's folder must not be taken for a library.
        command = f"exec {quote_path(self._python)} -I -u -c '{code}' {self._silence_s:g}"
        return ["-T", *options, *port, "--", self._where.destination, command]

    def _connect(self, source: bytes) -> None:
        self._listener.start()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            os.set_blocking(pipe.fileno(), False)
        deadline = time.monotonic() + HELLO_S
        try:
            self._send(source, deadline)
            noise = 0
            while not (line := self._read_line(deadline)).startswith(agent.MAGIC.encode()):
                noise += len(line)
                if noise > NOISE_BYTES:
                    raise EOFError
        except TimeoutError as error:
            raise DeviceError(
                f"{self.address} let ssh in, but {self._python} did not start within "
                f"{HELLO_S:.0f} s. Check the load of the device, and what its shell runs at login."
            ) from error
        except (OSError, EOFError) as error:
            code = self._wait()
            raise DeviceError(
                explain_refusal(self._where, self._python, code, self._words())
            ) from error
        self.facts = json.loads(line[len(agent.MAGIC) :])
        if "error" in self.facts:
            number, said = self.facts["errno"], self.facts["error"]
            what = "make a temporary folder"
            raise DeviceError(explain_system_error(self.address, what, number, said))
        threading.Thread(target=self._beat, daemon=True).start()

    def _deadline(self) -> float:
        """Until when a step that begins now may take."""
        return time.monotonic() + self.timeout_s + GRACE_S

    def _ask(
        self, what: str, content: bytes = b"", deadline: float | None = None, **request: Any
    ) -> tuple[dict[str, Any], bytes]:
        """Send a request and wait for its answer.

        Args:
            what: What the device is to do, for messages.
            deadline: Of a step that takes several requests.
        """
        deadline = self._deadline() if deadline is None else deadline
        if content:
            request["size"] = len(content)
        try:
            self._send(json.dumps(request).encode() + b"\n" + content, deadline)
            answer = json.loads(self._read_line(deadline))
            payload = self._read(answer.pop("size", 0), deadline)
        except (OSError, EOFError, ValueError) as error:
            if isinstance(error, TimeoutError):
                raise self._too_long(what) from error
            self._wait()
            raise DeviceError(explain_loss(self.address, what, self._words())) from error
        if "timed_out" in answer:
            raise self._too_long(what)
        if "error" in answer:
            said, number = answer["error"], answer["errno"]
            raise DeviceError(explain_system_error(self.address, what, number, said))
        return answer, payload

    def _too_long(self, what: str) -> DeviceError:
        return DeviceError(
            f"{self.address} took more than {self.timeout_s:g} s to {what}; what ran there was "
            "killed. Give it more time with --timeout, or see what else keeps the device busy."
        )

    def _send(self, content: bytes, deadline: float) -> None:
        assert self._process.stdin is not None
        pipe = self._process.stdin.fileno()
        left = memoryview(content)
        with self._sending:
            while left:
                if not select.select([], [pipe], [], max(deadline - time.monotonic(), 0))[1]:
                    raise TimeoutError
                with contextlib.suppress(BlockingIOError):
                    left = left[os.write(pipe, left[: 1 << 16]) :]

    def _receive(self, deadline: float) -> None:
        assert self._process.stdout is not None
        pipe = self._process.stdout.fileno()
        if not select.select([pipe], [], [], max(deadline - time.monotonic(), 0))[0]:
            raise TimeoutError
        piece = os.read(pipe, 1 << 16)
        if not piece:
            raise EOFError
        self._received += piece

    def _read_line(self, deadline: float) -> bytes:
        while b"\n" not in self._received:
            self._receive(deadline)
        line, _, self._received = self._received.partition(b"\n")
        return line

    def _read(self, count: int, deadline: float) -> bytes:
        while len(self._received) < count:
            self._receive(deadline)
        content, self._received = self._received[:count], self._received[count:]
        return content

    def _listen(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._said.append(line[-1000:].decode(errors="replace"))

    def _words(self) -> str:
        """What ssh and the device said on standard error, once ssh has ended."""
        self._listener.join(END_S)
        return "".join(self._said)

    def _beat(self) -> None:
        assert self._process.stdin is not None
        while not self._ended.wait(BEAT_S):
            # While something is being sent the device hears us anyway.
            if self._sending.acquire(blocking=False):
                try:
                    os.write(self._process.stdin.fileno(), b"\n")
                except BlockingIOError:
                    pass
                except (OSError, ValueError):
                    return
                finally:
                    self._sending.release()

    def _wait(self) -> int:
        try:
            return self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def _close(self) -> None:
        """End the agent's input, upon which it cleans up and ends, and ssh with it."""
        self._ended.set()
        try:
            with self._sending, contextlib.suppress(OSError):
                assert self._process.stdin is not None
                self._process.stdin.close()
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            pass
        finally:
            self._process.kill()
            self._process.wait()
            self._listener.join(1)
            for pipe in (self._process.stdout, self._process.stderr):
                assert pipe is not None
                pipe.close()


def quote_path(path: str) -> str:
    """For the device's shell, which knows what ~ is."""
    home = "~/" if path.startswith("~/") else ""
    return home + shlex.quote(path.removeprefix(home))


class RemoteWorker:
    """A process on the device that answers lines with lines."""

    def __init__(self, transport: SshTransport, number: int) -> None:
        self._transport = transport
        self._number = number

    def ask(self, line: str, what: str) -> str | Finished:
        """Send a line; returns the answer, or how the process ended instead.

        Args:
            what: What the device is to do, for messages.

        Raises:
            DeviceError: It took too long and was killed, or the connection was lost.
        """
        transport = self._transport
        answer, _ = transport._ask(
            what, do="ask", worker=self._number, line=line, timeout_s=transport.timeout_s
        )
        if "line" in answer:
            return str(answer["line"])
        return Finished(answer["code"], "", answer["stderr"])

    def stop(self) -> None:
        """Kill it."""
        self._transport._ask("end a process", do="stop", worker=self._number)
