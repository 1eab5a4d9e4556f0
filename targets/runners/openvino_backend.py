"""Runs an OpenVINO IR. Needs numpy and openvino only; a bundle carries a copy as `backend.py`."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Backend:
    """A compiled model with one inference request, which threads take in turn.

    Args:
        folder: Where the files lie.
        files: The .xml first.
        runtime: `device`, `inference_precision` ("f32", "bf16" or "f16") and `streams`.
        threads: CPU threads.
    """

    def __init__(
        self, folder: Path, files: Sequence[str], runtime: Mapping[str, Any], threads: int
    ) -> None:
        try:
            with _without_reports():
                import openvino
        except ImportError as error:
            raise RuntimeError(
                f"the package openvino does not load ({error}): pip install openvino"
            ) from error

        core = openvino.Core()
        device, precision = runtime["device"], runtime["inference_precision"]
        if precision == "bf16" and "BF16" not in core.get_property(
            device, "OPTIMIZATION_CAPABILITIES"
        ):
            raise RuntimeError("this CPU has no BF16 instructions, for which the model was built")
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": precision,
            "NUM_STREAMS": str(runtime["streams"]),
            "INFERENCE_NUM_THREADS": threads,
            # Who starts the process decides on which cores it runs.
            "ENABLE_CPU_PINNING": False,
        }
        self._model = core.compile_model(Path(folder) / files[0], device, settings)
        self._request = self._model.create_infer_request()
        self._output = self._model.output(0)
        self._lock = threading.Lock()

    def run(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities (1, C, H, W) of a prepared image (1, 3, H, W)."""
        with self._lock:
            result = self._request.infer([image], share_inputs=True, share_outputs=True)
            # A copy, before the next image takes the place of this one's result.
            return np.array(result[self._output], np.float32)


@contextlib.contextmanager
def _without_reports() -> Iterator[None]:
    """Hide the package by which an import of OpenVINO looks up a host and marks the user's home.

    OpenVINO does without it where it is not installed.
    """
    name = "openvino_telemetry"
    modules: dict[str, Any] = sys.modules
    is_new = name not in modules
    if is_new:
        modules[name] = None
    try:
        yield
    finally:
        if is_new:
            modules.pop(name, None)
