"""Which of the user's own files this process has imported, for cache keys."""

from __future__ import annotations

import hashlib
import sys
import sysconfig
from pathlib import Path

from ..records import sha256_of_file

INSTALLED = {"site-packages", "dist-packages"}
OWN = __name__.partition(".")[0]


def imported_files() -> dict[str, Path]:
    """Files of all imported modules that nobody installed, by the modules' names.

    Files of Python, of installed packages and of edgeseg itself are none of them: versions and
    edgeseg's own hash stand for those. Packages that are installed as editable are.
    """
    library = [Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib")]
    files = {}
    for name, module in sorted(sys.modules.items()):
        place = getattr(module, "__file__", None)
        if not isinstance(place, str) or name.partition(".")[0] in (OWN, "__main__"):
            continue
        path = Path(place)
        if INSTALLED.isdisjoint(path.parts) and not any(map(path.is_relative_to, library)):
            files[name] = path
    return files


def imported_code_digest() -> str:
    """Hash of these files. It does not tell where they lie.

    A file that is no longer there counts as empty: what it held is imported, but the next process
    will not find it.
    """
    digest = hashlib.sha256()
    for name, path in imported_files().items():
        content = sha256_of_file(path) if path.is_file() else ""
        digest.update(f"{name}\0{content}\n".encode())
    return digest.hexdigest()
