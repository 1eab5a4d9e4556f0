"""The process in which one bundle is measured on a device. Needs numpy and the bundle's runtime.

    python device_worker.py BUNDLE THREADS

`cpu.py` and `memory.py` lie beside it, and the bundle's own runner does the work. It speaks as
`worker.py` does: JSON commands from standard input, a line each, and a JSON line for each answer.

    {"command": "describe", "packages": [...]}      -> facts of the device
    {"command": "load", "packages": [...], "images": FILE} -> {"load_ms", "bare_rss_bytes"}
    {"command": "verify"}                           -> {"holds", "numbers"}
    {"command": "first"}                            -> {"first_ms"}
    {"command": "time", "count": N}                 -> {"latencies_ms": [...]}
    {"command": "memory"}                           -> {"peak_rss_bytes"}
    {"command": "label", "images": [...], "result": FILE} -> {}

An answer with "error" ends the work; "errno" is that of the system, or null.
"""

from __future__ import annotations

import datetime
import importlib
import importlib.metadata
import json
import os
import platform
import runpy
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent


class DeviceWorker:
    """State between commands.

    Args:
        bundle: Folder of the bundle.
        threads: CPU threads of the artefact, kept on as many cores.
    """

    def __init__(self, bundle: Path, threads: int) -> None:
        self.bundle = bundle
        self.threads = threads
        self.cpu = runpy.run_path(str(HERE / "cpu.py"))
        self.memory_of = runpy.run_path(str(HERE / "memory.py"))
        self.cores = self._pin()
        self.network: Any = None
        self.images: Any = None
        self.next_image = 0

    def _pin(self) -> list[int]:
        cores: list[int] = self.cpu["fastest_cores"](self.threads)
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, cores)
        return cores

    def describe(self, packages: list[str]) -> dict[str, Any]:
        """What a latency is worth nothing without; keys as `environment.py` gives them."""
        name, flags = self.cpu["read_cpu"]()
        describe_runtime = getattr(self.network.backend, "describe", None)
        return {
            # No datetime.UTC: devices have Python 3.8 and later.
            "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),  # noqa: UP017
            "cpu": name,
            "cpu_flags": flags,
            "cores": os.cpu_count(),
            "threads": self.threads,
            "pinned_to_cores": self.cores,
            "load_average_1min": os.getloadavg()[0],
            "os": platform.platform(),
            "machine": platform.machine(),
            "python": platform.python_version(),
            "versions": {package: version_of(package) for package in packages},
            "runtime": describe_runtime() if describe_runtime else {},
        }

    def load(self, packages: list[str], images: str | None = None) -> dict[str, Any]:
        """Open the network; `images` holds prepared ones to time, (N, 1, 3, H, W)."""
        opener = runpy.run_path(str(self.bundle / "runner" / "run.py"))["Network"]
        for package in packages:
            importlib.import_module(package)
        if images is not None:
            self.images = np.load(images, allow_pickle=False)
        self.memory_of["reset_peak_rss"]()
        bare = self.memory_of["rss_bytes"]()
        started = time.perf_counter()
        self.network = opener(self.bundle, self.threads)
        return {"load_ms": (time.perf_counter() - started) * 1e3, "bare_rss_bytes": bare}

    def verify(self) -> dict[str, Any]:
        holds, numbers = self.network.verify()
        return {"holds": bool(holds), "numbers": numbers}

    def first(self) -> dict[str, Any]:
        started = time.perf_counter()
        self.network.backend.run(self.images[0])
        return {"first_ms": (time.perf_counter() - started) * 1e3}

    def time(self, count: int) -> dict[str, Any]:
        """Time `count` inferences after one that is not counted: another process ran before."""
        run = self.network.backend.run
        run(self.images[0])
        latencies = []
        for _ in range(count):
            image = self.images[self.next_image]
            self.next_image = (self.next_image + 1) % len(self.images)
            started = time.perf_counter_ns()
            run(image)
            latencies.append((time.perf_counter_ns() - started) / 1e6)
        return {"latencies_ms": latencies}

    def memory(self) -> dict[str, Any]:
        return {"peak_rss_bytes": self.memory_of["peak_rss_bytes"]()}

    def label(self, images: list[str], result: str) -> dict[str, Any]:
        """Write the label map of each decoded image to `result`, (N, h, w) uint8."""
        network = self.network
        maps = []
        for path in images:
            image = np.load(path, allow_pickle=False)
            mask = network.backend.run(network.inputs.prepare(image))
            if not np.isfinite(mask).all():
                return {"error": "A mask holds NaN or infinity.", "errno": None}
            maps.append(network.outputs.labels(mask))
        np.save(result, np.stack(maps))
        return {}


def version_of(package: str) -> str | None:
    """Version of an importable package; its distribution may have another name."""
    for name in (package, package.replace("_", "-")):
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            pass
    return getattr(importlib.import_module(package), "__version__", None)


def main() -> None:
    # Libraries print; answers go through a copy of standard output that they do not know.
    answers = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)
    worker = DeviceWorker(Path(sys.argv[1]), int(sys.argv[2]))
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = getattr(worker, request.pop("command"))(**request)
        except Exception as error:
            number = getattr(error, "errno", None)
            answer = {"error": f"{type(error).__name__}: {error}", "errno": number}
        answers.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
