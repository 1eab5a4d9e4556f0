"""What people see: results on standard output, progress and errors on standard error."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from edgeseg.errors import UsageError
from edgeseg.progress import Progress, Stage

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

PIPE_WIDTH = 220
LARGEST_SIDE = 8192


def error_console() -> Console:
    from rich.console import Console

    # Bound to the real stream: backends are silenced by replacing sys.stderr for a while.
    return Console(file=sys.stderr, highlight=False)


def print_error(message: str) -> None:
    error_console().print(f"Error: {message}", markup=False, soft_wrap=True, style="red")


def print_note(message: str) -> None:
    error_console().print(message, markup=False, soft_wrap=True)


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=2))


def print_table(table: Table) -> None:
    from rich.console import Console

    # In a pipe there is no width to fit: keep each row on one line.
    width = None if sys.stdout.isatty() else PIPE_WIDTH
    Console(highlight=False, width=width).print(table)


def parse_size(text: str | None, option: str = "--size") -> tuple[int, int] | None:
    """Read "HxW" of an option.

    Raises:
        UsageError: Anything else.
    """
    if text is None:
        return None
    height, cross, width = text.lower().partition("x")
    if not (cross and height.isdigit() and width.isdigit() and int(height) and int(width)):
        raise UsageError(f"{option} {text} is no size. Write height x width, such as 256x256.")
    if max(int(height), int(width)) > LARGEST_SIDE:
        raise UsageError(f"{option} {text} is too large; a side has at most {LARGEST_SIDE} pixels.")
    return int(height), int(width)


def parse_options(words: Sequence[str], switch: str = "--option") -> dict[str, str]:
    """Read "NAME=VALUE" words behind a switch.

    Raises:
        UsageError: A word without a name or an equals sign, or a name given twice.
    """
    options: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not (name and equals):
            raise UsageError(f"{switch} {word} is no option. Write NAME=VALUE.")
        if name in options:
            raise UsageError(f"{switch} {name} was given twice. Give it once.")
        options[name] = value
    return options


def short_name(model: str) -> str:
    """Name of a model for folders: that of the class, in small letters, for a user's own."""
    return model.rpartition(":")[2].lower()


def make_progress() -> Progress:
    """Bars on a terminal, one line a stage elsewhere."""
    console = error_console()
    return _Bars(console) if console.is_terminal else _Lines(console)


class _LineStage:
    def __init__(self) -> None:
        self.text = ""

    def advance(self, steps: float = 1) -> None:
        pass

    def note(self, text: str) -> None:
        self.text = f", {text}"


class _Lines:
    def __init__(self, console: Console) -> None:
        self.console = console

    @contextlib.contextmanager
    def stage(self, title: str, total: float | None = None) -> Iterator[Stage]:
        self.console.print(f"{title} ...", markup=False, soft_wrap=True)
        started = time.monotonic()
        stage = _LineStage()
        yield stage
        seconds = time.monotonic() - started
        self.console.print(f"{title}: {seconds:.1f} s{stage.text}", markup=False, soft_wrap=True)


class _BarStage:
    def __init__(self, bars: Any, task: Any, title: str) -> None:
        self.bars = bars
        self.task = task
        self.title = title

    def advance(self, steps: float = 1) -> None:
        self.bars.advance(self.task, steps)

    def note(self, text: str) -> None:
        self.bars.update(self.task, description=f"{self.title}: {text}")


class _Bars:
    def __init__(self, console: Console) -> None:
        self.console = console

    @contextlib.contextmanager
    def stage(self, title: str, total: float | None = None) -> Iterator[Stage]:
        from rich import progress

        columns = (
            progress.SpinnerColumn(finished_text="[green]✓"),
            progress.TextColumn("{task.description}", markup=False),
            progress.BarColumn(bar_width=24),
            progress.MofNCompleteColumn(),
            progress.TimeElapsedColumn(),
        )
        shown = columns if total is not None else (columns[0], columns[1], columns[-1])
        with progress.Progress(*shown, console=self.console) as bars:
            task = bars.add_task(title, total=total)
            yield _BarStage(bars, task, title)
            if total is None:
                bars.update(task, total=1, completed=1)
            else:
                bars.update(task, completed=total)
