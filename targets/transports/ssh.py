"""Devices that are reached with the system's OpenSSH client.

One connection, one process at its other end (agent.py), which owns the folder and everything that
runs. ssh reads the user's own configuration and keys; it is told never to ask anything, and host
keys are checked as the user has set it.
"""

from __future__ import annotations

import collections
import contextlib
import json
import shlex
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeseg.errors import DeviceError, DeviceLostError
from edgeseg.lazy import REPORT_NOTHING, module_file

from . import agent, kept_files
from .address import SshAddress
from .base import END_S, Finished, Transport, check_name
from .pipes import Pipes
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
BOOTSTRAP = "import sys;{steps}"
STEP = "exec(sys.stdin.buffer.read({size}))"
HELLO_S, LEAST_HELLO_S = 60.0, 5.0  # that an interpreter may take to start
GRACE_S = 30.0  # after the device should have answered that time is up
SILENCE_S = 30.0
PIECE_BYTES = 1 << 20
NOISE_BYTES = 1 << 20  # of login messages, before the agent speaks
KEPT_NAME = "arriving"  # of a file on its way to the store


class SshTransport(Transport):
    """See `Transport`.

    Args:
        address: Which device.
        python: Interpreter on the device, found by its PATH or absolute.
        timeout_s: Longest time that one step on the device may take.
        silence_s: After so many seconds without a sign of this machine the device cleans up.

    Attributes:
        facts: What the agent reports of the device: `python` (path of the interpreter),
            `python_version`, `machine`, `cores`, `folder`, `free_bytes`, `pid` of the agent.
    """

    client = "ssh"
    client_advice = "the OpenSSH client (Debian: apt install openssh-client)"

    def __init__(
        self,
        address: SshAddress,
        *,
        python: str,
        timeout_s: float,
        silence_s: float = SILENCE_S,
    ) -> None:
        super().__init__(str(address), timeout_s)
        self.facts: dict[str, Any] = {}
        self._where = address
        self._python = python
        self._silence_s = silence_s
        self._stderr: collections.deque[str] = collections.deque(maxlen=60)
        self._listener = threading.Thread(target=self._listen, daemon=True)

    def _connect(self, stack: contextlib.ExitStack) -> None:
        # The agent uses the other one, in the same namespace.
        sources = [module_file(one.__name__).read_bytes() for one in (kept_files, agent)]
        words = self._arguments([len(source) for source in sources])
        self._process = self._start_client(stack, words, stderr=subprocess.PIPE)
        self._pipes = Pipes(self._process)
        self._listener.start()
        self.facts = self._greet(b"".join(sources))
        if "error" in self.facts:
            number, reason = self.facts["errno"], self.facts["error"]
            what = "make a temporary folder"
            raise DeviceError(explain_system_error(self.address, what, number, reason))

    def _greet(self, source: bytes) -> dict[str, Any]:
        """Send the agent, and read what it reports first."""
        patience = min(HELLO_S, max(self.timeout_s, LEAST_HELLO_S))
        deadline = time.monotonic() + patience
        try:
            self._pipes.send(source, deadline)
            noise = 0
            while not (line := self._pipes.read_line(deadline)).startswith(agent.MAGIC.encode()):
                noise += len(line)
                if noise > NOISE_BYTES:
                    raise EOFError
        except TimeoutError as error:
            raise DeviceError(
                f"{self.address} let ssh in, but {self._python} did not start within "
                f"{patience:g} s. Check the load of the device, and what its shell runs at login, "
                "or give it longer with --timeout."
            ) from error
        except (OSError, EOFError) as error:
            code = self._wait()
            stderr = self._read_stderr()
            raise DeviceError(explain_refusal(self._where, self._python, code, stderr)) from error
        facts: dict[str, Any] = json.loads(line[len(agent.MAGIC) :])
        return facts

    def _send_beat(self) -> None:
        # While something else is being sent the device hears us anyway.
        self._pipes.send_at_once(b"\n")

    def _send_end(self) -> None:
        self._pipes.close_input()

    def _close_pipes(self, process: subprocess.Popen[bytes]) -> None:
        self._listener.join(1)
        super()._close_pipes(process)

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
                self._require_size(name, answer["total"], limit_bytes)
                file.write(piece)
                if not piece or file.tell() >= answer["total"]:
                    return

    def remove(self, name: str) -> None:
        self._ask(f"remove {name}", do="remove", name=check_name(name))

    def find_kept(self, sha256: str) -> str | None:
        """Path of a file that an earlier connection, or this one, has left in the device's store;
        None where no whole one is there."""
        answer, _ = self._ask("look for a file", do="find", sha256=sha256)
        path: str | None = answer["path"]
        return path

    def keep(self, source: Path, sha256: str) -> str:
        """Copy a file to the device's store, where it outlives the connection; returns its path.

        Raises:
            DeviceError: It arrived changed, the disk is full, or the connection is lost.
        """
        self.push(source, KEPT_NAME)
        answer, _ = self._ask(f"keep {source.name}", do="keep", name=KEPT_NAME, sha256=sha256)
        if answer["path"] is None:
            raise DeviceError(
                f"{source.name} arrived changed at {self.address}. Check the device's memory and "
                "disk, and run again."
            )
        return str(answer["path"])

    def place(self, sha256: str, name: str) -> None:
        """Give a file of the store a name in the folder."""
        self._ask(f"place {name}", do="place", sha256=sha256, name=check_name(name))

    def forget(self, sha256s: Sequence[str]) -> None:
        """Remove files from the device's store; what is not there is no error."""
        self._ask("remove what it kept", do="forget", sha256s=list(sha256s))

    def sha256(self, name: str) -> str:
        """Of a file there, computed there."""
        answer, _ = self._ask(f"read {name}", do="digest", name=check_name(name))
        return str(answer["sha256"])

    def run(self, command: Sequence[str]) -> Finished:
        answer, _ = self._ask(
            f"run {command[0]}",
            do="run",
            command=list(command),
            environment=REPORT_NOTHING,
            timeout_s=self.timeout_s,
        )
        return Finished(answer["code"], answer["stdout"], answer["stderr"])

    def start(self, command: Sequence[str], environment: Mapping[str, str]) -> LineProcess:
        """Start a process that answers each line with one.

        Args:
            environment: Added to the device's own.
        """
        answer, _ = self._ask(
            f"start {command[0]}",
            do="start",
            command=list(command),
            environment={**REPORT_NOTHING, **environment},
        )
        return LineProcess(self, answer["worker"], answer["pid"])

    def _arguments(self, sizes: Sequence[int]) -> list[str]:
        options = [word for name, value in OPTIONS.items() for word in ("-o", f"{name}={value}")]
        port = ["-p", str(self._where.port)] if self._where.port else []
        steps = ";".join(STEP.format(size=size) for size in sizes)
        code = BOOTSTRAP.format(steps=steps)
        # -I: what lies in the user's folder must not be taken for a library.
        command = f"exec {quote_path(self._python)} -I -u -c '{code}' {self._silence_s:g}"
        return ["-T", *options, *port, "--", self._where.destination, command]

    def _deadline(self) -> float:
        """End of a step that begins now."""
        return time.monotonic() + self.timeout_s + GRACE_S

    def _ask(
        self, what: str, content: bytes = b"", deadline: float | None = None, **request: Any
    ) -> tuple[dict[str, Any], bytes]:
        """Send a request and wait for its answer.

        Args:
            what: What the device is to do, for messages.
            deadline: End of a step that takes several requests.
        """
        deadline = self._deadline() if deadline is None else deadline
        if content:
            request["size"] = len(content)
        try:
            with self._counting():
                self._pipes.send(json.dumps(request).encode() + b"\n" + content, deadline)
                answer = json.loads(self._pipes.read_line(deadline))
                payload = self._pipes.read(answer.pop("size", 0), deadline)
        except (OSError, EOFError, ValueError) as error:
            if isinstance(error, TimeoutError):
                # Not even the agent has answered, and a late answer would be taken for another's.
                raise DeviceLostError(str(self._too_slow(what))) from error
            self._wait()
            raise DeviceLostError(explain_loss(self.address, what, self._read_stderr())) from error
        if "timed_out" in answer:
            raise self._too_slow(what)
        if "error" in answer:
            reason, number = answer["error"], answer["errno"]
            raise DeviceError(explain_system_error(self.address, what, number, reason))
        return answer, payload

    def _listen(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._stderr.append(line[-1000:].decode(errors="replace"))

    def _read_stderr(self) -> str:
        """Standard error of ssh and the device, once ssh has ended."""
        self._listener.join(END_S)
        return "".join(self._stderr)

    def _wait(self) -> int:
        try:
            return self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()


def quote_path(path: str) -> str:
    """For the device's shell, which knows what ~ is."""
    home = "~/" if path.startswith("~/") else ""
    return home + shlex.quote(path.removeprefix(home))


class LineProcess:
    """A process on the device that answers lines with lines.

    Attributes:
        pid: Its number there.
    """

    def __init__(self, transport: SshTransport, number: int, pid: int) -> None:
        self._transport = transport
        self._number = number
        self.pid = pid

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
