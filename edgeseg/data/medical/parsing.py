"""DICOM files as data sets of pydicom, with what is hostile in them refused first."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import DataError, MissingBackendError
from ...lazy import require

SUFFIXES = (".dcm", ".dicom", ".ima")
MAGIC_PLACE, MAGIC = 128, b"DICM"
LARGEST_FILE = 2**31  # bytes
MOST_FRAMES = 100_000
DEFLATED = "1.2.840.10008.1.2.1.99"
CONVERT = "Convert it to plain pixels with gdcmconv --raw or dcmdjpeg, or save it as PNG."


@contextlib.contextmanager
def guarded(path: Path, what: str = "DICOM file") -> Iterator[None]:
    """Turn what a library raises of a damaged file into one message.

    The library's own words are left out, as its warnings are: they quote values of the file, which
    may be a patient's name.

    Raises:
        DataError: Anything was raised that is no error of edgeseg's.
    """
    loggers = [logging.getLogger(name) for name in ("pydicom", "highdicom", "nibabel.global")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (DataError, MissingBackendError):
        raise
    except PermissionError:
        raise DataError(f"No right to read {path}. Change its permissions.") from None
    except Exception as error:  # of damaged files, libraries raise what they like
        raise DataError(
            f"Cannot read the {what} {path} ({type(error).__name__}). It is damaged, cut short, "
            "too large or of an unusual kind; replace it, or save its pictures as PNG."
        ) from None
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def parse(path: Path, *, pixels: bool = True) -> Any:
    """A file as `pydicom.Dataset`, without the quirks of files that lack a header.

    Args:
        pixels: Whether the pixels are read, too. Such data sets are kept for the next slice.

    Raises:
        DataError: It is no DICOM file, damaged or too large.
        MissingBackendError: pydicom is not installed.
    """
    require("pydicom", purpose=f"Reading the DICOM file {path}")
    with guarded(path):
        state = path.stat()
        if state.st_size > LARGEST_FILE:
            raise DataError(
                f"{path} has {state.st_size:,} bytes; DICOM files of at most {LARGEST_FILE:,} are "
                "read. Cut it into parts, such as one file for each frame."
            )
        if pixels:
            return _kept(path, state.st_mtime_ns, state.st_size)
        return _parsed(path, stop_before_pixels=True)


@lru_cache(maxsize=2)
def _kept(path: Path, _changed_ns: int, _size: int) -> Any:
    return _parsed(path, stop_before_pixels=False)


def _parsed(path: Path, *, stop_before_pixels: bool) -> Any:
    from pydicom import dcmread
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    content = path.read_bytes()
    has_header = content[MAGIC_PLACE : MAGIC_PLACE + 4] == MAGIC
    if is_deflated(content):
        raise DataError(
            f"{path} is deflated as a whole, which is not read: how much it unpacks to is not "
            f"told. {CONVERT}"
        )
    # Of a buffer: of a file, a length that lies would be allocated before it is found short.
    data = dcmread(io.BytesIO(content), force=not has_header, stop_before_pixels=stop_before_pixels)
    meta = getattr(data, "file_meta", None)
    if meta is not None and "TransferSyntaxUID" not in meta:
        is_implicit, is_little = data.original_encoding
        plain = ExplicitVRLittleEndian if is_little else ExplicitVRBigEndian
        meta.TransferSyntaxUID = ImplicitVRLittleEndian if is_implicit else plain
    return data


def is_deflated(content: bytes) -> bool:
    """Whether a file is deflated as a whole, by its first bytes."""
    has_header = content[MAGIC_PLACE : MAGIC_PLACE + 4] == MAGIC
    return has_header and DEFLATED.encode() in content[:2_000]


def whole(data: Any, name: str, default: int | None = None) -> int:
    """A whole number of a data set.

    Raises:
        ValueError: It is missing, or something else.
    """
    value = getattr(data, name, None)
    if value is None or value == "":
        if default is None:
            raise ValueError(name)
        return default
    return int(value)


def number(data: Any, name: str, place: int = 0) -> float | None:
    """A finite number of a data set, or of several in one entry that of a place; else None."""
    value: Any = getattr(data, name, None)
    try:
        if isinstance(value, (str, bytes)) or not hasattr(value, "__len__"):
            found = float(value) if place == 0 else None
        else:
            found = float(value[place])
    except (TypeError, ValueError, IndexError):
        return None
    return found if found is not None and np.isfinite(found) else None


def macro(data: Any, index: int, name: str) -> Any:
    """What is said of a frame: its own group, else the one of all frames, else the data set."""
    frames = getattr(data, "PerFrameFunctionalGroupsSequence", None)
    groups = [frames[index]] if frames is not None and index < len(frames) else []
    groups += list(getattr(data, "SharedFunctionalGroupsSequence", None) or ())[:1]
    for group in groups:
        found = getattr(group, name, None)
        if found:
            return found[0]
    return data
