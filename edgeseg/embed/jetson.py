"""To be written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from .surface import Kit, Surface


class JetsonSurface(Surface):
    """To be written."""

    name = "jetson"
    title = "jetson"
    runtimes: ClassVar[Mapping[str, str]] = {}

    def write(self, kit: Kit, folder: Path) -> None:
        raise NotImplementedError
