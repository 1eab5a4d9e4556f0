"""DICOM series as NIfTI volumes: where in space their pictures lie, and labels that lie there.

DICOM counts to the patient's left, back and head, NIfTI to the right, front and head.
"""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError
from ...lazy import require
from ...storage.atomic import write_bytes
from .places import (
    MOST_TILT,
    Place,
    Vector,
    order_of,
    places_of,
    require_apart,
    require_one_volume,
)

MOST_SHIFT = 0.01  # of the distance between slices
PNG_ADVICE = "Write masks with --format png or dicom-seg."
SCANNER = 1  # NIfTI's code for coordinates of the scanner


@dataclass(frozen=True)
class Grid:
    """Attributes:
    affine: (4, 4), from (column, row, slice) to millimetres to the right, front and head.
    order: Places of the pictures in the order of slices.
    """

    affine: NDArray[np.float64]
    order: tuple[int, ...]


def grid_of(sources: Sequence[Path]) -> Grid:
    """The grid that pictures of a series, or the frames of one file, lie on.

    Raises:
        DataError: They do not lie on one, or do not say where they lie.
    """
    places = places_of(sources)
    require_one_volume(places)
    to_columns, to_rows = np.reshape(places[0].directions, (2, 3))
    normal = np.cross(to_columns, to_rows)
    spacing = places[0].spacing
    order = order_of(places)
    ordered = [places[index] for index in order]
    require_apart(places)
    step = normal * (next((place.thickness for place in places[::-1] if place.thickness), 1.0))
    if len(places) > 1:
        step = _step(ordered, normal)
    affine = np.eye(4)
    affine[:3, 0] = to_columns * spacing[1]
    affine[:3, 1] = to_rows * spacing[0]
    affine[:3, 2], affine[:3, 3] = step, ordered[0].origin
    return Grid(np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine, tuple(order))


def _step(places: Sequence[Place], normal: Vector) -> Vector:
    """From slice to slice, (3,).

    Args:
        places: In the order of slices.

    Raises:
        DataError: They have several distances.
    """
    origins = np.array([place.origin for place in places])
    steps = len(places) - 1
    step: Vector = (origins[-1] - origins[0]) / steps
    expected = origins[0] + np.arange(steps + 1)[:, None] * step
    reach = max(float(step @ normal), 0.0)
    if reach == 0 or np.abs(origins - expected).max() > MOST_SHIFT * reach:
        distances = np.diff(origins @ normal)
        told = " and ".join(
            f"{distances[index]:.6g} mm from {places[index].picture} to "
            f"{places[index + 1].picture.name}"
            for index in sorted({int(distances.argmin()), int(distances.argmax())})
        )
        raise DataError(
            f"The slices of one series have several distances, such as {told} (one is missing, or "
            f"there are several series), or are shifted: NIfTI cannot tell so. {PNG_ADVICE}"
        )
    return step


def write_series_labels(
    path: Path, sources: Sequence[Path], frames: Sequence[NDArray[np.uint8]]
) -> None:
    """Write labels of a series as one NIfTI volume, which lies where the series does.

    Args:
        path: Ends in .nii.gz.
        frames: Classes of each picture, (H, W), in the order of the sources or their frames.

    Raises:
        DataError: See `grid_of`.
        MissingBackendError: nibabel is not installed.
    """
    nibabel = require("nibabel", purpose="Writing a NIfTI volume")
    grid = grid_of(sources)
    volume = np.stack([frames[place].T for place in grid.order], 2)
    image = nibabel.Nifti1Image(np.ascontiguousarray(volume), grid.affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(grid.affine, SCANNER)
    axes = grid.affine[:3, :3] / np.linalg.norm(grid.affine[:3, :3], axis=0)
    if np.abs(axes.T @ axes - np.eye(3)).max() < MOST_TILT:  # qform knows no tilted gantries
        image.set_qform(grid.affine, SCANNER)
    write_bytes(path, gzip.compress(image.to_bytes(), 6, mtime=0))
