"""DICOM segmentations (SEG) of DICOM pictures.

A segmentation belongs to a patient: it carries the patient's and the study's tags of its source,
which is its purpose. Nothing else that edgeseg writes has them.
"""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError
from ...lazy import require
from ...storage.atomic import write_bytes
from .parsing import guarded, macro, number, parse, whole

LONGEST_TEXT = 64  # characters of DICOM's LO
SCHEME = "99EDGESEG"
NUMBER = 100  # of the series; viewers sort by it
# What a segmentation must repeat, empty where its source lacks it.
REPEATED = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID"),
    *("StudyDate", "StudyTime", "ReferringPhysicianName"),
)
# What a segmentation names its source by.
NAMED = {
    "StudyInstanceUID": "which study it is of",
    "SeriesInstanceUID": "which series it is of",
    "SOPInstanceUID": "which picture it is",
    "SOPClassUID": "what kind of picture it is",
}
UID = re.compile(r"[0-9.]{1,64}")
GROUPS = "PerFrameFunctionalGroupsSequence"  # where each frame of a file lies
MOST_SKEW = 1e-2  # of two directions of length 1 at right angles
SEXES = ("M", "F", "O", "")


@dataclass(frozen=True)
class Origin:
    """What made the masks.

    Attributes:
        classes: Names, background first.
        model: Name of the network, which is the algorithm's.
        bundle: Name of the bundle.
        identity: Of the bundle, the first characters, which are the algorithm's version.
        version: Of edgeseg.
    """

    classes: tuple[str, ...]
    model: str
    bundle: str
    identity: str
    version: str


def read_source(path: Path) -> Any:
    """A DICOM file's tags, as a segmentation of it needs them.

    Raises:
        DataError: The file is damaged, or does not say where in space its pixels lie.
    """
    data = parse(path, pixels=False)
    with guarded(path):
        _require_names(data, path)
        missing = [] if getattr(data, "FrameOfReferenceUID", "") else ["FrameOfReferenceUID"]
        if whole(data, "NumberOfFrames", 1) > 1 and not getattr(data, GROUPS, None):
            missing.append(GROUPS)
        position = macro(data, 0, "PlanePositionSequence")
        if not getattr(position, "ImagePositionPatient", None):
            missing.append("ImagePositionPatient")
        orientation = macro(data, 0, "PlaneOrientationSequence")
        if not getattr(orientation, "ImageOrientationPatient", None):
            missing.append("ImageOrientationPatient")
        if not getattr(macro(data, 0, "PixelMeasuresSequence"), "PixelSpacing", None):
            missing.append("PixelSpacing")
        if missing:
            raise DataError(
                f"{path} has no {missing[0]}: it does not say where in a patient its pixels lie, "
                "and a segmentation in DICOM or NIfTI must. Write its mask with --format png."
            )
        require_geometry(data, 0, path)
        for name in (*REPEATED, "SliceThickness"):
            if name not in data:
                setattr(data, name, "")
        if data.PatientSex not in SEXES:
            data.PatientSex = "O"
        _blank_wrong_dates(data)
    return data


def _require_names(data: Any, path: Path) -> None:
    """Refuse a file that a segmentation could not name.

    Raises:
        DataError: A UID is missing, or is none.
    """
    for name, what in NAMED.items():
        value = str(getattr(data, name, None) or "")
        if not value:
            raise DataError(
                f"{path} has no {name}: it does not say {what}, and a segmentation in DICOM or "
                "NIfTI must. Write its mask with --format png."
            )
        if not UID.fullmatch(value):
            raise DataError(
                f"The {name} of {path} is no UID of digits and dots, and a segmentation repeats "
                "it. Repair the file, or write its mask with --format png."
            )


def require_geometry(data: Any, index: int, path: Path) -> None:
    """Refuse a picture whose place in the patient makes no sense.

    Args:
        index: Of the frame.

    Raises:
        DataError: Positions are no numbers, pixels have no size, or the two directions are not of
            length 1 and at right angles.
    """
    tags = {
        "ImagePositionPatient": ("PlanePositionSequence", 3),
        "ImageOrientationPatient": ("PlaneOrientationSequence", 6),
        "PixelSpacing": ("PixelMeasuresSequence", 2),
    }
    found = {}
    for name, (sequence, count) in tags.items():
        holder = macro(data, index, sequence)
        values = [number(holder, name, place) for place in range(count)]
        found[name] = np.array([np.nan if one is None else one for one in values])
    directions = found["ImageOrientationPatient"].reshape(2, 3)
    makes_sense = {
        "ImagePositionPatient": np.isfinite(found["ImagePositionPatient"]).all(),
        "ImageOrientationPatient": np.abs(directions @ directions.T - np.eye(2)).max() < MOST_SKEW,
        "PixelSpacing": np.isfinite(found["PixelSpacing"]).all() and min(found["PixelSpacing"]) > 0,
    }
    for name, is_right in makes_sense.items():
        if not is_right:
            raise DataError(
                f"The {name} of {path} makes no sense. Repair the file, or write its mask with "
                "--format png."
            )


def _blank_wrong_dates(data: Any) -> None:
    """Empty dates and times that are none, as some programs for anonymising leave them."""
    from pydicom.valuerep import DA, TM

    for name, kind in (("PatientBirthDate", DA), ("StudyDate", DA), ("StudyTime", TM)):
        try:
            kind(str(getattr(data, name)))
        except (ValueError, TypeError):
            setattr(data, name, "")


def series_of(path: Path) -> tuple[Any, ...]:
    """What tells pictures of different segmentations apart.

    Raises:
        DataError: See `read_source`.
    """
    data = read_source(path)
    with guarded(path):
        shape = data.Rows, data.Columns
        return str(data.SeriesInstanceUID), *shape


def write_segmentation(
    path: Path, sources: Sequence[Path], frames: Sequence[NDArray[np.uint8]], origin: Origin
) -> None:
    """Write one segmentation of a series of single pictures, or of one file of many.

    Args:
        frames: Classes of each picture, (H, W), in the order of the sources or their frames.

    Raises:
        DataError: See `read_source`; or the source's tags do not fit together.
        MissingBackendError: highdicom is not installed.
    """
    require("highdicom", purpose="Writing a DICOM segmentation")
    import highdicom.seg
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    data = [read_source(source) for source in sources]
    with guarded(sources[0]), _fitting(sources[0]):
        labels = np.stack(frames)
        made = highdicom.seg.Segmentation(
            source_images=data,
            pixel_array=labels,
            omit_empty_frames=bool(labels.any()),
            segmentation_type="BINARY",
            segment_descriptions=_describe(origin),
            series_instance_uid=generate_uid(),
            series_number=NUMBER,
            sop_instance_uid=generate_uid(),
            instance_number=1,
            manufacturer="EdgeSeg",
            manufacturer_model_name=_text(origin.bundle),
            software_versions=_text(origin.version),
            device_serial_number=_text(origin.identity),
            transfer_syntax_uid=ExplicitVRLittleEndian,
            content_label="SEGMENTATION",
            series_description=_text(f"{origin.model} {origin.identity}"),
        )
        content = io.BytesIO()
        made.save_as(content)
    write_bytes(path, content.getvalue())


@contextlib.contextmanager
def _fitting(source: Path) -> Iterator[None]:
    """What of a source's tags highdicom refuses, without its words, which may quote them.

    Raises:
        DataError: It refused one.
    """
    try:
        yield
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"The tags of {source} lack what a DICOM segmentation takes from them, or contradict "
            f"each other ({type(error).__name__}). Write its mask with --format png."
        ) from None


def _describe(origin: Origin) -> list[Any]:
    """A segment for each class beside the background."""
    import highdicom
    import highdicom.seg
    import highdicom.sr
    from pydicom.sr.codedict import codes

    algorithm = highdicom.AlgorithmIdentificationSequence(
        name=_text(origin.model),
        family=codes.cid7162.ArtificialIntelligence,
        version=_text(origin.identity),
        source="EdgeSeg",
    )
    return [
        highdicom.seg.SegmentDescription(
            segment_number=index,
            segment_label=_text(name),
            segmented_property_category=codes.SCT.SpatialAndRelationalConcept,
            segmented_property_type=highdicom.sr.CodedConcept(
                f"CLASS-{index}", SCHEME, _text(name)
            ),
            algorithm_type="AUTOMATIC",
            algorithm_identification=algorithm,
        )
        for index, name in enumerate(origin.classes)
        if index > 0
    ]


def _text(value: str) -> str:
    """A text that DICOM takes: of one value, and not too long."""
    return value.replace("\\", "/")[:LONGEST_TEXT] or "unnamed"
