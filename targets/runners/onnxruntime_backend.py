"""Runs an ONNX file with ONNX Runtime. Needs numpy and onnxruntime only; a bundle carries a copy
as `backend.py`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

LEVELS = {"all": "ORT_ENABLE_ALL", "extended": "ORT_ENABLE_EXTENDED"}


class Backend:
    """A session.

    Args:
        folder: Where the files lie.
        files: The .onnx first.
        runtime: `provider`, as ONNX Runtime names it; `optimization` of the graph, "all" where it
            is left out, or "extended", which leaves layouts as they are.
        threads: CPU threads.
    """

    def __init__(
        self, folder: Path, files: Sequence[str], runtime: Mapping[str, Any], threads: int
    ) -> None:
        # From 1.29 on the import itself sends, and writes an identifier of the device.
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
        try:
            import onnxruntime
        except ImportError as error:
            raise RuntimeError(
                f"the package onnxruntime does not load ({error}): pip install onnxruntime"
            ) from error

        provider = runtime["provider"]
        # ONNX Runtime would take the CPU instead.
        if provider not in onnxruntime.get_available_providers():
            raise RuntimeError(f"this ONNX Runtime has no {provider}")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.graph_optimization_level = getattr(
            onnxruntime.GraphOptimizationLevel, LEVELS[runtime.get("optimization", "all")]
        )
        # Threads that wait by spinning starve their neighbours on a busy device.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        path = str(Path(folder) / files[0])
        try:
            self._session = onnxruntime.InferenceSession(path, options, providers=[provider])
        except Exception as error:
            # ONNX Runtime's own errors are no RuntimeErrors.
            raise RuntimeError(f"ONNX Runtime does not load {path}: {error}") from error
        self._input = self._session.get_inputs()[0].name
        self._output = self._session.get_outputs()[0].name

    def run(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities (1, C, H, W) of a prepared image (1, 3, H, W)."""
        return np.asarray(self._session.run([self._output], {self._input: image})[0], np.float32)
