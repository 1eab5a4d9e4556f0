"""Reading what edgeseg has written before, and what anybody may have changed since."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ...errors import UsageError, reason_of

DAMAGE = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError)


def read_record(path: Path) -> Any:
    """The JSON in a file.

    Raises:
        UsageError: There is no file, or it holds something else.
    """
    from ...storage.reading import read_json

    if not path.is_file():
        raise UsageError(f"No report at {path}. Make one with edgeseg bench --json-file.")
    try:
        return read_json(path)
    except (ValueError, OSError) as error:
        raise UsageError(
            f"{path} is not readable JSON. Take the file that edgeseg has written, unchanged."
        ) from error


@contextlib.contextmanager
def whole_records(paths: Sequence[Path]) -> Iterator[None]:
    """A block that works on such records: where one lacks something, the files are named.

    Raises:
        UsageError: A part is missing, or is of another kind.
    """
    try:
        yield
    except DAMAGE as error:
        names = ", ".join(map(str, paths))
        raise UsageError(
            f"A report lacks something or was changed ({type(error).__name__}: "
            f"{reason_of(error)}), in {names}. Take the files that edgeseg has written, unchanged."
        ) from error
