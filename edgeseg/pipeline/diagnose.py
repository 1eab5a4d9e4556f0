"""What works on this machine."""

from __future__ import annotations

import platform
from typing import Any

from edgeseg import __version__
from edgeseg.targets import TARGETS, find_target

from ..cache import cache_root
from ..lazy import BACKENDS, install_command, installed_version, is_installed

PARTS = {"export": "export", "training": "train"}


def diagnose() -> dict[str, Any]:
    """JSON record of the parts, the targets, and the cache."""
    parts = []
    for name, extra in PARTS.items():
        modules = [module for module, (_, owner) in BACKENDS.items() if owner == extra]
        missing = [module for module in modules if not is_installed(module)]
        parts.append(
            {
                "name": name,
                "is_ready": not missing,
                "versions": {module: installed_version(module) for module in modules},
                "missing": [
                    {"package": BACKENDS[module][0], "install": install_command(extra)}
                    for module in missing
                ],
            }
        )
    root = cache_root()
    size = sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
    return {
        "edgeseg": __version__,
        "python": platform.python_version(),
        "parts": parts,
        "targets": [find_target(name).diagnose().to_json() for name in TARGETS.names()],
        "cache": {"folder": str(root), "size_bytes": size},
    }
