"""An ARM64 Debian that this machine runs by emulation."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from loopback_sshd import find_program

FOLDER_ENVIRONMENT = "EDGESEG_ARM64"
SCRIPT = Path(__file__).parents[2] / "devices" / "make_arm64_userland.sh"
PROGRAMS = ("debootstrap", "qemu-aarch64-static", "unshare", "chroot")
MAKE_S = 400  # it takes 30 where the mirror is near
# Mounts are seen by this process and its children only, and go with them.
ENTER = """#!/bin/sh
# Runs a command in the ARM64 tree: its own words, or what a user asks sshd for.
ulimit -c 0
export TMPDIR=/tmp
[ $# -gt 0 ] || set -- /bin/sh -c "$SSH_ORIGINAL_COMMAND"
exec unshare -m sh -c 'mount -t proc proc "$0/proc" && mount --rbind /sys "$0/sys" &&
mount --rbind /dev "$0/dev" && mount --bind {share} "$0/mnt" && exec chroot "$0" "$@"' {root} "$@"
"""


class Arm64MissingError(Exception):
    """Says why there is no userland."""


def last_words(text: str) -> str:
    return " ".join(text.split())[-300:]


def default_folder() -> Path:
    """Where the userland is kept; another script makes another."""
    if FOLDER_ENVIRONMENT in os.environ:
        return Path(os.environ[FOLDER_ENVIRONMENT])
    digest = hashlib.sha256(SCRIPT.read_bytes()).hexdigest()[:12]
    return Path.home() / ".cache" / "edgeseg-tests" / f"arm64-{digest}"


class Arm64Userland:
    """The userland, made where it is not there yet.

    Args:
        share: Folder of this machine that is /mnt there.

    Attributes:
        root: The tree.
        enter: Program that runs its words there, or SSH_ORIGINAL_COMMAND, for ForceCommand.
    """

    def __init__(self, share: Path) -> None:
        missing = [name for name in PROGRAMS if find_program(name) is None]
        if missing:
            raise Arm64MissingError(f"not installed: {', '.join(missing)}")
        if os.getuid() != 0:
            raise Arm64MissingError("only root can enter it")
        self.root = default_folder()
        if not self.root.is_dir():
            self._make()
        self.share = share
        share.mkdir(parents=True, exist_ok=True)
        self.enter = share / "enter"
        self.enter.write_text(ENTER.format(share=share, root=self.root))
        self.enter.chmod(0o755)
        done = self.run("python3", "-c", "import platform; print(platform.machine())")
        if done.stdout != "aarch64\n":
            raise Arm64MissingError(f"it does not run: {last_words(done.stderr)}")

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command there."""
        command = [str(self.enter), *words]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    def share_folder(self, source: Path, name: str) -> str:
        """Copy a folder to the share; returns its path there."""
        shutil.copytree(source, self.share / name, ignore=shutil.ignore_patterns("source"))
        return f"/mnt/{name}"

    def _make(self) -> None:
        self.root.parent.mkdir(parents=True, exist_ok=True)
        limit = ["timeout", "--kill-after=5", str(MAKE_S)]
        command = [*limit, str(SCRIPT), str(self.root), sys.executable]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        # Another run may have been faster.
        if not self.root.is_dir():
            raise Arm64MissingError(f"it cannot be made: {last_words(done.stderr)}")
