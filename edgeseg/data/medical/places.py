"""Where DICOM pictures lie, and whether those of a series are one volume.

A message names files, positions and sizes. It never quotes what tells a patient: no number, no
date, no UID.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError
from .frames import frame_path
from .parsing import guarded, macro, number, whole
from .segmentations import read_source, require_geometry

Vector = NDArray[np.float64]
MOST_TILT = 1e-3  # of a direction's length
MOST_STRETCH = 1e-3  # of a pixel's size
SAME_PLACE = 1e-4  # mm
# What pictures of one volume share, and what to call it.
SHARED = {
    "PatientID": "patients",
    "StudyInstanceUID": "studies",
    "SeriesInstanceUID": "series",
    "FrameOfReferenceUID": "frames of reference",
}
ALONE = "Or write masks with --format png."
APART = "Predict each by itself, or write masks with --format png."


@dataclass(frozen=True)
class Place:
    """Attributes:
    picture: Its name.
    file: That holds it.
    owners: Values of `SHARED`, empty where they are not told. They are written nowhere.
    instance: UID of the file. It is written nowhere.
    origin: (3,), of the first pixel: millimetres to the left, back and head.
    directions: (6,), of columns along a row, and of rows.
    spacing: Millimetres from row to row and from column to column.
    thickness: Of the slice, in millimetres; 0 where it is not told.
    """

    picture: Path
    file: Path
    owners: tuple[str, ...]
    instance: str
    origin: Vector
    directions: Vector
    spacing: tuple[float, float]
    thickness: float


def places_of(sources: Sequence[Path]) -> list[Place]:
    """Where each picture of some files lies.

    Raises:
        DataError: A file is damaged, or does not tell it.
    """
    places = []
    for source in sources:
        data = read_source(source)
        with guarded(source):
            owners = tuple(str(getattr(data, name, None) or "").strip() for name in SHARED)
            count = whole(data, "NumberOfFrames", 1)
            for index in range(count):
                require_geometry(data, index, source)
                measures = macro(data, index, "PixelMeasuresSequence")
                rows, columns = (number(measures, "PixelSpacing", place) or 0 for place in (0, 1))
                places.append(
                    Place(
                        source if count == 1 else frame_path(source, index),
                        source,
                        owners,
                        str(data.SOPInstanceUID),
                        _numbers(data, index, "Position", 3),
                        _numbers(data, index, "Orientation", 6),
                        (rows, columns),
                        number(measures, "SliceThickness") or 0,
                    )
                )
    return places


def _numbers(data: Any, index: int, what: str, count: int) -> Vector:
    holder = macro(data, index, f"Plane{what}Sequence")
    found = [number(holder, f"Image{what}Patient", place) for place in range(count)]
    if any(value is None for value in found):
        raise ValueError(what)
    return np.array(found, np.float64)


def require_one_volume(places: Sequence[Place]) -> None:
    """Refuse pictures that are none of one volume; whether they lie apart is not looked at.

    Raises:
        DataError: They are of several patients, studies, series or frames of reference, a file is
            there twice, or they have several directions or scales.
    """
    first = places[0]
    files: dict[str, Path] = {}
    for place in places:
        _require_one_owner(first, place)
        known = files.setdefault(place.instance, place.file)
        if known != place.file:
            raise DataError(
                f"{place.file} and {known} have one SOPInstanceUID: one is a copy of the other, "
                "and a volume has each slice once. Take one of them out."
            )
        if np.abs(place.directions - first.directions).max() > MOST_TILT:
            raise DataError(
                f"The pictures of one series lie in several directions: ImageOrientationPatient of "
                f"{first.picture} is {_text(first.directions)}, that of {place.picture} "
                f"{_text(place.directions)}. The slices of a volume are parallel. {APART}"
            )
        stretch = np.abs(np.subtract(place.spacing, first.spacing))
        if (stretch > MOST_STRETCH * max(first.spacing)).any():
            raise DataError(
                f"The pictures of one series lie at several scales: a pixel of {first.picture} is "
                f"{_size(first)}, one of {place.picture} {_size(place)} (rows and columns). The "
                f"slices of a volume share one scale. {APART}"
            )


def _require_one_owner(first: Place, place: Place) -> None:
    for what, own, other in zip(SHARED.values(), first.owners, place.owners, strict=True):
        if own and other and own != other:
            raise DataError(
                f"{first.picture} and {place.picture} are taken for slices of one volume, and are "
                f"of two {what}. Take out what does not belong there. Else: {APART}"
            )


def order_of(places: Sequence[Place]) -> list[int]:
    """Places of the pictures in the order of slices, along the normal of the first."""
    normal = np.cross(*np.reshape(places[0].directions, (2, 3)))
    heights = np.array([place.origin for place in places]) @ normal
    return list(map(int, np.argsort(heights, kind="stable")))


def require_apart(places: Sequence[Place]) -> None:
    """Refuse two pictures at one place.

    Raises:
        DataError: There are two.
    """
    ordered = [places[index] for index in order_of(places)]
    for place, following in itertools.pairwise(ordered):
        if np.abs(following.origin - place.origin).max() < SAME_PLACE:
            raise DataError(
                f"{place.picture} and {following.picture} lie at one place "
                f"(ImagePositionPatient {_text(place.origin)}), and a volume has one slice at "
                f"each. Take one out, such as that of another time or contrast. {ALONE}"
            )


def _text(values: Vector) -> str:
    return "\\".join(f"{value:.6g}" for value in values)


def _size(place: Place) -> str:
    return "x".join(f"{value:.6g}" for value in place.spacing) + " mm"
