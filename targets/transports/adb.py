"""Android devices that are reached with the system's adb.

Beside each command a small shell script runs there all the time, the guard: when its input ends, or
when nothing has come for some seconds because this machine or the cable is gone, it kills the
command and removes the folder.
"""

from __future__ import annotations

import contextlib
import secrets
import shlex
import shutil
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from edgeseg.errors import DeviceError

from .adb_failures import explain_adb_failure
from .address import AdbAddress
from .base import Finished, Transport, check_name

TEMPORARY = "/data/local/tmp"  # where adb's user may write files and run them
READY = "edgeseg-ready"
EXIT = "edgeseg-exit "
BEAT_S = 5.0
SILENCE_S = 30
CONNECT_S = 30.0
END_S = 15.0
# For Android's mksh and toybox.
GUARD = """trap '' HUP INT PIPE; umask 077; mkdir {folder} || exit 1; echo {ready}
while read -r -t {silence} word; do [ "$word" = end ] && break; done
[ -f {folder}/.pid ] && kill -9 $(cat {folder}/.pid) 2>/dev/null
rm -rf {folder}"""
RUN = """cd {folder} && sh -c 'echo $$ >.pid; exec "$@"' sh {command}; code=$?
rm -f {folder}/.pid; echo; echo "{exit}$code" """


class AdbTransport(Transport):
    """See `Transport`.

    Args:
        address: Which device.
        timeout_s: How long one step on the device may take.
        silence_s: After so long without a sign of this machine the device cleans up.

    Attributes:
        folder: The private folder, a path on the device.
    """

    def __init__(
        self, address: AdbAddress, *, timeout_s: float = 600.0, silence_s: int = SILENCE_S
    ) -> None:
        self.address = str(address)
        self.timeout_s = timeout_s
        self.folder = f"{TEMPORARY}/edgeseg-{secrets.token_hex(6)}"
        self._serial = address.serial
        self._silence_s = silence_s
        self._ended = threading.Event()
        self._client = ""

    def __enter__(self) -> Self:
        client = shutil.which("adb")
        if client is None:
            raise DeviceError(
                f"{self.address} needs the program adb, which is not on this machine. Install "
                "Android's platform tools (Debian: apt install adb)."
            )
        self._client = client
        self._adb("find the device", "get-state", timeout_s=CONNECT_S)
        script = GUARD.format(folder=self.folder, ready=READY, silence=self._silence_s)
        self._guard = subprocess.Popen(
            [client, "-s", self._serial, "shell", script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            # An interrupt from the terminal is for this process, which ends adb in its own way.
            start_new_session=True,
        )
        try:
            self._await_guard()
        except BaseException:
            self._close()
            raise
        threading.Thread(target=self._beat, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close()

    def push(self, source: Path, name: str) -> None:
        path = self.path(name)
        parent = path.rpartition("/")[0]
        if parent != self.folder:
            self.shell(f"mkdir -p {shlex.quote(parent)}")
        what = f"store {source.name} ({source.stat().st_size / 1e6:.1f} MB)"
        self._adb(what, "push", str(source), path)

    def pull(self, name: str, destination: Path, *, limit_bytes: int) -> None:
        path = self.path(name)
        size = int(self.shell(f"wc -c <{shlex.quote(path)}").split()[0])
        if size > limit_bytes:
            raise DeviceError(
                f"{self.address} sends {size} bytes as {name}, where there can be {limit_bytes} at "
                "most. Check what runs on the device."
            )
        self._adb(f"send {name}", "pull", path, str(destination))

    def remove(self, name: str) -> None:
        self.shell(f"rm -rf {shlex.quote(self.path(name))}")

    def path(self, name: str) -> str:
        """Of a file in the folder, on the device."""
        return f"{self.folder}/{check_name(name)}"

    def shell(self, script: str) -> str:
        """Output of a short script, run in the folder.

        Raises:
            DeviceError: It fails.
        """
        done = self.run(["sh", "-c", script])
        if done.code != 0:
            raise DeviceError(explain_adb_failure(self.address, script, done.stdout + done.stderr))
        return done.stdout

    def run(self, command: Sequence[str]) -> Finished:
        what = f"run {command[0].rpartition('/')[2]}"
        script = RUN.format(folder=self.folder, command=shlex.join(command), exit=EXIT)
        try:
            done = self._call("shell", script, timeout_s=self.timeout_s)
        except subprocess.TimeoutExpired as error:
            self._kill_command()
            raise DeviceError(
                f"{self.address} took more than {self.timeout_s:g} s to {what}; what ran there was "
                "killed. Give it more time with --timeout, or see what else keeps the device busy."
            ) from error
        stdout, mark, code = done.stdout.rpartition(EXIT)
        if not mark:
            said = done.stdout + done.stderr
            raise DeviceError(explain_adb_failure(self.address, what, said, is_cut=True))
        return Finished(int(code), stdout, done.stderr)

    def _kill_command(self) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._call("shell", f"kill -9 $(cat {self.folder}/.pid)", timeout_s=CONNECT_S)

    def _adb(self, what: str, *words: str, timeout_s: float | None = None) -> str:
        """Call the client for something that is no command of ours."""
        try:
            done = self._call(*words, timeout_s=timeout_s or self.timeout_s)
        except subprocess.TimeoutExpired as error:
            said = f"no answer within {error.timeout:g} s"
            raise DeviceError(explain_adb_failure(self.address, what, said)) from error
        if done.returncode != 0:
            raise DeviceError(explain_adb_failure(self.address, what, done.stdout + done.stderr))
        return done.stdout

    def _call(self, *words: str, timeout_s: float) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self._client, "-s", self._serial, *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
            start_new_session=True,
        )

    def _await_guard(self) -> None:
        assert self._guard.stdout is not None
        late = threading.Timer(CONNECT_S, self._guard.kill)
        late.start()
        said = b""
        try:
            for line in self._guard.stdout:
                said += line
                if line.strip() == READY.encode():
                    return
        finally:
            late.cancel()
        what = f"make a folder in {TEMPORARY}"
        raise DeviceError(explain_adb_failure(self.address, what, said.decode(errors="replace")))

    def _tell_guard(self, word: bytes) -> None:
        assert self._guard.stdin is not None
        with contextlib.suppress(OSError, ValueError):
            self._guard.stdin.write(word + b"\n")
            self._guard.stdin.flush()

    def _beat(self) -> None:
        while not self._ended.wait(BEAT_S):
            self._tell_guard(b"")

    def _close(self) -> None:
        """Let the guard clean up, and wait until it has."""
        self._ended.set()
        try:
            self._tell_guard(b"end")
            self._guard.wait(END_S)
        except subprocess.TimeoutExpired:
            pass
        finally:
            self._guard.kill()
            self._guard.wait()
            for pipe in (self._guard.stdin, self._guard.stdout):
                assert pipe is not None
                with contextlib.suppress(OSError):
                    pipe.close()
