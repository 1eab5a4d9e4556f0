"""The process in which one artefact is measured: nothing else is loaded in it.

It reads JSON commands from standard input, a line each, and answers each with a JSON line:

    {"command": "load", "runner": {...}, "images": FILE} -> {"load_ms", "bare_rss_bytes"}
    {"command": "first"}                                 -> {"first_ms"}
    {"command": "time", "count": N}                      -> {"latencies_ms": [...]}
    {"command": "memory"}                                -> {"peak_rss_bytes"}
    {"command": "label", "images": [...], ...}           -> {"done": I} for each, then {}
    {"command": "label_prepared", "images": FILE, ...}   -> {}

An answer with "error" ends the work. The process ends when its input does.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseg.contract import InputContract, OutputContract
from edgeseg.errors import EdgesegError

from .cpu import allowed_cores
from .memory import peak_rss_bytes, reset_peak_rss, rss_bytes


class Worker:
    """State between commands."""

    def __init__(self) -> None:
        self.runner: Any = None
        self.images: NDArray[np.float32] = np.empty(0, np.float32)
        self.next_image = 0

    def load(self, runner: dict[str, Any], images: str | None = None) -> dict[str, Any]:
        """Open the artefact; `images` holds prepared ones to time, (N, 1, 3, H, W)."""
        for package in runner["packages"]:
            importlib.import_module(package)
        module, _, function = runner["place"].partition(":")
        opener = getattr(importlib.import_module(module), function)
        if images is not None:
            self.images = np.load(images, allow_pickle=False)
        reset_peak_rss()
        bare = rss_bytes()
        started = time.perf_counter()
        self.runner = opener(**runner["arguments"])
        return {
            "load_ms": (time.perf_counter() - started) * 1e3,
            "bare_rss_bytes": bare,
        }

    def first(self) -> dict[str, Any]:
        started = time.perf_counter()
        self.runner.run(self.images[0])
        return {"first_ms": (time.perf_counter() - started) * 1e3}

    def time(self, count: int) -> dict[str, Any]:
        """Time `count` inferences after one that is not counted: another process ran before."""
        self.runner.run(self.images[0])
        latencies = []
        for _ in range(count):
            image = self.images[self.next_image]
            self.next_image = (self.next_image + 1) % len(self.images)
            started = time.perf_counter_ns()
            self.runner.run(image)
            latencies.append((time.perf_counter_ns() - started) / 1e6)
        return {"latencies_ms": latencies}

    def memory(self) -> dict[str, Any]:
        return {"peak_rss_bytes": peak_rss_bytes()}

    def label(
        self,
        images: list[str],
        inputs: dict[str, Any],
        outputs: dict[str, Any],
        result: str,
        reply: Any,
    ) -> dict[str, Any]:
        """Write the label map of each image file to `result`, (N, h, w) uint8."""
        from edgeseg.data.images import read_image

        prepare = InputContract.from_json(inputs).prepare
        to_labels = OutputContract.from_json(outputs).labels
        labels = np.lib.format.open_memmap(  # type: ignore[no-untyped-call]
            result,
            mode="w+",
            dtype=np.uint8,
            shape=(len(images), inputs["height"], inputs["width"]),
        )
        for index, path in enumerate(images):
            mask = self.runner.run(prepare(read_image(Path(path))))
            if not np.isfinite(mask).all():
                return {"error": f"The mask of {path} holds NaN or infinity."}
            labels[index] = to_labels(mask)
            reply({"done": index + 1})
        labels.flush()
        return {}

    def label_prepared(
        self, images: str, count: int, outputs: dict[str, Any], result: str
    ) -> dict[str, Any]:
        """Write the label maps of the first `count` prepared images, (N, 1, 3, H, W), of a file."""
        to_labels = OutputContract.from_json(outputs).labels
        labels = []
        for index, image in enumerate(np.load(images, mmap_mode="r")[:count]):
            mask = self.runner.run(np.ascontiguousarray(image))
            if not np.isfinite(mask).all():
                return {"error": f"The mask of image {index} holds NaN or infinity."}
            labels.append(to_labels(mask))
        np.save(result, np.stack(labels))
        return {}


def pin_threads(threads: int) -> list[int]:
    """Keep this process on its first `threads` allowed cores; 0 leaves it free."""
    if threads <= 0 or not hasattr(os, "sched_setaffinity"):
        return []
    cores = allowed_cores()[:threads]
    os.sched_setaffinity(0, cores)
    return cores


def main() -> None:
    # Libraries print; answers go through a copy of standard output that they do not know.
    answers = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)
    pin_threads(int(sys.argv[1]))
    worker = Worker()

    def reply(answer: dict[str, Any]) -> None:
        answers.write(json.dumps(answer) + "\n")

    for line in sys.stdin:
        request = json.loads(line)
        command = request.pop("command")
        try:
            if command == "label":
                reply(worker.label(**request, reply=reply))
            else:
                reply(getattr(worker, command)(**request))
        except EdgesegError as error:
            reply({"error": str(error)})
        except Exception as error:
            reply({"error": f"{type(error).__name__}: {error}"})


if __name__ == "__main__":
    main()
