"""What machine a measurement was taken on."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from typing import Any

from edgeseg.records import VERSION
from edgeseg.storage.cache import code_digest, toolchain_versions

from .workers.cpu import allowed_cores, read_cpu


def describe_environment(threads: int) -> dict[str, Any]:
    """Facts that a latency figure is worth nothing without."""
    cpu, flags = read_cpu()
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": cpu,
        "cpu_flags": flags,
        "cores": os.cpu_count(),
        "threads": threads,
        "pinned_to_cores": allowed_cores()[:threads],
        "load_average_1min": load,
        "os": platform.platform(),
        "python": platform.python_version(),
        "versions": toolchain_versions(),
        "edgeseg": VERSION,
        "edgeseg_code": code_digest()[:12],
    }
