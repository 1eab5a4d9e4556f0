"""What people see: results on standard output, progress and errors on standard error."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeseg.errors import UsageError

from .captured_output import terminal_stderr, terminal_stdout

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from edgeseg.progress import Progress

PIPE_WIDTH = 220
STANDARD_OUTPUT = ("-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")
LARGEST_SIDE = 8192


def error_console() -> Console:
    from rich.console import Console

    return Console(file=terminal_stderr(), highlight=False, emoji=False)


def print_error(message: str, notes: Sequence[str] = ()) -> None:
    """Print a message, and below it each note, such as where the log is."""
    text = "\n".join((f"Error: {message}", *notes))
    error_console().print(text, markup=False, soft_wrap=True, style="red")


def print_note(message: str) -> None:
    """Print what is worth knowing beside the result, to standard error."""
    error_console().print(message, markup=False, soft_wrap=True)


def print_result(text: str) -> None:
    """Print a result, to standard output, whatever other packages print there."""
    print(text, file=terminal_stdout())


def is_standard_output(path: Path) -> bool:
    """Whether a file's name stands for the standard output, which commands have captured."""
    return str(path) in STANDARD_OUTPUT


def print_json(value: Any) -> None:
    """Print a result as JSON, and nothing else."""
    print_result(json.dumps(value, indent=2))


def table_width() -> int | None:
    """Columns that a table may take; None leaves it to the terminal."""
    # In a pipe there is no width to fit: keep each row on one line.
    return None if terminal_stdout().isatty() else PIPE_WIDTH


def print_table(table: Table) -> None:
    from rich.console import Console

    # Cells hold names and paths: what looks like markup or an emoji's name in them is meant so.
    console = Console(
        file=terminal_stdout(), highlight=False, markup=False, emoji=False, width=table_width()
    )
    console.print(table)


def parse_counts(text: str, option: str) -> tuple[int, ...]:
    """Whole numbers of "2,4".

    Raises:
        UsageError: A word is none.
    """
    words = [word.strip() for word in text.split(",")]
    for word in words:
        if not word.isdecimal():
            raise UsageError(f"{option} '{text}': '{word}' is no whole number. Write {option} 2,4.")
    return tuple(map(int, words))


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


def make_progress() -> Progress:
    """Bars on a terminal, plain lines elsewhere; both on standard error."""
    from . import progress

    return progress.make_progress(error_console())
