"""Which images belong together, and that the splits keep them so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from medical_files import write_dicom, write_nifti
from PIL import Image
from support import needs

from edgeseg.data.check import check_folder
from edgeseg.data.clusters import clusters_of
from edgeseg.data.folder import SPLITS, open_folder
from edgeseg.data.groups import read_groups
from edgeseg.errors import DataError
from edgeseg.metrics.clusters import Clusters

PIXELS = np.arange(64, dtype=np.uint8).reshape(8, 8)
GROUPS = "image,patient,site\nn0,P1,a\nn1,P2,a\nn2,P1,b\n"


def write_png(folder: Path, name: str, seed: int = 0) -> None:
    for part, pixels in (("images", PIXELS + seed), ("masks", PIXELS // 32)):
        (folder / part).mkdir(exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / part / f"{name}.png")


def write_patients(folder: Path, patients: str, **tags: str) -> None:
    """A DICOM file for each letter, which is the number of its patient; masks are PNG."""
    for number, patient in enumerate(patients):
        told = {"PatientID": patient, "StudyInstanceUID": f"1.2.{ord(patient)}", **tags}
        write_dicom(folder / "images" / f"n{number:03}", PIXELS + number, number=number, **told)
        (folder / "masks").mkdir(exist_ok=True)
        Image.fromarray(PIXELS // 32).save(folder / "masks" / f"n{number:03}.png")


def clusters_in(folder: Path) -> Clusters | None:
    return clusters_of(open_folder(folder))


def test_single_pictures_are_independent(tmp_path: Path) -> None:
    for name in "abc":
        write_png(tmp_path, name)
    assert clusters_in(tmp_path) is None


@needs("nibabel")
def test_slices_belong_to_their_volume(tmp_path: Path) -> None:
    for name in "ab":
        for part in ("images", "masks"):
            write_nifti(tmp_path / part / f"{name}.nii", np.zeros((4, 4, 3), np.uint8))
    write_png(tmp_path, "c")
    found = clusters_in(tmp_path)
    assert found == Clusters((0, 0, 0, 1, 1, 1, 2), "volumes")


@needs("pydicom")
@pytest.mark.parametrize(
    ("patients", "tags", "expected"),
    [
        ("XYXZ", {}, Clusters((0, 1, 0, 2), "patients")),
        ("XYZ", {}, None),
        # Without the numbers of patients, as after they were taken out, studies tell.
        ("XYX", {"PatientID": ""}, Clusters((0, 1, 0), "studies")),
        ("XYX", {"PatientID": "ANON"}, Clusters((0, 1, 0), "studies")),
        ("XYX", {"PatientID": "A", "StudyInstanceUID": "1.2"}, Clusters((0, 0, 0), "series")),
    ],
)
def test_dicom_files_belong_to_their_patient(
    tmp_path: Path, patients: str, tags: dict[str, str], expected: Clusters | None
) -> None:
    write_patients(tmp_path, patients, **tags)
    assert clusters_in(tmp_path) == expected


def test_a_column_of_groups_names_patients(tmp_path: Path) -> None:
    for number in range(3):
        write_png(tmp_path, f"n{number}")
    (tmp_path / "groups.csv").write_text(GROUPS)
    assert clusters_in(tmp_path) == Clusters((0, 1, 0), "patients")
    assert list(read_groups(open_folder(tmp_path))) == ["site"]
    (tmp_path / "groups.csv").write_text("image\nn0\n")
    with pytest.raises(DataError, match="must name one for the images"):
        clusters_in(tmp_path)


@needs("pydicom")
def test_pictures_of_a_patient_are_dealt_to_one_split(tmp_path: Path) -> None:
    patients = "ABCDEFGHIJKLMNOP" * 3
    write_patients(tmp_path, patients)
    split_of = {
        pair.name: split
        for split in SPLITS
        for pair in open_folder(tmp_path, [split], labelled=False)
    }
    assert len(split_of) == len(patients)
    assert {*split_of.values()} == {*SPLITS}
    for patient in {*patients}:
        own = [split_of[f"n{one:03}"] for one in range(len(patients)) if patients[one] == patient]
        assert len({*own}) == 1


@needs("pydicom")
def test_a_patient_in_several_splits_is_a_fault(tmp_path: Path) -> None:
    write_patients(tmp_path, "XYXX")
    for split, names in zip(SPLITS, ("n000", "n001", "n002\nn003"), strict=True):
        (tmp_path / f"{split}.txt").write_text(names)
    (fault,) = check_folder(tmp_path).faults
    assert fault.kind == "patient"
    assert "n000 (train) and n002 (test) are of one patient" in fault.message
    assert "Put all of its images into one split" in fault.message
    (tmp_path / "train.txt").write_text("n000\nn002\nn003")
    (tmp_path / "test.txt").write_text("")
    assert [one.kind for one in check_folder(tmp_path).faults] == ["split"]


def test_a_patient_of_groups_in_several_splits_is_a_fault(tmp_path: Path) -> None:
    for number in range(3):
        write_png(tmp_path, f"n{number}", number)
    (tmp_path / "groups.csv").write_text(GROUPS)
    for number, split in enumerate(SPLITS):
        (tmp_path / f"{split}.txt").write_text(f"n{number}")
    assert [one.kind for one in check_folder(tmp_path).faults] == ["patient"]
