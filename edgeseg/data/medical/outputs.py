"""Which mask files belong to which pictures, and in which format they are written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...contract import AXIAL
from ...errors import DataError, UsageError
from ..gallery import write_mask
from ..layout import without_suffix
from . import nifti
from .frames import split_frame
from .places import places_of, require_apart, require_one_volume
from .readers import list_frames, reader_of, spacing_of
from .segmentations import Origin, series_of, write_segmentation
from .series import grid_of, write_series_labels

PNG, NIFTI, DICOM_SEG = FORMATS = ("png", "nifti", "dicom-seg")
# By the kind of a file, its own first.
FORMATS_OF = {"nifti": (NIFTI, PNG), "dicom": (DICOM_SEG, NIFTI, PNG)}


@dataclass(frozen=True)
class MaskFile:
    """A file that will hold the masks of some pictures.

    Attributes:
        name: Of the file.
        format: Of `FORMATS`.
        sources: Files of the pictures.
        frames: Names of the pictures, in order.
        axis: Along which a volume is cut.
    """

    name: str
    format: str
    sources: tuple[Path, ...]
    frames: tuple[Path, ...]
    axis: int = AXIAL

    @property
    def is_series(self) -> bool:
        """Whether it is a mask of a whole DICOM series."""
        reader = reader_of(self.sources[0])
        return self.format != PNG and reader is not None and reader.kind == "dicom"

    def write(self, folder: Path, labels: Sequence[NDArray[np.uint8]], origin: Origin) -> None:
        """Write it.

        Args:
            labels: Classes of each picture, (H, W).

        Raises:
            DataError: The source was changed meanwhile, or its tags do not fit together.
        """
        path = folder / self.name
        if self.format == DICOM_SEG:
            write_segmentation(path, self.sources, labels, origin)
        elif self.format == NIFTI and self.is_series:
            write_series_labels(path, self.sources, labels)
        elif self.format == NIFTI:
            nifti.NiftiFile(self.sources[0]).write_labels(path, list(labels), self.axis)
        else:
            write_mask(path, labels[0], len(origin.classes))


def plan_masks(paths: Sequence[Path], format_name: str | None, axis: int) -> list[MaskFile]:
    """The mask files of some pictures; single DICOM pictures of one series share a file.

    Args:
        paths: Files, or pictures in them.
        format_name: Of `FORMATS`; None takes that of each picture.
        axis: Along which volumes are cut.

    Raises:
        UsageError: There is no such format.
        DataError: A file is damaged, its kind cannot have a mask of that format, or pictures of
            one series are no volume.
    """
    if format_name not in (None, *FORMATS):
        raise UsageError(f"--format {format_name} is none of {', '.join(FORMATS)}. Choose one.")
    plans: list[MaskFile] = []
    series: dict[tuple[object, ...], int] = {}
    for path in paths:
        for plan in _plans_of(path, format_name, axis):
            key = series_of(path) if plan.is_series else None
            if key is None or len(plan.frames) > 1:
                plans.append(plan)
            elif key in series:
                known = plans[series[key]]
                plans[series[key]] = replace(
                    known, sources=(*known.sources, path), frames=(*known.frames, path)
                )
            else:
                series[key] = len(plans)
                plans.append(plan)
    for plan in plans:  # before anything is computed
        if plan.format == NIFTI and plan.is_series:
            grid_of(plan.sources)
        elif plan.format == DICOM_SEG and len(plan.frames) > 1:
            places = places_of(plan.sources)
            require_one_volume(places)
            require_apart(places)
    return plans


def _plans_of(path: Path, format_name: str | None, axis: int) -> list[MaskFile]:
    file, index, _ = split_frame(path)
    reader = reader_of(file)
    able = (PNG,) if reader is None or index is not None else FORMATS_OF[reader.kind]
    chosen = format_name or able[0]
    if chosen not in able:
        kind = {NIFTI: "NIfTI volume or DICOM file", DICOM_SEG: "DICOM file"}[chosen]
        raise DataError(
            f"{path} is no whole {kind}, which a mask of --format {chosen} needs: it takes its "
            "place in space from there. Use --format png."
        )
    stem = path.stem if reader is None else without_suffix(file.name)
    frames = list_frames(path, axis)
    if chosen == PNG:
        several = len(frames) > 1 or index is not None
        return [
            MaskFile(
                f"{stem}-{split_frame(one)[1]:04d}.png" if several else f"{stem}.png",
                PNG,
                (file,),
                (one,),
                axis,
            )
            for one in frames
        ]
    ending = ".dcm"
    if chosen == NIFTI:
        lower = file.name.lower()
        ending = next((one for one in nifti.SUFFIXES if lower.endswith(one)), ".nii.gz")
    return [MaskFile(stem + ending, chosen, (file,), tuple(frames), axis)]


def areas_of(
    picture: Path, labels: NDArray[np.uint8], classes: Sequence[str]
) -> Mapping[str, float] | None:
    """Square millimetres of each class beside the background; None where nothing tells the size.

    Raises:
        DataError: The picture's file was damaged meanwhile.
    """
    spacing = spacing_of(picture)
    if spacing is None:
        return None
    counts = np.bincount(labels.ravel(), minlength=len(classes))
    pixel = spacing[0] * spacing[1]
    return {name: float(counts[index] * pixel) for index, name in enumerate(classes) if index}
