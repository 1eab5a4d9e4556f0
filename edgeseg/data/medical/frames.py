"""Names of pictures that are parts of a file: slices of a volume, frames of a loop.

    scan.nii.gz#12           slice 12, counted from 0, of a volume that is cut axially
    scan.nii.gz#axis0:12     the same, cut along the first axis
    loop.dcm#3               frame 3

Such a name stands wherever the path of a picture does. A file that bears the whole name goes first.
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from pathlib import Path

from ...contract import AXIAL
from ...records import sha256_of_file

_FRAME = re.compile(r"(?P<file>.+)#(?:axis(?P<axis>[0-2]):)?(?P<index>[0-9]{1,7})", re.DOTALL)


def frame_path(file: Path, index: int, axis: int = AXIAL) -> Path:
    """The name of a part of a file.

    Args:
        index: From 0.
        axis: See `edgeseg.contract.InputContract`.
    """
    along = "" if axis == AXIAL else f"axis{axis}:"
    return file.with_name(f"{file.name}#{along}{index}")


def split_frame(path: Path) -> tuple[Path, int | None, int]:
    """The file of a picture, which part of it is meant (None where none is named), and the axis."""
    found = _FRAME.fullmatch(path.name)
    if found is None or path.is_file():
        return path, None, AXIAL
    axis = AXIAL if found["axis"] is None else int(found["axis"])
    return path.with_name(found["file"]), int(found["index"]), axis


def file_of(path: Path) -> Path:
    """The file that holds a picture."""
    return split_frame(path)[0]


def sha256_of_picture(path: Path) -> str:
    """Of the file that holds a picture, and which part of it the picture is."""
    file, index, axis = split_frame(path)
    if index is None:
        return sha256_of_file(path)
    state = file.stat()
    whole = _digest(file, state.st_mtime_ns, state.st_size)
    return hashlib.sha256(f"{whole} {axis} {index}".encode()).hexdigest()


@lru_cache(maxsize=1_000)
def _digest(file: Path, _changed_ns: int, _size: int) -> str:
    """Once for all slices of a file."""
    return sha256_of_file(file)
