"""The one way to read small files of text and JSON, which may come from anywhere.

What cannot be read is a ValueError or an OSError, never an endless read, a recursion or a surprise
further on.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path
from typing import Any, NoReturn

MOST_BYTES = 64 * 2**20
BYTE_ORDER_MARK = "\ufeff"  # that editors put before the text
DEEPEST = 100  # lists and objects within each other


def read_text_file(path: Path) -> str:
    """The text of a regular file.

    Raises:
        OSError: It cannot be read.
        ValueError: It is no regular file, larger than 64 MiB, or not UTF-8.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # opening a pipe would wait
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, "it is a folder", str(path))
        if not stat.S_ISREG(mode):
            raise ValueError("it is a device or a pipe, and no file")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            content = file.read(MOST_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(content) > MOST_BYTES:
        raise ValueError(f"it is larger than {MOST_BYTES // 2**20} MiB")
    try:
        return content.decode().removeprefix(BYTE_ORDER_MARK)
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8 text from byte {error.start} on") from error


def read_json(path: Path) -> Any:
    """The value in a JSON file.

    Raises:
        OSError, ValueError: As `read_text_file` and `parse_json`.
    """
    return parse_json(read_text_file(path))


def parse_json(text: str) -> Any:
    """The value that JSON describes.

    Raises:
        ValueError: It is no JSON, nested more than 100 deep, names a key of an object twice, or
            holds text that is no Unicode or has a zero byte in it.
    """
    try:
        value = json.loads(text, object_pairs_hook=_object_of)
    except RecursionError:
        _refuse_depth()
    _require_sound(value)
    return value


def _refuse_depth() -> NoReturn:
    raise ValueError(f"it is nested more than {DEEPEST} deep")


def _object_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) < len(pairs):
        names = [name for name, _ in pairs]
        double = next(name for name in record if names.count(name) > 1)
        raise ValueError(f"it holds the key {double[:40]!r} twice")
    return record


def _require_sound(value: Any) -> None:
    """Refuse what is nested too deep, and texts that no file or terminal takes.

    Raises:
        ValueError: Says what.
    """
    level = [value]
    for _ in range(DEEPEST):
        texts = [one for one in level if isinstance(one, str)]
        texts += [name for one in level if isinstance(one, dict) for name in one]
        for text in texts:
            if "\0" in text or any("\ud800" <= letter <= "\udfff" for letter in text):
                raise ValueError(f"it holds text that is none: {text[:40]!r}")
        inner: list[Any] = []
        for one in level:
            if isinstance(one, (dict, list)):
                inner += one.values() if isinstance(one, dict) else one
        if not inner:
            return
        level = inner
    _refuse_depth()
