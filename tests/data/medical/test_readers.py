"""What is told of medical files, and what a data folder makes of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from medical_files import write_dicom, write_nifti
from support import Counter, needs

from edgeseg import lazy
from edgeseg.data.check import check_folder
from edgeseg.data.folder import open_folder, tell_files
from edgeseg.data.images import read_image
from edgeseg.data.layout import is_picture_file, without_suffix
from edgeseg.data.medical.frames import frame_path, sha256_of_picture, split_frame
from edgeseg.data.medical.readers import is_medical
from edgeseg.errors import DataError, MissingBackendError

pytestmark = needs("pydicom", "nibabel")
GREY = np.arange(48, dtype=np.uint8).reshape(6, 8)


def test_names_of_parts_are_told_from_those_of_files(tmp_path: Path) -> None:
    file = tmp_path / "a#b.nii.gz"
    for index, axis in ((0, 2), (12, 0), (7, 1)):
        assert split_frame(frame_path(file, index, axis)) == (file, index, axis)
    assert split_frame(file) == (file, None, 2)
    whole = tmp_path / "a#3"
    whole.write_bytes(b"")
    assert split_frame(whole) == (whole, None, 2)


def test_each_part_has_a_digest_of_its_own(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "a.nii", np.zeros((3, 3, 3), np.uint8))
    parts = [frame_path(path, 0), frame_path(path, 1), frame_path(path, 1, 0), path]
    assert len({sha256_of_picture(part) for part in parts}) == 4
    copy = tmp_path / "b.nii"
    copy.write_bytes(path.read_bytes())
    assert sha256_of_picture(frame_path(copy, 1)) == sha256_of_picture(parts[1])


def test_files_are_told_by_their_content(tmp_path: Path) -> None:
    named = write_dicom(tmp_path / "1.2.840.5", GREY)
    assert is_picture_file(named)
    assert is_medical(named)
    other = tmp_path / "1.2.840.6"
    other.write_bytes(bytes(400))
    assert not is_picture_file(other)
    volume = write_nifti(tmp_path / "a.nii.gz", GREY[..., None])
    hidden = tmp_path / "hidden.png"
    hidden.write_bytes(volume.read_bytes())
    assert read_image(hidden, 1).shape == (8, 6, 1)
    swapped = write_dicom(tmp_path / "b.nii", GREY)
    assert np.array_equal(read_image(swapped, 1)[..., 0], GREY)
    assert without_suffix("scan.nii.gz") == "scan"
    assert without_suffix("1.2.840.5") == "1.2.840.5"


def test_a_folder_of_volumes_has_a_pair_for_each_slice(tmp_path: Path) -> None:
    for part in ("images", "masks"):
        write_nifti(tmp_path / part / "v.nii.gz", np.zeros((2, 3, 4), np.uint8))
        write_dicom(tmp_path / part / "s.dcm", np.zeros((6, 8), np.uint8))
    assert [pair.name for pair in open_folder(tmp_path)] == ["s", "v#0", "v#1", "v#2", "v#3"]
    along = open_folder(tmp_path, axis=0)
    assert [pair.name for pair in along] == ["s", "v#0", "v#1"]
    image, labels = along[1].read_both(2, 1)
    assert image.shape == (4, 3, 1)
    assert labels.shape == (4, 3)
    assert {pair.file_name for pair in along} == {"s", "v"}
    write_nifti(tmp_path / "masks" / "v.nii.gz", np.zeros((2, 3, 5), np.uint8))
    with pytest.raises(DataError, match=r"4 pictures, and its mask .* 5\. Give each"):
        open_folder(tmp_path)


def test_reports_among_the_images_of_a_data_folder_are_left_out_and_told(tmp_path: Path) -> None:
    import pydicom

    tests = Path(pydicom.__file__).parent / "data" / "test_files"
    for number in range(2):
        write_dicom(tmp_path / "images" / f"s{number}", GREY, number=number)
        write_dicom(tmp_path / "masks" / f"s{number}", GREY, number=10 + number)
    for name in ("reportsi.dcm", "test-SR.dcm", "image_dfl.dcm"):
        (tmp_path / "images" / name).write_bytes((tests / name).read_bytes())
    dataset = open_folder(tmp_path)
    assert [pair.name for pair in dataset] == ["s0", "s1"]
    noted = Counter()
    tell_files(dataset.first(1), noted)
    told = [
        f"2 DICOM files in {tmp_path} are no pictures, but reports, lists, segmentations or files "
        "without pixels, and left out: reportsi.dcm, test-SR.dcm",
        f"1 DICOM file in {tmp_path} is deflated as a whole, which is not read, and left out "
        "(gdcmconv --raw converts it): image_dfl.dcm",
    ]
    assert noted.notes == told
    notes = [note for note in check_folder(tmp_path, 48).notes if note.kind == "left out"]
    assert [(note.file, note.message) for note in notes] == [("images", f"{one}.") for one in told]
    for number in range(2):
        (tmp_path / "images" / f"s{number}").unlink()
    with pytest.raises(DataError, match=r"holds no image\. 2 DICOM files .* 1 DICOM file .*Kinds"):
        open_folder(tmp_path)


@pytest.mark.parametrize(("package", "extra"), [("pydicom", "dicom"), ("nibabel", "nifti")])
def test_a_missing_package_is_told_with_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str, extra: str
) -> None:
    path = tmp_path / "a"
    if package == "pydicom":
        write_dicom(path, GREY)
    else:
        path = write_nifti(tmp_path / "a.nii", GREY[..., None])
    known = lazy.is_installed
    monkeypatch.setattr(lazy, "is_installed", lambda name: name != package and known(name))
    with pytest.raises(MissingBackendError, match=rf"pip install 'edgeseg\[{extra}\]'"):
        read_image(path)
