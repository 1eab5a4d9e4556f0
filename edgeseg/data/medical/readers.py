"""The kinds of medical files that are read, told by their content, and what they have in common.

A picture of such a file is named as `edgeseg.data.medical.frames` has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ...contract import AXIAL, InputContract
from ...errors import DataError
from . import dicom, nifti
from .frames import frame_path, split_frame
from .patients import IS_DEFLATED, NO_PICTURE, left_out_as
from .windows import Window, require_window

SUFFIXES = (*nifti.NiftiFile.suffixes, *dicom.DicomFile.suffixes)
HEAD_BYTES = 4_096
SHOWN_NAMES = 3  # of files that are left out
# Why DICOM files are left out, of one and of several.
LEFT_OUT = {
    NO_PICTURE: (
        "is no picture, but a report, a list, a segmentation or a file without pixels, and left "
        "out",
        "are no pictures, but reports, lists, segmentations or files without pixels, and left out",
    ),
    IS_DEFLATED: (
        "is deflated as a whole, which is not read, and left out (gdcmconv --raw converts it)",
        "are deflated as a whole, which is not read, and left out (gdcmconv --raw converts them)",
    ),
}


class MedicalFile(Protocol):
    """An open file of one or many pictures. Each method raises DataError where it is damaged."""

    kind: str  # "dicom" or "nifti"
    title: str  # what its pictures are called
    path: Path

    def count(self, axis: int) -> int:
        """Number of pictures."""

    def shape(self, axis: int) -> tuple[int, int]:
        """Rows and columns of a picture."""

    def spacing(self, index: int, axis: int) -> tuple[float, float] | None:
        """Millimetres from row to row and from column to column; None where not told."""

    def values(self, index: int, axis: int) -> NDArray[Any]:
        """What a mask holds, (H, W)."""

    def picture(
        self, index: int, axis: int, window: Window | str | None, white: int | None
    ) -> NDArray[Any]:
        """(H, W) or (H, W, 3), uint8 or uint16."""


READERS: tuple[type[nifti.NiftiFile] | type[dicom.DicomFile], ...] = (
    nifti.NiftiFile,
    dicom.DicomFile,
)


def reader_of(file: Path) -> type[nifti.NiftiFile] | type[dicom.DicomFile] | None:
    """What reads a file, by its content; None where it is no medical file, or is not there."""
    try:
        state = file.stat()
        return _reader(file, state.st_mtime_ns, state.st_size) if file.is_file() else None
    except (OSError, ValueError):  # a name that no file can have
        return None


@lru_cache(maxsize=10_000)
def _reader(
    file: Path, _changed_ns: int, _size: int
) -> type[nifti.NiftiFile] | type[dicom.DicomFile] | None:
    with file.open("rb") as raw:
        head = raw.read(HEAD_BYTES)
    told = [reader for reader in READERS if reader.matches(head)]
    name = file.name.lower()
    if not told and name.endswith(".img") and reader_of(file.with_suffix(".hdr")) is not None:
        return nifti.NiftiFile  # which tells what to do with a pair
    return next(iter([*told, *(one for one in READERS if name.endswith(one.suffixes))]), None)


def open_medical(path: Path) -> MedicalFile | None:
    """The file that holds a picture, open; None where it is no medical file.

    Raises:
        DataError: It is damaged.
        MissingBackendError: What reads it is not installed.
    """
    file = split_frame(path)[0]
    reader = reader_of(file)
    return None if reader is None else reader(file)


def is_shown(file: Path) -> bool:
    """Whether an image file is to be looked at: a DICOM file may be a report or a segmentation."""
    return reader_of(file) is not dicom.DicomFile or left_out_as(file) is None


def describe_left_out(folder: Path, files: Sequence[Path]) -> list[str]:
    """What to tell of DICOM files of a folder that are left out, by the reason; no full stops."""
    texts = []
    for reason, (one, several) in LEFT_OUT.items():
        names = [file.name for file in files if left_out_as(file) == reason]
        if names:
            what = f"file in {folder} {one}" if len(names) == 1 else f"files in {folder} {several}"
            more = ", ..." if len(names) > SHOWN_NAMES else ""
            texts.append(f"{len(names)} DICOM {what}: {', '.join(names[:SHOWN_NAMES])}{more}")
    return texts


def require_same_place(image: Path, mask: Path) -> None:
    """Refuse a NIfTI mask that does not lie where its image, of NIfTI and the same shape, does.

    Raises:
        DataError: It does not, or a file is damaged.
    """
    if {reader_of(image), reader_of(mask)} == {nifti.NiftiFile}:
        nifti.require_same_place(image, mask)


def describe_orientations(files: Sequence[Path]) -> list[str]:
    """What to tell of NIfTI volumes that leave open where they lie; no full stops.

    Args:
        files: Also names of their slices.
    """
    whole = dict.fromkeys(split_frame(file)[0] for file in files)
    return nifti.describe_orientations(
        [file for file in whole if reader_of(file) is nifti.NiftiFile]
    )


def list_frames(file: Path, axis: int = AXIAL) -> list[Path]:
    """Names of all pictures in a file: its own where it holds one.

    Args:
        axis: Along which volumes are cut.

    Raises:
        DataError: A medical file that is damaged.
    """
    opened = open_medical(file)
    if opened is None or split_frame(file)[1] is not None:
        return [file]
    count = opened.count(axis)
    if count == opened.count(AXIAL) == 1:
        return [file]
    return [frame_path(file, index, axis) for index in range(count)]


def mask_frames(mask: Path, count: int, axis: int) -> list[Path]:
    """Names of the masks in a file that is the mask of one of `count` pictures.

    A segmentation does not tell of pictures behind the last in which something was found.

    Raises:
        DataError: A medical file that is damaged.
    """
    if getattr(open_medical(mask), "is_segmentation", False):
        return [frame_path(mask, index, axis) for index in range(count)]
    return list_frames(mask, axis)


def chosen_frame(path: Path, opened: MedicalFile) -> tuple[int, int]:
    """Index and axis of the picture that a path names.

    Raises:
        DataError: The file holds several, and none is named.
    """
    _, index, axis = split_frame(path)
    if index is not None:
        return index, axis
    count = opened.count(axis)
    if count > 1:
        raise DataError(
            f"{path} holds {count} {opened.title}, and one is read here. Name it, such as "
            f"{frame_path(path, 0).name} for the first; edgeseg predict takes all."
        )
    return 0, axis


def medical_picture(path: Path, inputs: int | InputContract) -> NDArray[Any] | None:
    """A picture of a medical file, (H, W) or (H, W, 3), uint8 or uint16; None of other files.

    Args:
        inputs: Of the network, whose window and white are applied; a number of channels has none.

    Raises:
        DataError: The file is damaged, or no window makes a picture of it.
    """
    opened = open_medical(path)
    if opened is None:
        return None
    window, white = None, None
    if isinstance(inputs, InputContract):
        white = inputs.white
        try:
            window = require_window(inputs.window)
        except ValueError as error:
            raise DataError(
                f"The network's window cannot be applied to {path}: {error} Correct its spec."
            ) from error
    return opened.picture(*chosen_frame(path, opened), window, white)


def medical_values(path: Path) -> NDArray[np.unsignedinteger[Any]] | None:
    """Values of a mask in a medical file, (H, W), unsigned; None of other files.

    Raises:
        DataError: The file is damaged, or its values are no classes.
    """
    opened = open_medical(path)
    if opened is None:
        return None
    values = opened.values(*chosen_frame(path, opened))
    if values.min() < 0 or values.max() > np.iinfo(np.uint16).max:
        raise DataError(
            f"The mask {path} holds values from {values.min()} to {values.max()}. Save one value "
            "a class, from 0 on."
        )
    return values.astype(np.uint16 if values.max() > 255 else np.uint8)


def medical_shape(path: Path) -> tuple[int, int] | None:
    """Rows and columns of a picture of a medical file; None of other files.

    Raises:
        DataError: The file is damaged.
    """
    opened = open_medical(path)
    return None if opened is None else opened.shape(split_frame(path)[2])


def spacing_of(path: Path) -> tuple[float, float] | None:
    """Millimetres between rows and between columns of a picture; None where they are not known.

    Raises:
        DataError: The file is damaged.
    """
    opened = open_medical(path)
    return None if opened is None else opened.spacing(*chosen_frame(path, opened))


def is_medical(path: Path) -> bool:
    """Whether a picture comes from a medical file."""
    return reader_of(split_frame(path)[0]) is not None
