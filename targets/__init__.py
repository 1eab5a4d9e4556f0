"""Targets by name: the runtimes that edgeseg builds for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeseg.registry import Registry

from .base import Backend, Target

__all__ = ["TARGETS", "Backend", "Target", "find_target", "open_backend"]

TARGETS = Registry(
    "target",
    {
        "intel": "edgeseg.targets.openvino:OpenVinoTarget",
    },
    "edgeseg.targets",
)


def find_target(name: str) -> Target:
    """Make the target of that name.

    Raises:
        UnknownNameError: No such target.
    """
    target: Target = TARGETS.find(name)()
    return target


def open_backend(
    target: str, folder: str, files: list[str], runtime: Mapping[str, Any], threads: int
) -> Backend:
    """Load an artefact by plain values, as another process receives them."""
    return find_target(target).load(Path(folder), tuple(files), runtime, threads)
