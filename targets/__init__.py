"""Devices and the runtimes that compute on them, by name."""

from __future__ import annotations

from collections.abc import Mapping

from edgeseg.records import Artifact
from edgeseg.registry import Registry

from .base import Backend, Runtime, RuntimeOptions

__all__ = [
    "RUNTIMES",
    "Backend",
    "Runtime",
    "RuntimeOptions",
    "find_runtime",
    "open_backend",
    "runtime_class",
]

# Vendors' runtimes first: of the runtimes of a device, the first is the device's own.
RUNTIMES = Registry(
    "runtime",
    {
        "openvino": "edgeseg.targets.openvino.runtime:OpenVinoRuntime",
        "litert": "edgeseg.targets.litert.runtime:LiteRtRuntime",
        "tensorrt": "edgeseg.targets.tensorrt.runtime:TensorRtRuntime",
        "tensorrt-rtx": "edgeseg.targets.tensorrt.rtx:TensorRtRtxRuntime",
        "onnxruntime": "edgeseg.targets.onnxruntime:OnnxRuntime",
        "native": "edgeseg.targets.native.runtime:NativeRuntime",
    },
    "edgeseg.targets",
)


def runtime_class(name: str) -> type[Runtime]:
    """The class of the runtime of that name.

    Raises:
        UnknownNameError: No such runtime.
    """
    found: type[Runtime] = RUNTIMES.find(name)
    return found


def find_runtime(name: str, options: Mapping[str, str] | None = None) -> Runtime:
    """Make the runtime of that name.

    Args:
        options: Of the runtime, as words of a command line; the defaults for the rest.

    Raises:
        UnknownNameError: No such runtime, or it has no such option.
        UsageError: An option has a value that it cannot have.
    """
    found = runtime_class(name)
    return found(found.options_class.from_text(name, options or {}))


def open_backend(artifact: Artifact, threads: int) -> Backend:
    """Load an artefact, by its runtime's fallback runtime where that does not run."""
    runtime = find_runtime(artifact.runtime)
    if runtime.fallback_runtime():
        return runtime.load_for_check(artifact)[0]
    return runtime.load(artifact, threads)
