"""Pictures that are no volume are refused, whatever a mask of them is written as."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from medical_files import PATIENT, PLACE, SERIES, STUDY, with_groups, write_dicom
from support import needs

from edgeseg.data.medical.outputs import plan_masks
from edgeseg.data.medical.places import places_of, require_one_volume
from edgeseg.errors import DataError

pytestmark = needs("pydicom", "highdicom", "nibabel")
EMPTY = np.zeros((5, 7), np.uint8)
TURNED = [0, 1, 0, 0, 0, -1]
PRIVATE = (*PATIENT.values(), SERIES, STUDY, PLACE, "PID-OTHER", "1.2.3.99")
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "scales": (
        {"PixelSpacing": [0.5, 0.75]},
        r"several scales: a pixel of .*a\.dcm is 0\.5x0\.25 mm, one of .*b\.dcm 0\.5x0\.75 mm .*"
        r"Predict each by itself, or write masks with --format png",
    ),
    "directions": (
        {"ImageOrientationPatient": TURNED},
        r"several directions: ImageOrientationPatient of .*a\.dcm is 1\\0\\0\\0\\1\\0, that of "
        r".*b\.dcm 0\\1\\0\\0\\0\\-1\. .*Predict each by itself, or .*--format png",
    ),
    "patients": (
        {"PatientID": "PID-OTHER"},
        r"a\.dcm and .*b\.dcm are taken for slices of one volume, and are of two patients\. Take "
        r"out what does not belong there\. Else: .*--format png",
    ),
    "studies": ({"StudyInstanceUID": "1.2.3.99"}, r"a\.dcm and .*b\.dcm .* of two studies\. Take"),
    "places": (
        {"FrameOfReferenceUID": "1.2.3.99"},
        r"a\.dcm and .*b\.dcm .* of two frames of reference\. Take",
    ),
    "copies": (
        {"SOPInstanceUID": f"{SERIES}.1"},
        r"b\.dcm and .*a\.dcm have one SOPInstanceUID: one is a copy .*Take one of them out",
    ),
}


@pytest.mark.parametrize("format_name", ["nifti", "dicom-seg"])
@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_volume_is_refused(tmp_path: Path, name: str, format_name: str) -> None:
    tags, message = REFUSED[name]
    paths = [
        write_dicom(tmp_path / "a.dcm", EMPTY),
        write_dicom(tmp_path / "b.dcm", EMPTY, number=2, **tags),
    ]
    with pytest.raises(DataError, match=message) as caught:
        plan_masks(paths, format_name, 2)
    assert not any(len(word) > 3 and word in str(caught.value) for word in PRIVATE)
    assert len(plan_masks(paths, "png", 2)) == 2


def test_two_series_give_a_volume_each_and_are_none_together(tmp_path: Path) -> None:
    first = [
        write_dicom(tmp_path / f"a{number}.dcm", EMPTY, number=number) for number in range(1, 4)
    ]
    other = write_dicom(
        *(tmp_path / "b.dcm", EMPTY), number=9, SeriesInstanceUID="1.2.3.99", PatientID="PID-OTHER"
    )
    plans = plan_masks([*first, other], "nifti", 2)
    assert [(plan.name, len(plan.sources)) for plan in plans] == [("a1.nii.gz", 3), ("b.nii.gz", 1)]
    with pytest.raises(DataError, match=r"a1\.dcm and .*b\.dcm .* of two patients\. Take"):
        require_one_volume(places_of([*first, other]))
    same = write_dicom(tmp_path / "c.dcm", EMPTY, number=9, SeriesInstanceUID="1.2.3.99")
    with pytest.raises(DataError, match=r"a1\.dcm and .*c\.dcm .* of two series\. Take"):
        require_one_volume(places_of([*first, same]))


def test_a_number_that_was_taken_out_tells_no_other_patient(tmp_path: Path) -> None:
    paths = [
        write_dicom(tmp_path / "a.dcm", EMPTY),
        write_dicom(tmp_path / "b.dcm", EMPTY, number=2, PatientID=None),
    ]
    (plan,) = plan_masks(paths, "nifti", 2)
    assert plan.sources == tuple(paths)


def test_digits_that_were_cut_off_make_no_other_volume(tmp_path: Path) -> None:
    paths = [
        write_dicom(tmp_path / "a.dcm", EMPTY, PixelSpacing=[0.3333333, 0.3333333]),
        write_dicom(tmp_path / "b.dcm", EMPTY, number=2, PixelSpacing=[0.33333, 0.33333]),
    ]
    assert len(plan_masks(paths, "nifti", 2)) == 1


def test_frames_at_one_place_are_told_by_their_names(tmp_path: Path) -> None:
    loop = write_dicom(tmp_path / "loop.dcm", np.stack([EMPTY] * 3))
    with_groups(loop, [[-10, -20, 5]] * 3)
    with pytest.raises(
        DataError,
        match=r"loop\.dcm#0 and .*loop\.dcm#1 lie at one place .*Patient -10\\-20\\5\).*Take one "
        r"out.*--format png",
    ):
        plan_masks([loop], "nifti", 2)
