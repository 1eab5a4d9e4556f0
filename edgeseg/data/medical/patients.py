"""Which DICOM files are of one patient, and which file is which. It is written nowhere."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from ...errors import DataError
from ...lazy import is_installed
from ...metrics.clusters import PATIENTS, SERIES, STUDIES
from .parsing import DEFLATED, MAGIC, MAGIC_PLACE, guarded

SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
TAGS = {PATIENTS: "PatientID", STUDIES: "StudyInstanceUID", SERIES: "SeriesInstanceUID"}
OWN_TAGS = ("SOPClassUID", "SOPInstanceUID", "Rows")
LAST_TAG = 0x00280010  # of those
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


def shows_picture(file: Path) -> bool:
    """Whether a DICOM file is a picture to look at: no report, no list of files, no segmentation.

    A damaged file counts as one: what is wrong with it is told where it is used.
    """
    tags = _tags_of(file)
    if tags is None or tags[0] == SEGMENTATION:
        return tags is None
    from pydicom.uid import UID

    # Of a picture that is cut short there is the kind, and no number of rows.
    return tags[2] != "" or tags[0] == "" or "Image" in UID(tags[0]).name


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
    if has_header and DEFLATED.encode() in head[:2_000]:
        raise ValueError("deflated as a whole")  # pydicom would unpack it whatever its size
    data = read_partial(
        io.BytesIO(head), stop_when=lambda tag, _, __: tag > LAST_TAG, force=not has_header
    )
    names = (*OWN_TAGS, *TAGS.values())
    kind, *others = (str(getattr(data, name, None) or "").strip() for name in names)
    meta = getattr(data, "file_meta", None)  # of a DICOMDIR, it alone tells the kind
    return kind or str(getattr(meta, "MediaStorageSOPClassUID", "")), *others
