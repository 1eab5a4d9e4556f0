"""The process in which LiteRT's own profiler times the operators of a TFLite model.

Python's interpreter of LiteRT has no profiler. The library beside it, `libLiteRt.so`, has one
behind its C interface, which tells the time of each XNNPACK operator. A mistake in calling C ends
a process, so that it is called in one of its own.
"""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgeseg.errors import TargetError
from edgeseg.lazy import require
from edgeseg.storage.temporary import temporary_folder

from ..runners.litert_backend import Backend
from .clock import take_turns, typical

LIBRARY = "libLiteRt.so"
COMMAND = (sys.executable, "-P", "-m", "edgeseg.targets.profiling.litert_counters")
ASKED, IMAGE, TOLD = "asked.json", "image.npy", "told.json"
# Under this name the library looks for settings, as TOML.
SETTINGS_NAME = b"runtime_options_string"
SETTINGS = b"enable_profiling = true\n"
CPU, HOST_MEMORY, FLOAT32, READ, WRITE = 1, 1, 1, 0, 1
# Kinds of events: an operator of TFLite's own, and one inside a delegate.
OPERATOR, INSIDE_DELEGATE = 2, 8
ADVICE = "Install the version that EdgeSeg is tested with: pip install 'ai-edge-litert==2.3.0'."


class Event(NamedTuple):
    """An operator that was timed.

    Attributes:
        tag: What the runtime calls it, such as "Convolution (NHWC, F32) IGEMM".
        kind: `OPERATOR` or `INSIDE_DELEGATE`.
        number: Of the operator in the file, or in the delegate.
        milliseconds: Typical; the profiler tells whole microseconds of each run.
    """

    tag: str
    kind: int
    number: int
    milliseconds: float


class Told(NamedTuple):
    """Times of a run in Python's interpreter and of one with the profiler, and the operators."""

    run_ms: float
    counted_ms: float
    events: list[Event]


class _Event(ctypes.Structure):
    _fields_ = (
        ("tag", ctypes.c_char_p),
        ("kind", ctypes.c_int),
        ("start_us", ctypes.c_uint64),
        ("took_us", ctypes.c_uint64),
        ("memory", ctypes.c_size_t * 6),
        ("number", ctypes.c_uint64),
        ("graph", ctypes.c_uint64),
        ("source", ctypes.c_int),
    )


class _TensorType(ctypes.Structure):
    _fields_ = (
        ("element", ctypes.c_int),
        ("rank", ctypes.c_uint32, 7),
        ("has_strides", ctypes.c_uint32, 1),
        ("sizes", ctypes.c_int32 * 8),
        ("strides", ctypes.c_uint32 * 8),
    )


def count_in_process(model: Path, settings: dict[str, Any], image: NDArray[Any], runs: int) -> Told:
    """Time a model in another process.

    Args:
        settings: Those of the artefact.
        image: Prepared, (1, C, H, W).

    Raises:
        TargetError: The library is not there, or it has no such profiler.
    """
    with temporary_folder("profile") as name:
        folder = Path(name)
        asked = {"model": str(model.absolute()), "settings": settings, "runs": runs}
        (folder / ASKED).write_text(json.dumps(asked), encoding="utf-8")
        np.save(folder / IMAGE, image)
        done = subprocess.run([*COMMAND, str(folder)], capture_output=True, text=True, check=False)
        if done.returncode or not (folder / TOLD).is_file():
            lines = done.stderr.strip().splitlines() or [f"it ended with code {done.returncode}"]
            raise TargetError(
                f"LiteRT's profiler does not time {model.name}: {lines[-1].rstrip('.')}. {ADVICE}"
            )
        told = json.loads((folder / TOLD).read_text(encoding="utf-8"))
    events = [Event(*event) for event in told["events"]]
    return Told(told["run_ms"], told["counted_ms"], events)


def count(folder: Path) -> None:
    """Answer what `count_in_process` has asked, in `folder`."""
    asked = json.loads((folder / ASKED).read_text(encoding="utf-8"))
    image = np.load(folder / IMAGE)
    model = Path(asked["model"])
    plain = Backend(model.parent, [model.name], asked["settings"], threads=1)
    profiled = _ProfiledModel(model)
    profiled.put(np.ascontiguousarray(image.transpose(0, 2, 3, 1), np.float32))
    turns = take_turns(lambda: plain.run(image), profiled.run, profiled.events, asked["runs"])
    events = [
        (*first[:3], typical([one[place][3] for one in turns.told], turns.quiet))
        for place, first in enumerate(turns.told[0])
    ]
    told = {"run_ms": turns.run_ms, "counted_ms": turns.counted_ms, "events": events}
    (folder / TOLD).write_text(json.dumps(told), encoding="utf-8")


class _ProfiledModel:
    """A model that is compiled with a profiler, by the C interface."""

    def __init__(self, model: Path) -> None:
        package = require("ai_edge_litert", purpose="Profiling on litert")
        path = Path(package.__path__[0]) / LIBRARY
        if not path.is_file():
            raise RuntimeError(f"the package ai_edge_litert has no {LIBRARY}")
        self._library = ctypes.CDLL(str(path))
        self._model, options, setting = (ctypes.c_void_p() for _ in range(3))
        self._environment = ctypes.c_void_p()
        self._call("CreateEnvironment", 0, None, ctypes.byref(self._environment))
        path_bytes = str(model).encode()
        self._call("CreateModelFromFile", self._environment, path_bytes, ctypes.byref(self._model))
        self._call("CreateOptions", ctypes.byref(options))
        self._call("SetOptionsHardwareAccelerators", options, CPU)
        # The library frees by a function of ours what is Python's, so that nothing is to do.
        self._text = ctypes.create_string_buffer(SETTINGS)
        self._free = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(lambda _: None)
        asked = SETTINGS_NAME, self._text, self._free, ctypes.byref(setting)
        self._call("CreateOpaqueOptions", *asked)
        self._call("AddOpaqueOptions", options, setting)
        self._compiled, self._profiler = ctypes.c_void_p(), ctypes.c_void_p()
        made = ctypes.byref(self._compiled)
        self._call("CreateCompiledModel", self._environment, self._model, options, made)
        self._call("CompiledModelGetProfiler", self._compiled, ctypes.byref(self._profiler))
        if not self._profiler:
            raise RuntimeError("this version of the library gives no profiler")
        self._input, self._output = (self._buffer(side) for side in ("Input", "Output"))

    def _call(self, name: str, *arguments: Any) -> None:
        function: Callable[..., int] = getattr(self._library, f"LiteRt{name}")
        code = function(*arguments)
        if code:
            raise RuntimeError(f"LiteRt{name} ended with code {code}")

    def _buffer(self, side: str) -> ctypes.c_void_p:
        graph, tensor, buffer = (ctypes.c_void_p() for _ in range(3))
        first = ctypes.c_size_t(0)
        self._call("GetModelSubgraph", self._model, first, ctypes.byref(graph))
        self._call(f"GetSubgraph{side}", graph, first, ctypes.byref(tensor))
        kind = _TensorType()
        self._call("GetRankedTensorType", tensor, ctypes.byref(kind))
        if kind.element != FLOAT32:
            raise RuntimeError(f"the model's {side.lower()} is not of type float32")
        size = ctypes.c_size_t(4 * int(np.prod(kind.sizes[: kind.rank])))
        place = ctypes.byref(kind), size, ctypes.byref(buffer)
        self._call("CreateManagedTensorBuffer", self._environment, HOST_MEMORY, *place)
        return buffer

    def put(self, pixels: NDArray[np.float32]) -> None:
        """Give the image, (1, H, W, C)."""
        place = ctypes.c_void_p()
        self._call("LockTensorBuffer", self._input, ctypes.byref(place), WRITE)
        ctypes.memmove(place, pixels.ctypes.data, pixels.nbytes)
        self._call("UnlockTensorBuffer", self._input)

    def run(self) -> None:
        """Run once, counted from zero."""
        self._call("ResetProfiler", self._profiler)
        self._call("StartProfiler", self._profiler)
        first, one = ctypes.c_size_t(0), ctypes.c_size_t(1)
        places = one, ctypes.byref(self._input), one, ctypes.byref(self._output)
        self._call("RunCompiledModel", self._compiled, first, *places)
        self._call("StopProfiler", self._profiler)

    def events(self) -> list[tuple[str, int, int, float]]:
        """Of the last run, the operators that computed, in order: as in `Event`, with one time."""
        count = ctypes.c_int()
        self._call("GetNumProfilerEvents", self._profiler, ctypes.byref(count))
        events = (_Event * max(count.value, 1))()
        self._call("GetProfilerEvents", self._profiler, count, events)
        kinds = OPERATOR, INSIDE_DELEGATE
        # A delegate as a whole is told too; what is inside it is told one by one.
        return [
            (one.tag.decode(), one.kind, one.number, one.took_us / 1e3)
            for one in events
            if one.kind in kinds and b"Delegate" not in one.tag
        ]


if __name__ == "__main__":
    try:
        count(Path(sys.argv[1]))
    except (RuntimeError, AttributeError, OSError) as error:
        sys.exit(str(error))
