"""DICOM segmentations as masks: which of their frames show which pictures of a series."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError
from .frames import frame_path
from .parsing import guarded, macro, number, parse, whole
from .patients import SEGMENTATION, instance_of

BINARY = "BINARY"


@dataclass(frozen=True)
class SegmentedSlices:
    """The pictures that a segmentation is of.

    Attributes:
        instances: UIDs of the files, in the order in which the segmentation names them.
        frames: Of each frame of the segmentation the place of its picture, and the segment. A file
            of many pictures has places by its frames.
        is_of_frames: Whether it is of one file of many pictures. How many these are is not told.
    """

    instances: tuple[str, ...]
    frames: tuple[tuple[int, int], ...]
    is_of_frames: bool

    @property
    def count(self) -> int:
        """Pictures; of a file of many those up to the last that shows something."""
        if not self.is_of_frames:
            return max(len(self.instances), 1)
        return max((place for place, _ in self.frames), default=0) + 1

    def labels(
        self, place: int, size: tuple[int, int], read: Callable[[int], NDArray[Any]], path: Path
    ) -> NDArray[np.uint16]:
        """Number of the segment of each pixel of a picture, (H, W); 0 where there is none.

        Args:
            size: Rows and columns.
            read: Gives a frame's pixels.

        Raises:
            DataError: Segments share pixels, which a mask cannot tell.
        """
        labels = np.zeros(size, np.uint16)
        for index, (shown, segment) in enumerate(self.frames):
            if shown == place:
                is_own = read(index) > 0
                if (labels[is_own] > 0).any():
                    raise DataError(
                        f"Segments of {path} share pixels, and a mask has one class a pixel. Save "
                        "it without overlaps, or as a PNG for each slice."
                    )
                labels[is_own] = segment
        return labels


def masks_of_instances(images: Mapping[str, Path], masks: Sequence[Path]) -> dict[str, list[Path]]:
    """Masks of DICOM pictures that segmentations name, by the pictures' names.

    Args:
        images: DICOM files by name.
        masks: DICOM files; others than segmentations are passed over.

    Raises:
        DataError: A segmentation is damaged; see `segmented_slices`.
    """
    found: dict[str, list[Path]] = {}
    for mask in masks:
        if instance_of(mask)[0] != SEGMENTATION:
            continue
        with guarded(mask):
            state = mask.stat()
            slices = slices_of_file(mask, state.st_mtime_ns, state.st_size)
        for place, uid in enumerate(slices.instances):
            own = mask if slices.is_of_frames or slices.count == 1 else frame_path(mask, place)
            found.setdefault(uid, []).append(own)
    if not found:
        return {}
    uids = {name: instance_of(image)[1] for name, image in images.items()}
    return {name: found[uid] for name, uid in uids.items() if uid in found}


@lru_cache(maxsize=1_000)
def slices_of_file(path: Path, _changed_ns: int, _size: int) -> SegmentedSlices:
    """See `segmented_slices`; once for all pictures of a series.

    Raises:
        DataError: See `segmented_slices`.
    """
    data = parse(path, pixels=False)
    return segmented_slices(data, whole(data, "NumberOfFrames", 1), path)


def segmented_slices(data: Any, frame_count: int, path: Path) -> SegmentedSlices:
    """What a segmentation says of its pictures.

    Args:
        data: Of the file; its pixels are not looked at.

    Raises:
        DataError: It holds shares of pixels, or does not tell which pictures its frames show.
    """
    if str(data.SegmentationType) != BINARY:
        raise DataError(
            f"The segmentation {path} holds shares of pixels. As a mask, save it as a binary one, "
            "as NIfTI or as PNG."
        )
    sources = [_source_of(data, index) for index in range(frame_count)]
    segments = [
        whole(macro(data, index, "SegmentIdentificationSequence"), "ReferencedSegmentNumber")
        for index in range(frame_count)
    ]
    named = _named_instances(data)
    instances = tuple(dict.fromkeys((*named, *(uid for uid, _ in sources if uid))))
    if any(not uid for uid, _ in sources):
        return _of_one_picture(data, segments, instances, path)
    is_of_frames = len(instances) == 1 and any(frame for _, frame in sources)
    places = [
        (max(frame, 1) - 1) if is_of_frames else instances.index(uid) for uid, frame in sources
    ]
    return SegmentedSlices(instances, tuple(zip(places, segments, strict=True)), is_of_frames)


def _of_one_picture(
    data: Any, segments: Sequence[int], instances: tuple[str, ...], path: Path
) -> SegmentedSlices:
    """Where frames do not name their pictures: all lie in one place, or it is refused."""
    positions = {
        str(getattr(macro(data, index, "PlanePositionSequence"), "ImagePositionPatient", ""))
        for index in range(len(segments))
    }
    if len(positions) > 1:
        raise DataError(
            f"The segmentation {path} holds several slices and does not tell which picture each "
            "shows. As a mask, save it as NIfTI or as a PNG for each slice."
        )
    return SegmentedSlices(instances[:1], tuple((0, segment) for segment in segments), False)


def _source_of(data: Any, index: int) -> tuple[str, int]:
    """UID of the file that a frame shows, and the number of its frame there; 0 for the file."""
    derivation = macro(data, index, "DerivationImageSequence")
    # The file itself, where no frame tells: its sources are those of all frames.
    sources = None if derivation is data else getattr(derivation, "SourceImageSequence", None)
    if not sources:
        return "", 0
    frame = number(sources[0], "ReferencedFrameNumber") or 0
    return str(getattr(sources[0], "ReferencedSOPInstanceUID", "")), int(frame)


def _named_instances(data: Any) -> list[str]:
    """UIDs of all files that it is of, those too in which nothing was found."""
    return [
        str(getattr(instance, "ReferencedSOPInstanceUID", ""))
        for series in getattr(data, "ReferencedSeriesSequence", None) or ()
        for instance in getattr(series, "ReferencedInstanceSequence", None) or ()
    ]
