"""DICOM series as NIfTI volumes: where in space their pictures lie, and labels that lie there.

DICOM counts to the patient's left, back and head, NIfTI to the right, front and head.
"""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError
from ...lazy import require
from ...storage.atomic import write_bytes
from .parsing import guarded, macro, number, whole
from .segmentations import read_source

Vector = NDArray[np.float64]
MOST_TILT = 1e-3  # of a direction's length
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
    origins, directions, spacings = [], [], []
    thickness = 0.0
    for source in sources:
        data = read_source(source)
        with guarded(source):
            for index in range(whole(data, "NumberOfFrames", 1)):
                origins.append(_numbers(data, index, "Position", "ImagePosition", 3))
                directions.append(_numbers(data, index, "Orientation", "ImageOrientation", 6))
                measures = macro(data, index, "PixelMeasuresSequence")
                spacings.append([number(measures, "PixelSpacing", place) or 0 for place in (0, 1)])
                thickness = number(measures, "SliceThickness") or thickness
    name = sources[0]
    for values, what in ((directions, "in several directions"), (spacings, "at several scales")):
        if np.abs(np.array(values) - values[0]).max() > MOST_TILT:
            raise DataError(
                f"The pictures of the series of {name} lie {what}, and one NIfTI volume cannot. "
                f"{PNG_ADVICE}"
            )
    to_columns, to_rows = np.reshape(directions[0], (2, 3))
    return _grid(np.array(origins), (to_columns, to_rows), spacings[0], thickness, name)


def _grid(
    origins: Vector,
    directions: tuple[Vector, Vector],
    spacing: list[float],
    thickness: float,
    name: Path,
) -> Grid:
    to_columns, to_rows = directions
    normal = np.cross(to_columns, to_rows)
    if min(spacing) <= 0 or not np.isfinite(origins).all() or np.linalg.norm(normal) < 0.5:
        raise DataError(
            f"The orientation or spacing of {name} makes no sense. Repair the file, or write its "
            "mask with --format png."
        )
    order = np.argsort(origins @ normal, kind="stable")
    sorted_origins = origins[order]
    steps = len(origins) - 1
    step = normal * (thickness or 1.0)
    if steps:
        step = (sorted_origins[-1] - sorted_origins[0]) / steps
        expected = sorted_origins[0] + np.arange(steps + 1)[:, None] * step
        reach = max(float(step @ normal), 0.0)
        if reach == 0 or np.abs(sorted_origins - expected).max() > MOST_SHIFT * reach:
            raise DataError(
                f"The slices of the series of {name} have several distances or share places (one "
                f"is missing, or there are several series): NIfTI cannot tell so. {PNG_ADVICE}"
            )
    affine = np.eye(4)
    affine[:3, 0] = to_columns * spacing[1]
    affine[:3, 1] = to_rows * spacing[0]
    affine[:3, 2], affine[:3, 3] = step, sorted_origins[0]
    return Grid(np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine, tuple(order.tolist()))


def _numbers(data: Any, index: int, group: str, name: str, count: int) -> list[float]:
    holder = macro(data, index, f"Plane{group}Sequence")
    found = [number(holder, f"{name}Patient", place) for place in range(count)]
    if any(value is None for value in found):
        raise ValueError(name)
    return [value for value in found if value is not None]


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
