"""How long work tells a person that it goes on: shown by the command line, silent elsewhere."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Protocol


class Stage(Protocol):
    def advance(self, steps: float = 1) -> None:
        """Count finished steps."""

    def note(self, text: str) -> None:
        """Say something short about the present step, such as a loss."""


class Progress(Protocol):
    def stage(
        self, title: str, total: float | None = None
    ) -> contextlib.AbstractContextManager[Stage]:
        """Open a stage of `total` steps, or of unknown length."""


class _SilentStage:
    def advance(self, steps: float = 1) -> None:
        pass

    def note(self, text: str) -> None:
        pass


class SilentProgress:
    @contextlib.contextmanager
    def stage(self, title: str, total: float | None = None) -> Iterator[Stage]:
        yield _SilentStage()


SILENT = SilentProgress()
