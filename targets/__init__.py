"""Targets by name: the runtimes that edgeseg builds for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeseg.registry import Registry

from .base import Backend, Target, TargetOptions

__all__ = ["TARGETS", "Backend", "Target", "TargetOptions", "find_target", "open_backend"]

TARGETS = Registry(
    "target",
    {
        "android": "edgeseg.targets.litert.target:LiteRtTarget",
        "intel": "edgeseg.targets.openvino.target:OpenVinoTarget",
        "jetson": "edgeseg.targets.tensorrt.target:TensorRtTarget",
        "onnxruntime": "edgeseg.targets.onnxruntime:OnnxRuntimeTarget",
        "rtx": "edgeseg.targets.tensorrt.rtx:TensorRtRtxTarget",
    },
    "edgeseg.targets",
)


def find_target(name: str, options: Mapping[str, str] | None = None) -> Target:
    """Make the target of that name.

    Args:
        options: Of the target, as words of a command line; the defaults for the rest.

    Raises:
        UnknownNameError: No such target, or it has no such option.
        UsageError: An option has a value that it cannot have.
    """
    target_class: type[Target] = TARGETS.find(name)
    return target_class(target_class.options_class.from_text(name, options or {}))


def open_backend(
    target: str, folder: str, files: list[str], runtime: Mapping[str, Any], threads: int
) -> Backend:
    """Load an artefact by plain values, as another process receives them.

    Where its device is elsewhere, what stands in for that is loaded.
    """
    found = find_target(target)
    if found.fallback_runtime():
        return found.load_for_check(Path(folder), tuple(files), runtime)[0]
    return found.load(Path(folder), tuple(files), runtime, threads)
