"""Runs a TFLite model. Needs numpy and either ai_edge_litert or tflite_runtime only; a bundle
carries a copy as `backend.py`."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Standard error is the process's: bundles that load at once, each with a copy of this file, would
# restore each other's.
_NOTICES = sys.__dict__.setdefault("_edgeseg_notices", threading.Lock())


class Backend:
    """An interpreter with XNNPACK, which threads take in turn.

    Args:
        folder: Where the files lie.
        files: The .tflite first.
        runtime: `delegate` is "xnnpack"; `input` and `output` say `layout` ("NHWC"), `dtype`,
            and, for integers, `scale` and `zero_point`: real = scale * (code - zero_point).
        threads: CPU threads.
    """

    def __init__(
        self, folder: Path, files: Sequence[str], runtime: Mapping[str, Any], threads: int
    ) -> None:
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError as error:
            try:
                from tflite_runtime.interpreter import Interpreter
            except ImportError:
                raise RuntimeError(
                    f"the package ai-edge-litert does not load ({error}): pip install "
                    "ai-edge-litert, or tflite-runtime"
                ) from error

        if runtime["delegate"] != "xnnpack":
            raise RuntimeError(f"this runner has no delegate {runtime['delegate']!r}")
        # From memory: the interpreter checks that, while a file cut short would crash it.
        content = (Path(folder) / files[0]).read_bytes()
        with _without_notices():
            # XNNPACK is what the interpreter applies of its own accord.
            self._interpreter = Interpreter(model_content=content, num_threads=threads)
            self._interpreter.allocate_tensors()
        self._input = _only(self._interpreter.get_input_details(), runtime["input"])
        self._output = _only(self._interpreter.get_output_details(), runtime["output"])
        self._lock = threading.Lock()

    def run(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities (1, C, H, W) of a prepared image (1, 3, H, W)."""
        pixels = np.ascontiguousarray(np.transpose(image, (0, 2, 3, 1)))
        encoded = _encode(pixels, self._input)
        with self._lock:
            self._interpreter.set_tensor(self._input["index"], encoded)
            self._interpreter.invoke()
            codes = self._interpreter.get_tensor(self._output["index"])  # a copy
        result = _decode(codes, self._output)
        return np.ascontiguousarray(np.transpose(result, (0, 3, 1, 2)))


def _only(details: Sequence[Mapping[str, Any]], described: Mapping[str, Any]) -> Mapping[str, Any]:
    """The one input or output, if it is what the manifest says."""
    (tensor,) = details
    found = describe(tensor)
    if found != dict(described):
        raise RuntimeError(f"the model has {found} where the manifest says {dict(described)}")
    return tensor


def describe(tensor: Mapping[str, Any]) -> dict[str, Any]:
    """What an application must know of an input or output, as JSON."""
    scale, zero_point = tensor["quantization"]
    is_integer = np.issubdtype(tensor["dtype"], np.integer)
    return {
        "layout": "NHWC",
        "dtype": np.dtype(tensor["dtype"]).name,
        "scale": float(scale) if is_integer else None,
        "zero_point": int(zero_point) if is_integer else None,
    }


def _encode(values: NDArray[np.float32], tensor: Mapping[str, Any]) -> NDArray[Any]:
    if not np.issubdtype(tensor["dtype"], np.integer):
        return values.astype(np.float32, copy=False)
    scale, zero_point = tensor["quantization"]
    codes = np.rint(values / np.float32(scale)) + zero_point
    limits = np.iinfo(tensor["dtype"])
    return np.asarray(np.clip(codes, limits.min, limits.max), tensor["dtype"])


def _decode(codes: NDArray[Any], tensor: Mapping[str, Any]) -> NDArray[np.float32]:
    if not np.issubdtype(tensor["dtype"], np.integer):
        return codes.astype(np.float32, copy=False)
    scale, zero_point = tensor["quantization"]
    return (codes.astype(np.float32) - np.float32(zero_point)) * np.float32(scale)


def _room() -> Any:
    """An unnamed file, in memory where the system can, as no folder may be writable."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("notices"), "w+b")
    return tempfile.TemporaryFile()


@contextlib.contextmanager
def _without_notices() -> Iterator[None]:
    """Keep the runtime's notes, such as that it made a delegate, off standard error.

    They are printed by native code. What is no note is printed again.
    """
    try:
        sys.stderr.flush()
        os.fstat(2)
    except (AttributeError, OSError):
        # No standard error to speak of, as in some applications.
        yield
        return
    with _NOTICES, _room() as file:
        kept = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            file.seek(0)
            rest = [line for line in file if not line.startswith((b"INFO: ", b"I0000 "))]
            if rest:
                os.write(2, b"".join(rest))
