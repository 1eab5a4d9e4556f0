"""DICOM segmentations: read back by another library, and refused where a source has no place."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from medical_files import PATIENT, with_groups, write_dicom
from numpy.typing import NDArray
from PIL import Image
from support import INSTALL_SCRIPT, UNTESTED, needs

from edgeseg.data.masks import read_mask
from edgeseg.data.medical.outputs import areas_of, plan_masks
from edgeseg.data.medical.segmentations import Origin, write_segmentation
from edgeseg.errors import DataError, UsageError

pytestmark = needs("pydicom", "highdicom")
ORIGIN = Origin(("background", "liver", "lesion"), "some-net", "net-intel-int8", "0123abcd", "0.1")


def series(folder: Path, count: int = 3) -> list[Path]:
    values = np.random.default_rng(0).integers(0, 4096, (count, 12, 16)).astype(np.uint16)
    return [
        write_dicom(folder / f"slice{index}.dcm", one, number=index + 1, BitsStored=12)
        for index, one in enumerate(values)
    ]


def labels(count: int = 3) -> list[NDArray[np.uint8]]:
    draw = np.random.default_rng(1)
    return [draw.integers(0, 3, (12, 16)).astype(np.uint8) for _ in range(count)]


def read_back(path: Path, sources: list[Path]) -> NDArray[Any]:
    import highdicom
    from pydicom import dcmread

    made = highdicom.seg.segread(path)
    identities = [dcmread(source).SOPInstanceUID for source in sources]
    return made.get_pixels_by_source_instance(identities, combine_segments=True)


def test_frames_read_back_equal(tmp_path: Path) -> None:
    sources, masks = series(tmp_path), labels()
    write_segmentation(tmp_path / "seg.dcm", sources, masks, ORIGIN)
    assert np.array_equal(read_back(tmp_path / "seg.dcm", sources), np.stack(masks))


def test_a_segmentation_of_one_picture_is_a_mask(tmp_path: Path) -> None:
    sources, masks = series(tmp_path), labels()
    write_segmentation(tmp_path / "one.dcm", sources[:1], masks[:1], ORIGIN)
    assert np.array_equal(read_mask(tmp_path / "one.dcm", 3), masks[0])
    write_segmentation(tmp_path / "all.dcm", sources, masks, ORIGIN)
    with pytest.raises(DataError, match=r"holds 3 frames.*Name it, such as all.dcm#0"):
        read_mask(tmp_path / "all.dcm", 3)
    for index, mask in enumerate(masks):
        assert np.array_equal(read_mask(tmp_path / f"all.dcm#{index}", 3), mask)


def test_empty_masks_read_back_equal(tmp_path: Path) -> None:
    sources = series(tmp_path)
    masks = [np.zeros((12, 16), np.uint8)] * 3
    write_segmentation(tmp_path / "seg.dcm", sources, masks, ORIGIN)
    assert not read_back(tmp_path / "seg.dcm", sources).any()


def test_it_tells_what_made_it_and_whose_it_is(tmp_path: Path) -> None:
    import highdicom

    write_segmentation(tmp_path / "seg.dcm", series(tmp_path), labels(), ORIGIN)
    made = highdicom.seg.segread(tmp_path / "seg.dcm")
    for number, name in ((1, "liver"), (2, "lesion")):
        description = made.get_segment_description(number)
        assert description.segment_label == name
        assert description.algorithm_identification.name == "some-net"
        assert description.algorithm_identification.version == "0123abcd"
    assert made.DeviceSerialNumber == "0123abcd"
    assert str(made.PatientName) == PATIENT["PatientName"]
    assert made.PatientID == PATIENT["PatientID"]


def test_gaps_and_faults_of_a_header_do_not_matter(tmp_path: Path) -> None:
    """As anonymised files and those of some scanners have them."""
    import highdicom
    from pydicom import dcmread

    source = write_dicom(
        tmp_path / "a.dcm",
        np.zeros((12, 16), np.uint8),
        **dict.fromkeys(("SliceThickness", "PatientSex", "StudyID", "AccessionNumber")),
    )
    content = source.read_bytes()
    assert content.count(b"19410203") == content.count(b"101112") == 1
    source.write_bytes(content.replace(b"19410203", b"XX/00/00").replace(b"101112", b"99:99x"))
    assert dcmread(source).PatientBirthDate == "XX/00/00"
    write_segmentation(tmp_path / "seg.dcm", [source], labels(1), ORIGIN)
    made = highdicom.seg.segread(tmp_path / "seg.dcm")
    assert (made.PatientBirthDate, made.StudyTime) == ("", "")
    assert str(made.PatientName) == PATIENT["PatientName"]


def test_tags_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    sources = series(tmp_path, 2)
    sources[1] = write_dicom(
        tmp_path / "other.dcm",
        np.zeros((12, 16), np.uint16),
        number=2,
        StudyInstanceUID="1.2.9",
    )
    with pytest.raises(DataError, match=r"contradict each other.*Write its mask with --format png"):
        write_segmentation(tmp_path / "seg.dcm", sources, labels(2), ORIGIN)


def test_an_enhanced_file_of_many_frames_reads_back_equal(tmp_path: Path) -> None:
    import highdicom

    path = write_dicom(
        tmp_path / "loop.dcm",
        np.zeros((3, 12, 16), np.uint16),
        SOPClassUID="1.2.840.10008.5.1.4.1.1.2.1",
        ImagePositionPatient=None,
        ImageOrientationPatient=None,
        PixelSpacing=None,
        SliceThickness=None,
    )
    data = with_groups(path, [[0, 0, 5 * index] for index in range(3)])
    masks = labels()
    write_segmentation(tmp_path / "seg.dcm", [path], masks, ORIGIN)
    made = highdicom.seg.segread(tmp_path / "seg.dcm")
    found = made.get_pixels_by_source_frame(data.SOPInstanceUID, [1, 2, 3], combine_segments=True)
    assert np.array_equal(found, np.stack(masks))


def test_a_source_without_a_place_is_refused(tmp_path: Path) -> None:
    values = np.zeros((12, 16), np.uint8)
    places = ("ImagePositionPatient", "ImageOrientationPatient")
    for name in ("FrameOfReferenceUID", "PixelSpacing", *places):
        path = write_dicom(tmp_path / f"{name}.dcm", values, **{name: None})
        with pytest.raises(DataError, match=f"has no {name}.*Write its mask with --format png"):
            plan_masks([path], None, 2)
        assert plan_masks([path], "png", 2)[0].name == f"{name}.png"


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("StudyInstanceUID", "it does not say which study it is of"),
        ("SeriesInstanceUID", "it does not say which series it is of"),
        ("SOPInstanceUID", "it does not say which picture it is"),
    ],
)
def test_a_source_that_cannot_be_named_is_refused(name: str, words: str, tmp_path: Path) -> None:
    values = np.zeros((12, 16), np.uint8)
    path = write_dicom(tmp_path / "a.dcm", values, **{name: None})
    with pytest.raises(DataError, match=f"has no {name}: {words}.*--format png"):
        plan_masks([path], None, 2)
    path = write_dicom(tmp_path / "b.dcm", values, **{name: "1.2.x"})
    with pytest.raises(DataError, match=f"The {name} of .* is no UID of digits and dots"):
        plan_masks([path], None, 2)


def test_frames_that_do_not_say_where_each_lies_are_refused(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "loop.dcm", np.zeros((3, 12, 16), np.uint16))
    for kind in (None, "nifti"):
        with pytest.raises(DataError, match=r"no PerFrameFunctionalGroupsSequence.*--format png"):
            plan_masks([path], kind, 2)
    assert len(plan_masks([path], "png", 2)) == 3


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PixelSpacing", [-0.5, 0.7]),
        ("PixelSpacing", [0, 0]),
        ("ImageOrientationPatient", [0, 0, 0, 0, 0, 0]),
        ("ImageOrientationPatient", [1, 0, 0, 1, 0, 0]),
        ("ImageOrientationPatient", [2, 0, 0, 0, 2, 0]),
        ("ImagePositionPatient", [1, 2]),
    ],
)
def test_a_source_whose_place_makes_no_sense_is_refused(
    name: str, value: list[float], tmp_path: Path
) -> None:
    path = write_dicom(tmp_path / "a.dcm", np.zeros((12, 16), np.uint8), **{name: value})
    for kind in (None, "nifti"):
        with pytest.raises(DataError, match=f"The {name} of .*a.dcm makes no sense. Repair"):
            plan_masks([path], kind, 2)
    assert plan_masks([path], "png", 2)[0].name == "a.png"


def test_pictures_of_a_series_share_a_file_and_formats_are_refused(tmp_path: Path) -> None:
    sources = series(tmp_path)
    other = write_dicom(tmp_path / "z.dcm", np.zeros((4, 4), np.uint8), SeriesInstanceUID="1.2.9")
    plans = plan_masks([*sources, other], None, 2)
    assert [(plan.name, len(plan.frames)) for plan in plans] == [("slice0.dcm", 3), ("z.dcm", 1)]
    with pytest.raises(UsageError, match=r"none of png, nifti, dicom-seg\. Choose"):
        plan_masks(sources, "jpeg", 2)
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "p.png")
    for format_name, kind in (("nifti", "NIfTI volume or DICOM file"), ("dicom-seg", "DICOM file")):
        with pytest.raises(DataError, match=rf"no whole {kind}.*Use --format png"):
            plan_masks([tmp_path / "p.png"], format_name, 2)


def test_areas_are_in_square_millimetres(tmp_path: Path) -> None:
    source, mask = series(tmp_path, 1)[0], labels(1)[0]
    areas = areas_of(source, mask, ORIGIN.classes)
    assert areas is not None
    assert set(areas) == {"liver", "lesion"}
    assert areas["lesion"] == pytest.approx((mask == 2).sum() * 0.5 * 0.25)


def test_dciodvfy_finds_no_errors(tmp_path: Path) -> None:
    if shutil.which("dciodvfy") is None:
        UNTESTED.add(f"dciodvfy (run {INSTALL_SCRIPT})")
        pytest.skip(f"not installed: dciodvfy; run {INSTALL_SCRIPT}")
    write_segmentation(tmp_path / "seg.dcm", series(tmp_path), labels(), ORIGIN)
    done = subprocess.run(
        ["dciodvfy", str(tmp_path / "seg.dcm")], capture_output=True, text=True, check=False
    )
    told = (done.stdout + done.stderr).splitlines()
    assert "Segmentation" in "".join(told)
    assert [line for line in told if line.startswith("Error")] == []
