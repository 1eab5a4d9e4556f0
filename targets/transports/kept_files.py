"""Files that a device keeps by their content, which outlive the connection. Runs on devices.

`ssh.py` sends this file before `agent.py`, which uses it; both need Python 3.8 and nothing else.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import time
from pathlib import Path

STORE = "device-files"
KEPT_S = 7 * 24 * 3600  # since a file was looked at last


class KeptFiles:
    """The store of this user.

    Args:
        own: Folder of the connection. The store lies in it, and goes with it, where the user has no
            place that lasts.
    """

    def __init__(self, own: Path) -> None:
        self.places = [*cache_folders(), own]

    def folder(self) -> Path:
        for place in self.places:
            folder = place / STORE
            with contextlib.suppress(OSError):
                folder.mkdir(parents=True, exist_ok=True)
                if os.access(folder, os.W_OK):
                    return folder
        raise PermissionError("no folder can be made for files that are kept")

    def path(self, sha256: str) -> Path:
        if len(sha256) != 64 or not set(sha256) <= set("0123456789abcdef"):
            raise PermissionError(f"{sha256} is no checksum")
        return self.folder() / sha256

    def find(self, sha256: str) -> str | None:
        """Path of a file that is there whole."""
        path = self.path(sha256)
        remove_old_files(path.parent)
        if not path.is_file():
            return None
        # A device that lost its power may hold a file that was never written to its end.
        if digest_of(path) != sha256:
            path.unlink()
            return None
        os.utime(path)
        return str(path)

    def keep(self, source: Path, sha256: str) -> str | None:
        """Take a file away and keep it; None where it is another one."""
        path = self.path(sha256)
        if digest_of(source) != sha256:
            source.unlink()
            return None
        # Under another name until it is whole: the store may lie on another disk.
        partial = path.with_name(f"{sha256}.{os.getpid()}")
        shutil.move(str(source), str(partial))
        partial.replace(path)
        return str(path)

    def place(self, sha256: str, path: Path) -> None:
        """Give a file another name, too."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        try:
            os.link(self.path(sha256), path)
        except OSError:
            shutil.copyfile(self.path(sha256), path)

    def forget(self, sha256s: list[str]) -> None:
        for sha256 in sha256s:
            self.path(sha256).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.folder().rmdir()  # only when it is empty


def cache_folders() -> list[Path]:
    """Of this user, as EdgeSeg finds it on any machine; none where there is no home."""
    own, shared = os.environ.get("EDGESEG_CACHE_DIR"), os.environ.get("XDG_CACHE_HOME")
    if own:
        return [Path(own)]
    if shared:
        return [Path(shared) / "edgeseg"]
    with contextlib.suppress(RuntimeError):
        return [Path.home() / ".cache" / "edgeseg"]
    return []


def remove_old_files(folder: Path) -> None:
    """Delete what nobody has looked at for long, and what never arrived whole."""
    for path in folder.iterdir():
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > KEPT_S:
                path.unlink()


def digest_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while True:
            piece = file.read(1 << 20)
            if not piece:
                return digest.hexdigest()
            digest.update(piece)
