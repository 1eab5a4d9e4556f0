"""The process in which one bundle is measured on a device. Needs numpy and the bundle's runtime.

    python device_worker.py BUNDLE THREADS PACKAGES

PACKAGES is a JSON list of modules to import before memory and time count. The other
modules of this folder that it imports lie beside this file, and the bundle's own runner does the
work. The process answers the requests of `messages`.
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
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

if TYPE_CHECKING or __package__:
    from . import cpu, messages, protocol, timing
else:
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    import cpu
    import messages
    import protocol
    import timing


class DeviceWorker(timing.TimedWorker):
    """Measures a bundle.

    Args:
        bundle: Its folder.
        threads: CPU threads of the artefact, kept on as many cores.
        packages: Modules to import before memory and time count.
    """

    def __init__(self, bundle: Path, threads: int, packages: Sequence[str]) -> None:
        self.bundle = bundle
        self.threads = threads
        self.packages = packages
        self.cores = self._pin()
        self.network: Any = None
        self._network_class: Any = None

    def _pin(self) -> list[int]:
        cores = cpu.fastest_cores(self.threads)
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, cores)
        return cores

    def import_runtime(self) -> None:
        protocol.hide_reporting_packages()
        self._network_class = runpy.run_path(str(self.bundle / "runner" / "run.py"))["Network"]
        for package in self.packages:
            importlib.import_module(package)

    def open_network(self) -> Callable[[Any], Any]:
        self.network = self._network_class(self.bundle, self.threads)
        run: Callable[[Any], Any] = self.network.backend.run
        return run

    def time_phases(self, request: messages.TimePhases) -> messages.Phases:
        network = self.network
        pictures = (np.load(path, allow_pickle=False) for path in request.images)
        return self.phases_of(
            pictures, request.repeats, network.inputs.prepare, network.outputs.restore
        )

    def label(
        self, request: messages.Label, on_step: Callable[[], None] = protocol.do_nothing
    ) -> messages.Done:
        # No steps: the way to the device carries one line for a request.
        network = self.network
        maps = []
        for path in request.images:
            image = np.load(path, allow_pickle=False)
            mask = self.run(network.inputs.prepare(image))
            if not np.isfinite(mask).all():
                raise RuntimeError("A mask holds NaN or infinity")
            maps.append(network.outputs.labels(mask))
        np.save(request.result, np.stack(maps))
        return messages.Done()

    def label_prepared(self, request: messages.LabelPrepared) -> messages.Done:
        maps = []
        for image in np.load(request.images, mmap_mode="r")[: request.count]:
            mask = self.run(np.ascontiguousarray(image))
            if not np.isfinite(mask).all():
                raise RuntimeError("A mask holds NaN or infinity")
            maps.append(self.network.outputs.labels(mask))
        np.save(request.result, np.stack(maps))
        return messages.Done()

    def predict_prepared(self, request: messages.PredictPrepared) -> messages.Done:
        images = np.load(request.images, allow_pickle=False)
        masks = [self.run(np.ascontiguousarray(image)) for image in images]
        np.save(request.result, np.stack(masks).astype(np.float32))
        return messages.Done()

    def verify(self) -> messages.GoldenResult:
        holds, numbers = self.network.verify()
        return messages.GoldenResult(bool(holds), numbers)

    def describe(self, packages: Sequence[str]) -> messages.Description:
        """The keys of the facts are those of `environment.py`."""
        name, flags = cpu.read_cpu()
        describe_runtime = getattr(self.network.backend, "describe", None)
        return messages.Description(
            {
                # No datetime.UTC: devices have Python 3.8 and later.
                "date": datetime.datetime.now(datetime.timezone.utc).isoformat(  # noqa: UP017
                    timespec="seconds"
                ),
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
        )


def version_of(package: str) -> str | None:
    """Version of an importable package; its distribution may have another name."""
    for name in (package, package.replace("_", "-")):
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            pass
    return getattr(importlib.import_module(package), "__version__", None)


def main() -> None:
    bundle, threads, packages = sys.argv[1:]
    protocol.serve(DeviceWorker(Path(bundle), int(threads), json.loads(packages)))


if __name__ == "__main__":
    main()
