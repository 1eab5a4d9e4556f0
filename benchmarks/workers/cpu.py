"""The CPU of the present machine. Standalone: a copy runs beside `device_worker.py` on devices."""

from __future__ import annotations

import contextlib
import os
import platform
from pathlib import Path

CPU_INFO = Path("/proc/cpuinfo")
BOARD = Path("/proc/device-tree/model")
CORES = Path("/sys/devices/system/cpu")
THREADS = Path("/proc/self/task")
# Instruction sets that decide which kernels a runtime picks.
NOTABLE_FLAGS = (
    "avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "amx_int8",
    "amx_bf16", "asimd", "asimdhp", "asimddp", "i8mm", "bf16",
)  # fmt: skip


def allowed_cores() -> list[int]:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def fastest_cores(count: int) -> list[int]:
    """Of the allowed cores those that the system rates highest: phones and boards mix kinds."""
    ratings = {core: _rating(core) for core in allowed_cores()}
    return sorted(sorted(ratings, key=lambda core: (-ratings[core], core))[:count])


def _rating(core: int) -> int:
    for name in ("cpu_capacity", "cpufreq/cpuinfo_max_freq"):
        with contextlib.suppress(OSError, ValueError):
            return int((CORES / f"cpu{core}" / name).read_text())
    return 0


def read_cpu() -> tuple[str, list[str]]:
    """Name of the CPU, or of the board that it sits on, and its notable instruction sets."""
    name = ""
    flags: set[str] = set()
    with contextlib.suppress(OSError):
        for line in CPU_INFO.read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                name = value.strip()
            elif key.strip() in ("flags", "Features"):
                flags = set(value.split())
    if not name:
        with contextlib.suppress(OSError):
            name = BOARD.read_text(errors="replace").strip("\0 \n")
    name = name or platform.processor() or platform.machine()
    return name, [flag for flag in NOTABLE_FLAGS if flag in flags]


def clock_mhz() -> float | None:
    """The clock of the first allowed core, as the system tells; None where it does not."""
    core = allowed_cores()[0]
    with contextlib.suppress(OSError, ValueError):
        return int((CORES / f"cpu{core}" / "cpufreq" / "scaling_cur_freq").read_text()) / 1e3
    return None


def waited_ms() -> float | None:
    """Time in which threads of this process were ready to run and others had their core, all
    threads together since their start; None where the system does not tell."""
    total = None
    with contextlib.suppress(OSError, ValueError, IndexError):
        for thread in THREADS.iterdir():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended
                waited = int((thread / "schedstat").read_text().split()[1])
                total = (total or 0) + waited
    return None if total is None else total / 1e6
