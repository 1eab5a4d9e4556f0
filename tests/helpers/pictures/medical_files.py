"""DICOM and NIfTI files that tests make."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

CT = "1.2.840.10008.5.1.4.1.1.2"
SERIES, STUDY, PLACE = "1.2.3.77.1", "1.2.3.77.2", "1.2.3.77.3"
# Known words of a patient: none of them may be found in what edgeseg writes.
PATIENT = {
    "PatientName": "Zebulon^Quirrelmann",
    "PatientID": "PID-8841-XQ",
    "PatientBirthDate": "19410203",
    "PatientSex": "O",
    "StudyDate": "20190817",
    "StudyTime": "101112",
    "AccessionNumber": "ACC-55-ZZ",
    "ReferringPhysicianName": "Wobblethorpe^Agnes",
    "InstitutionName": "Klinik Nirgendwo",
    "StudyID": "ST-9",
}


def dicom_bytes(values: NDArray[Any], syntax: str | None = None, **tags: Any) -> bytes:
    """A DICOM file of a picture (H, W) or (H, W, 3), or of frames (N, H, W).

    Args:
        values: uint8, uint16 or int16.
        syntax: UID of a transfer syntax in which the file is compressed; None leaves it plain.
        tags: Of the file, by keyword; None leaves one out that would be there.
    """
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = CT
    number = tags.pop("number", 1)
    meta.MediaStorageSOPInstanceUID = f"{SERIES}.{number}"
    data = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    is_color = values.ndim == 3 and values.shape[-1] == 3
    rows, columns = values.shape[:2] if is_color or values.ndim == 2 else values.shape[1:]
    bits = values.dtype.itemsize * 8
    stated: dict[str, Any] = {
        "SOPClassUID": CT,
        "SOPInstanceUID": f"{SERIES}.{number}",
        "StudyInstanceUID": STUDY,
        "SeriesInstanceUID": SERIES,
        "FrameOfReferenceUID": PLACE,
        "Modality": "CT",
        "SeriesNumber": 1,
        "InstanceNumber": number,
        "PositionReferenceIndicator": "",
        "PatientPosition": "HFS",
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "ImagePositionPatient": [-10, -20, 5 * number],
        "PixelSpacing": [0.5, 0.25],
        "SliceThickness": 5,
        "Rows": rows,
        "Columns": columns,
        "SamplesPerPixel": 3 if is_color else 1,
        "PhotometricInterpretation": "RGB" if is_color else "MONOCHROME2",
        "BitsAllocated": bits,
        "BitsStored": bits,
        "PixelRepresentation": int(values.dtype.kind == "i"),
        **({"PlanarConfiguration": 0} if is_color else {}),
        **({} if is_color or values.ndim == 2 else {"NumberOfFrames": len(values)}),
        **PATIENT,
        **tags,
    }
    for name, value in stated.items():
        if value is not None:
            setattr(data, name, value)
    data.HighBit = data.BitsStored - 1
    data.PixelData = values.tobytes()
    if syntax is not None:
        data.compress(syntax, values, generate_instance_uid=False)
    stream = io.BytesIO()
    data.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def with_frame(content: bytes, syntax: str, frame: bytes) -> bytes:
    """A DICOM file with a compressed frame instead of its pixels, whatever that is."""
    from pydicom import dcmread
    from pydicom.encaps import encapsulate

    data = dcmread(io.BytesIO(content))
    data.file_meta.TransferSyntaxUID = syntax
    data.PixelData = encapsulate([frame])
    data["PixelData"].VR = "OB"
    stream = io.BytesIO()
    data.save_as(stream)
    return stream.getvalue()


def write_dicom(path: Path, values: NDArray[Any], syntax: str | None = None, **tags: Any) -> Path:
    """See `dicom_bytes`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(dicom_bytes(values, syntax, **tags))
    return path


def write_nifti(path: Path, values: NDArray[Any], affine: NDArray[Any] | None = None) -> Path:
    """A NIfTI file of a volume (X, Y, Z)."""
    import nibabel

    image = nibabel.Nifti1Image(values, np.eye(4) if affine is None else affine)
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(image, path)
    return path


def with_groups(path: Path, positions: Sequence[Sequence[float]]) -> Any:
    """Give a written file of many frames functional groups, which say where each frame lies."""
    from pydicom import dcmread
    from pydicom.dataset import Dataset

    def group(**entries: dict[str, Any]) -> Any:
        holder = Dataset()
        for name, values in entries.items():
            inner = Dataset()
            for key, value in values.items():
                setattr(inner, key, value)
            setattr(holder, name, [inner])
        return holder

    data = dcmread(path)
    data.SharedFunctionalGroupsSequence = [
        group(
            PixelMeasuresSequence={"PixelSpacing": [0.5, 0.25], "SliceThickness": 5},
            PlaneOrientationSequence={"ImageOrientationPatient": [1, 0, 0, 0, 1, 0]},
        )
    ]
    data.PerFrameFunctionalGroupsSequence = [
        group(PlanePositionSequence={"ImagePositionPatient": list(position)})
        for position in positions
    ]
    data.save_as(path)
    return data
