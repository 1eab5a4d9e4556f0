"""What machine a measurement was taken on."""

from __future__ import annotations

import contextlib
import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edgeseg import __version__
from edgeseg.cache import code_digest, toolchain_versions

CPU_INFO = Path("/proc/cpuinfo")
# Instruction sets that decide which kernels a runtime picks.
NOTABLE_FLAGS = (
    "avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "amx_int8",
    "amx_bf16", "asimd", "asimddp", "i8mm", "bf16",
)  # fmt: skip


def allowed_cores() -> list[int]:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def describe_environment(threads: int) -> dict[str, Any]:
    """Facts that a latency figure is worth nothing without."""
    cpu, flags = _cpu()
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": cpu,
        "cpu_flags": [flag for flag in NOTABLE_FLAGS if flag in flags],
        "cores": os.cpu_count(),
        "threads": threads,
        "pinned_to_cores": allowed_cores()[:threads],
        "load_average_1min": load,
        "os": platform.platform(),
        "python": platform.python_version(),
        "versions": toolchain_versions(),
        "edgeseg": __version__,
        "edgeseg_code": code_digest()[:12],
    }


def _cpu() -> tuple[str, set[str]]:
    name, flags = platform.processor() or platform.machine(), set[str]()
    with contextlib.suppress(OSError):
        for line in CPU_INFO.read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                name = value.strip()
            elif key.strip() in ("flags", "Features"):
                flags = set(value.split())
    return name, flags
