"""The process in which one artefact is measured: nothing else is loaded in it.

    python -m edgeseg.benchmarks.workers.worker THREADS RUNNER

RUNNER is JSON: the `class` of a `ProcessRunner`, "module:name", and its `fields`. The process
answers the requests of `protocol`.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from edgeseg.contract import InputContract, OutputContract
from edgeseg.errors import EdgesegError
from edgeseg.lazy import hide_reporting_packages

from .cpu import allowed_cores
from .messages import (
    Done,
    Label,
    LabelPrepared,
    Phases,
    PredictPrepared,
    TimePhases,
)
from .protocol import do_nothing, explain, serve
from .timing import TimedWorker


class LocalWorker(TimedWorker):
    """Measures what a runner opens.

    Args:
        record: The runner as JSON, see above.
    """

    def __init__(self, record: str) -> None:
        self._record = record
        self._runner: Any = None

    def import_runtime(self) -> None:
        hide_reporting_packages()
        record = json.loads(self._record)
        module, _, name = record["class"].partition(":")
        self._runner = getattr(importlib.import_module(module), name).from_json(record["fields"])
        for used in self._runner.modules():
            importlib.import_module(used)

    def open_network(self) -> Callable[[Any], Any]:
        run: Callable[[Any], Any] = self._runner.open().run
        return run

    def time_phases(self, request: TimePhases) -> Phases:
        from edgeseg.data.images import read_image

        assert request.inputs is not None
        assert request.outputs is not None
        inputs = InputContract.from_json(dict(request.inputs))
        outputs = OutputContract.from_json(dict(request.outputs))
        pictures = (read_image(Path(path), inputs) for path in request.images)
        return self.phases_of(pictures, request.repeats, inputs.prepare, outputs.restore)

    def label(self, request: Label, on_step: Callable[[], None] = do_nothing) -> Done:
        from edgeseg.data.images import read_image

        assert request.inputs is not None
        assert request.outputs is not None
        inputs = InputContract.from_json(dict(request.inputs))
        to_labels = OutputContract.from_json(dict(request.outputs)).labels
        labels = np.lib.format.open_memmap(
            request.result,
            mode="w+",
            dtype=np.uint8,
            shape=(len(request.images), inputs.height, inputs.width),
        )
        for index, path in enumerate(request.images):
            mask = self.run(inputs.prepare(read_image(Path(path), inputs)))
            require_finite(mask, path)
            labels[index] = to_labels(mask)
            on_step()
        labels.flush()
        return Done()

    def label_prepared(self, request: LabelPrepared) -> Done:
        to_labels = OutputContract.from_json(dict(request.outputs)).labels
        labels = []
        for index, image in enumerate(np.load(request.images, mmap_mode="r")[: request.count]):
            mask = self.run(np.ascontiguousarray(image))
            require_finite(mask, f"image {index}")
            labels.append(to_labels(mask))
        np.save(request.result, np.stack(labels))
        return Done()

    def predict_prepared(self, request: PredictPrepared) -> Done:
        images = np.load(request.images)
        masks = [self.run(np.ascontiguousarray(image)) for image in images]
        np.save(request.result, np.stack(masks).astype(np.float32))
        return Done()


def require_finite(mask: Any, name: str) -> None:
    """Refuse a mask that is no mask.

    Raises:
        EdgesegError: It holds NaN or infinity.
    """
    if not np.isfinite(mask).all():
        raise EdgesegError(f"The mask of {name} holds NaN or infinity.")


def pin_threads(threads: int) -> list[int]:
    """Keep this process on its first `threads` allowed cores; 0 leaves it free."""
    if threads <= 0 or not hasattr(os, "sched_setaffinity"):
        return []
    cores = allowed_cores()[:threads]
    os.sched_setaffinity(0, cores)
    return cores


def explain_error(error: Exception) -> str:
    """Errors of edgeseg explain themselves."""
    return str(error) if isinstance(error, EdgesegError) else explain(error)


def main() -> None:
    threads, record = sys.argv[1:]
    pin_threads(int(threads))
    serve(LocalWorker(record), explain_error)


if __name__ == "__main__":
    main()
