"""A real sshd on this machine, for this user, with keys and settings of its own."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from edgeseg.targets.transports.address import SshAddress

PROGRAMS = ("sshd", "ssh", "ssh-keygen")
START_S = 10
CGROUPS = Path("/sys/fs/cgroup")
PERIOD_US = 20_000  # so short that no inference waits for long
SYSTEM_FOLDERS = os.pathsep.join(("/usr/sbin", "/sbin"))


def find_program(name: str) -> str | None:
    """Path of a program; those of administrators are often not on PATH."""
    return shutil.which(name) or shutil.which(name, path=SYSTEM_FOLDERS)


def missing_programs() -> list[str]:
    return [name for name in PROGRAMS if find_program(name) is None]


class LoopbackSshd:
    """A daemon that lets in one key, and a client configuration that knows it.

    Args:
        folder: For keys, configurations and the log.
        settings: Further lines of sshd_config.

    Attributes:
        client: Folder with a program `ssh`, the real one with our configuration; for PATH.
        known_hosts: What the client knows; the daemon's key is in it.
        temporary: The temporary folder of whoever logs in.
        cache: The folder in which EdgeSeg keeps things for them.
    """

    def __init__(self, folder: Path, *settings: str) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("host_key", "user_key"):
            make_key(folder / name)
        shutil.copyfile(folder / "user_key.pub", folder / "authorized_keys")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.known_hosts = folder / "known_hosts"
        self.client = folder / "bin"
        self.temporary = folder / "tmp"
        self.temporary.mkdir(exist_ok=True)
        self.cache = folder / "cache"
        self._group: Path | None = None
        self._write_client()
        self._settings = settings
        self._daemon = self._start(settings)

    @property
    def address(self) -> SshAddress:
        return SshAddress("127.0.0.1", getpass.getuser(), self.port)

    def sessions(self) -> list[int]:
        """Processes of the daemon that serve connections."""
        return children_of(self._daemon.pid)

    def kill_sessions(self) -> None:
        """Cut every connection, as when the daemon dies."""
        for session in self.sessions():
            for process in (*children_of(session), session):
                # It may end by itself meanwhile.
                with contextlib.suppress(OSError):
                    if Path(f"/proc/{process}/comm").read_text().startswith("sshd"):
                        os.kill(process, signal.SIGKILL)

    def running(self, word: str) -> list[int]:
        """Processes with that word on their command line that run in a folder of this device."""
        processes = []
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
                # A folder that was removed still has its name.
                if word in words and str((entry / "cwd").readlink()).startswith(
                    str(self.temporary)
                ):
                    processes.append(int(entry.name))
        return processes

    def throttle(self, share: float) -> str:
        """Leave all that runs there only a share of a core; returns by what, in words."""
        quota = round(share * PERIOD_US)
        for parent, name, text in (
            (CGROUPS, "cpu.max", f"{quota} {PERIOD_US}"),
            (CGROUPS / "cpu", "cpu.cfs_quota_us", str(quota)),
        ):
            group = parent / f"edgeseg-{self.port}"
            with contextlib.suppress(OSError):
                group.mkdir()
                self._group = group
                if (group / name).exists():
                    (group / name).write_text(text)
                    (group / "cgroup.procs").write_text(str(self._daemon.pid))
                    return f"cgroup, {share:g} of a core"
                group.rmdir()
        os.sched_setaffinity(self._daemon.pid, {min(os.sched_getaffinity(0))})
        os.setpriority(os.PRIO_PROCESS, self._daemon.pid, 10)
        return "one core, of lower priority"

    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def restart(self) -> None:
        """Start again after `close`, at the same address and with the same disk."""
        self._daemon = self._start(self._settings)

    def close(self) -> None:
        self.kill_sessions()
        self._daemon.kill()
        self._daemon.wait()
        if self._group is not None:
            wait_until(self._remove_group)

    def _remove_group(self) -> bool:
        """Whether it is gone; it cannot go before its last process."""
        assert self._group is not None
        with contextlib.suppress(OSError):
            self._group.rmdir()
        return not self._group.exists()

    def _write_client(self) -> None:
        host_key = (self.folder / "host_key.pub").read_text().split()
        self.known_hosts.write_text(f"[127.0.0.1]:{self.port} {host_key[0]} {host_key[1]}\n")
        configuration = self.folder / "ssh_config"
        configuration.write_text(
            f"Host *\nIdentityFile {self.folder}/user_key\nIdentitiesOnly yes\n"
            f"UserKnownHostsFile {self.known_hosts}\nGlobalKnownHostsFile none\n"
        )
        self.client.mkdir(exist_ok=True)
        program = self.client / "ssh"
        program.write_text(f'#!/bin/sh\nexec {find_program("ssh")} -F {configuration} "$@"\n')
        program.chmod(0o755)

    def _start(self, settings: tuple[str, ...]) -> subprocess.Popen[bytes]:
        configuration = self.folder / "sshd_config"
        lines = (
            f"Port {self.port}",
            "ListenAddress 127.0.0.1",
            f"HostKey {self.folder}/host_key",
            f"AuthorizedKeysFile {self.folder}/authorized_keys",
            "PidFile none",
            "StrictModes no",
            "UsePAM no",
            "PasswordAuthentication no",
            "KbdInteractiveAuthentication no",
            "PermitRootLogin prohibit-password",
            f"SetEnv TMPDIR={self.temporary} EDGESEG_CACHE_DIR={self.cache}",
            *settings,
        )
        configuration.write_text("\n".join(lines) + "\n")
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(parents=True, exist_ok=True)
        command = [str(find_program("sshd")), "-D", "-e", "-f", str(configuration)]
        with (self.folder / "log").open("wb") as log:
            daemon = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + START_S
        while not _answers(self.port):
            if daemon.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"sshd does not start: {self.log()}")
            time.sleep(0.02)
        return daemon


def make_key(path: Path) -> None:
    if not path.exists():
        words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)]
        subprocess.run(words, check=True)


def is_running(*words: str) -> bool:
    """Whether there is a process with all these words on its command line."""
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if all(word in line for word in words):
            return True
    return False


def wait_until(claim: Callable[[], bool], seconds: float = 20.0) -> bool:
    """Whether `claim` comes true in time."""
    deadline = time.monotonic() + seconds
    while not claim():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def children_of(process: int) -> list[int]:
    children = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The name, in parentheses, may hold anything.
            fields = entry.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == process and fields[0] != "Z":
            children.append(int(entry.parent.name))
    return children


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
