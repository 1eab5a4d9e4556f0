"""Which DICOM files are of one patient, which file is which, and which are no pictures.

What tells a patient is written nowhere.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from ...errors import DataError
from ...lazy import is_installed
from ...metrics.clusters import PATIENTS, SERIES, STUDIES
from .parsing import MAGIC, MAGIC_PLACE, guarded, is_deflated

SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
TAGS = {PATIENTS: "PatientID", STUDIES: "StudyInstanceUID", SERIES: "SeriesInstanceUID"}
OWN_TAGS = ("SOPClassUID", "SOPInstanceUID", "Rows")
LAST_TAG = 0x00280010  # of those
# Pixels as whole numbers, floats and doubles, in either order of bytes.
PIXEL_TAGS = (
    *(b"\xe0\x7f\x10\0", b"\xe0\x7f\x08\0", b"\xe0\x7f\x09\0"),
    *(b"\x7f\xe0\0\x10", b"\x7f\xe0\0\x08", b"\x7f\xe0\0\x09"),
)
NO_PICTURE, IS_DEFLATED = "no picture", "deflated"
HEAD_BYTES = 2**24  # more come before the tags in no sound file


def patient_keys(files: Sequence[Path]) -> tuple[list[str | None], str]:
    """A key for each of some DICOM files, equal for files of one patient, and what it tells apart.

    Where all are of one patient, as after numbers have been taken out, the studies tell them apart,
    and where there is one study, the series.

    Returns:
        Keys, None for files that tell nothing; and of `edgeseg.metrics.clusters` the kind.
    """
    every = [_tags_of(file) for file in files]
    found = [None if tags is None else tags[len(OWN_TAGS) :] for tags in every]
    told = [tags for tags in found if tags is not None]
    for place, kind in enumerate(TAGS):
        values = {tags[place] for tags in told}
        if (len(values) > 1 or kind == SERIES) and "" not in values:
            return [None if tags is None else tags[place] for tags in found], kind
    return [None] * len(found), SERIES


def instance_of(file: Path) -> tuple[str, str]:
    """UIDs of a DICOM file's kind and of the file itself; empty where they are not told."""
    tags = _tags_of(file)
    return ("", "") if tags is None else (tags[0], tags[1])


def left_out_as(file: Path) -> str | None:
    """Why a DICOM file is left out where pictures to look at are wanted; None where it is not.

    A damaged file counts as a picture: what is wrong with it is told where it is used.

    Returns:
        `NO_PICTURE` (a report, a list of files, a segmentation, a file without pixels) or
        `IS_DEFLATED`.
    """
    if not is_installed("pydicom"):
        return None
    try:
        state = file.stat()
        with guarded(file):
            return _left_out_as(file, state.st_mtime_ns, state.st_size)
    except (OSError, DataError):
        return None


@lru_cache(maxsize=100_000)
def _left_out_as(file: Path, changed_ns: int, size: int) -> str | None:
    from pydicom.uid import UID

    with file.open("rb") as raw:
        content = raw.read(HEAD_BYTES)
    if is_deflated(content):
        return IS_DEFLATED
    kind, _, rows, *_ = _read_tags(file, changed_ns, size)
    if not kind:
        return None
    is_other = kind == SEGMENTATION or (rows == "" and "Image" not in UID(kind).name)
    return NO_PICTURE if is_other or (size <= HEAD_BYTES and _lacks_pixels(content)) else None


def _lacks_pixels(content: bytes) -> bool:
    """Whether a file is whole and describes pixels that it does not hold.

    A file that is cut short lacks them too: its description or its last value is cut.
    """
    from pydicom import dcmread
    from pydicom.dataelem import RawDataElement

    if any(tag in content for tag in PIXEL_TAGS):
        return False
    data = dcmread(io.BytesIO(content), force=True)
    if "Rows" not in data or "PixelRepresentation" not in data:
        return False
    last = data.get_item(max(data.keys()))
    return isinstance(last, RawDataElement) and last.value_tell + last.length == len(content)


def _tags_of(file: Path) -> tuple[str, ...] | None:
    """Values of `OWN_TAGS` and `TAGS`; None where the file is not read, which is told elsewhere."""
    if not is_installed("pydicom"):
        return None
    try:
        state = file.stat()
        with guarded(file):
            return _read_tags(file, state.st_mtime_ns, state.st_size)
    except (OSError, DataError):
        return None


@lru_cache(maxsize=100_000)
def _read_tags(file: Path, _changed_ns: int, _size: int) -> tuple[str, ...]:
    from pydicom.filereader import read_partial

    with file.open("rb") as raw:
        head = raw.read(HEAD_BYTES)
    has_header = head[MAGIC_PLACE : MAGIC_PLACE + 4] == MAGIC
    if is_deflated(head):
        raise ValueError("deflated as a whole")  # pydicom would unpack it whatever its size
    data = read_partial(
        io.BytesIO(head), stop_when=lambda tag, _, __: tag > LAST_TAG, force=not has_header
    )
    names = (*OWN_TAGS, *TAGS.values())
    kind, *others = (str(getattr(data, name, None) or "").strip() for name in names)
    meta = getattr(data, "file_meta", None)  # of a DICOMDIR, it alone tells the kind
    return kind or str(getattr(meta, "MediaStorageSOPClassUID", "")), *others
