"""Progress of long work: the command line and notebooks show it, other callers see nothing.

A stage may be opened within a stage. What failed to be shown never fails the work.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Protocol


class Stage(Protocol):
    def advance(self, steps: float = 1) -> None:
        """Count finished steps."""

    def note(self, text: str) -> None:
        """Show a few words beside the stage, such as the present loss."""


class Progress(Protocol):
    def stage(
        self, title: str, total: float | None = None
    ) -> contextlib.AbstractContextManager[Stage]:
        """Open a stage of `total` steps, or of an unknown number of steps."""


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
