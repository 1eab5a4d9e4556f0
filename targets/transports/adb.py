"""Android devices that are reached with the system's adb.

Beside each command a small shell script runs there all the time, the guard: when its input ends, or
when nothing has come for some seconds because this machine or the cable is gone, it kills the
command and removes the folder.
"""

from __future__ import annotations

import contextlib
import secrets
import shlex
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path

from edgeseg.errors import DeviceError

from .adb_failures import adb_failure
from .address import AdbAddress
from .base import Finished, Transport, check_name

TEMPORARY = "/data/local/tmp"  # where adb's user may write files and run them
STORE = f"{TEMPORARY}/edgeseg-files"  # of files by their content, which outlive a connection
KEPT_NAME = "arriving"  # of a file on its way there
READY = "edgeseg-ready"
EXIT = "edgeseg-exit "
SILENCE_S = 30
CONNECT_S = 30.0
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
        timeout_s: Longest time that one step on the device may take.
        silence_s: After so many seconds without a sign of this machine the device cleans up.

    Attributes:
        folder: The private folder, a path on the device.
    """

    client = "adb"
    client_advice = "Android's platform tools (Debian: apt install adb)"

    def __init__(
        self, address: AdbAddress, *, timeout_s: float, silence_s: int = SILENCE_S
    ) -> None:
        super().__init__(str(address), timeout_s)
        self.folder = f"{TEMPORARY}/edgeseg-{secrets.token_hex(6)}"
        self._serial = address.serial
        self._silence_s = silence_s

    def _connect(self, stack: contextlib.ExitStack) -> None:
        self._adb("find the device", "get-state", timeout_s=CONNECT_S)
        script = GUARD.format(folder=self.folder, ready=READY, silence=self._silence_s)
        words = ("-s", self._serial, "shell", script)
        self._guard = self._start_client(stack, words, stderr=subprocess.STDOUT)
        self._await_guard()

    def _await_guard(self) -> None:
        assert self._guard.stdout is not None
        late = threading.Timer(CONNECT_S, self._guard.kill)
        late.start()
        output = b""
        try:
            for line in self._guard.stdout:
                output += line
                if line.strip() == READY.encode():
                    return
        finally:
            late.cancel()
        what = f"make a folder in {TEMPORARY}"
        raise adb_failure(self.address, what, output.decode(errors="replace"))

    def _tell_guard(self, word: bytes) -> None:
        assert self._guard.stdin is not None
        self._guard.stdin.write(word + b"\n")
        self._guard.stdin.flush()

    def _send_beat(self) -> None:
        self._tell_guard(b"")

    def _send_end(self) -> None:
        self._tell_guard(b"end")

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
        self._require_size(name, size, limit_bytes)
        self._adb(f"send {name}", "pull", path, str(destination))

    def remove(self, name: str) -> None:
        self.shell(f"rm -rf {shlex.quote(self.path(name))}")

    def find_kept(self, sha256: str) -> str | None:
        """Path of a file that an earlier connection, or this one, has left in the device's store;
        None where no whole one is there. What nobody asked for in a week is removed."""
        path = f"{STORE}/{sha256}"
        found = self.shell(
            f"mkdir -p {STORE}; find {STORE} -type f -mtime +7 -exec rm {{}} \\;; "
            f"[ -f {path} ] && touch {path} && sha256sum {path} || true"
        )
        return path if found.split()[:1] == [sha256] else None

    def keep(self, source: Path, sha256: str) -> str:
        """Copy a file to the device's store, where it outlives the connection; returns its path.

        Raises:
            DeviceError: It arrived changed, the disk is full, or the connection is lost.
        """
        self.push(source, KEPT_NAME)
        arrived, path = self.path(KEPT_NAME), f"{STORE}/{sha256}"
        script = f"mkdir -p {STORE}; sha256sum {arrived}; chmod 755 {arrived}; mv {arrived} {path}"
        if self.shell(script).split()[:1] != [sha256]:
            self.forget([sha256])
            raise DeviceError(
                f"{source.name} arrived changed at {self.address}. Check the cable and the "
                "device's disk, and run again."
            )
        return path

    def forget(self, sha256s: Sequence[str]) -> None:
        """Remove files from the device's store; what is not there is no error."""
        names = " ".join(f"{STORE}/{sha256}" for sha256 in sha256s)
        self.shell(f"rm -f {names}; rmdir {STORE} 2>/dev/null; true")

    def path(self, name: str) -> str:
        """Path on the device of a file in the folder."""
        return f"{self.folder}/{check_name(name)}"

    def shell(self, script: str) -> str:
        """Output of a short script, run in the folder.

        Raises:
            DeviceError: It fails.
        """
        done = self.run(["sh", "-c", script])
        if done.code != 0:
            raise adb_failure(self.address, script, done.stdout + done.stderr)
        return done.stdout

    def run(self, command: Sequence[str]) -> Finished:
        what = f"run {command[0].rpartition('/')[2]}"
        script = RUN.format(folder=self.folder, command=shlex.join(command), exit=EXIT)
        try:
            done = self._call("shell", script, timeout_s=self.timeout_s)
        except subprocess.TimeoutExpired as error:
            self._kill_command()
            raise self._too_slow(what) from error
        stdout, mark, code = done.stdout.rpartition(EXIT)
        if not mark:
            output = done.stdout + done.stderr
            raise adb_failure(self.address, what, output, is_cut=True)
        return Finished(int(code), stdout, done.stderr)

    def _kill_command(self) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._call("shell", f"kill -9 $(cat {self.folder}/.pid)", timeout_s=CONNECT_S)

    def _adb(self, what: str, *words: str, timeout_s: float | None = None) -> str:
        """Call the client for something that is no command of ours."""
        try:
            done = self._call(*words, timeout_s=timeout_s or self.timeout_s)
        except subprocess.TimeoutExpired as error:
            reason = f"no answer within {error.timeout:g} s"
            raise adb_failure(self.address, what, reason) from error
        if done.returncode != 0:
            raise adb_failure(self.address, what, done.stdout + done.stderr)
        return done.stdout

    def _call(self, *words: str, timeout_s: float) -> subprocess.CompletedProcess[str]:
        with self._counting():
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
