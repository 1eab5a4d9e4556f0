"""Segmentations as masks of a data folder: each slice finds its own, whatever files are called."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from medical_files import write_dicom
from numpy.typing import NDArray
from support import needs

from edgeseg.data.check import check_folder
from edgeseg.data.folder import open_folder
from edgeseg.data.gallery import find_truth
from edgeseg.data.images import read_image
from edgeseg.data.medical.segmentations import Origin, write_segmentation
from edgeseg.errors import DataError

pytestmark = needs("pydicom", "highdicom")
ORIGIN = Origin(("background", "liver", "lesion"), "net", "net-fp32", "0123abcd", "0.1")
SHAPE = 10, 12


def write_series(folder: Path, count: int = 4) -> list[Path]:
    """Pictures whose order by name is not that of their places."""
    pixels = np.random.default_rng(0).integers(0, 255, (count, *SHAPE)).astype(np.uint8)
    return [
        write_dicom(folder / "images" / f"n{(3 * index) % count}", one, number=index + 1)
        for index, one in enumerate(pixels)
    ]


def masks_of(count: int = 4) -> list[NDArray[np.uint8]]:
    """Random ones, and empty ones at both ends."""
    draw = np.random.default_rng(1)
    masks = [draw.integers(0, 3, SHAPE).astype(np.uint8) for _ in range(count)]
    masks[0][:], masks[-1][:] = 0, 0
    return masks


def change(path: Path, **tags: Any) -> None:
    import pydicom

    data = pydicom.dcmread(path)
    for name, value in tags.items():
        if value is None:
            delattr(data, name)
        else:
            setattr(data, name, value)
    data.save_as(path)


def test_slices_find_theirs_in_one_segmentation(tmp_path: Path) -> None:
    sources, masks = write_series(tmp_path), masks_of()
    (tmp_path / "masks").mkdir()
    # It bears the name of one of its pictures, as edgeseg predict writes it.
    write_segmentation(tmp_path / "masks" / "n0.dcm", sources, masks, ORIGIN)
    dataset = open_folder(tmp_path)
    assert len(dataset) == 4
    expected = dict(zip((source.name for source in sources), masks, strict=True))
    for pair in dataset:
        assert np.array_equal(pair.read_labels(3), expected[pair.name])
        truth = find_truth(pair.image_path, 3)
        assert truth is not None
        assert np.array_equal(truth, expected[pair.name])
    checked = check_folder(tmp_path, class_count=3)
    assert {fault.kind for fault in checked.faults} <= {"patient", "split"}
    assert "unused mask" not in {note.kind for note in checked.notes}


def test_a_file_of_many_pictures_finds_its_own(tmp_path: Path) -> None:
    import pydicom
    from pydicom.dataset import Dataset

    masks = masks_of(5)
    path = write_dicom(
        tmp_path / "images" / "loop.dcm",
        np.zeros((5, *SHAPE), np.uint16),
        SOPClassUID="1.2.840.10008.5.1.4.1.1.2.1",
        ImagePositionPatient=None,
    )
    data = pydicom.dcmread(path)
    data.PerFrameFunctionalGroupsSequence = []
    data.SharedFunctionalGroupsSequence = [Dataset()]
    shared = data.SharedFunctionalGroupsSequence[0]
    measures, plane = Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = data.PixelSpacing, data.SliceThickness
    plane.ImageOrientationPatient = data.ImageOrientationPatient
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [plane]
    for index in range(5):
        group, position = Dataset(), Dataset()
        position.ImagePositionPatient = [0, 0, 5 * index]
        group.PlanePositionSequence = [position]
        data.PerFrameFunctionalGroupsSequence.append(group)
    data.save_as(path)
    (tmp_path / "masks").mkdir()
    write_segmentation(tmp_path / "masks" / "other.dcm", [path], masks, ORIGIN)
    dataset = open_folder(tmp_path)
    assert len(dataset) == 5
    for pair, mask in zip(dataset, masks, strict=True):
        assert np.array_equal(pair.read_labels(3), mask)


def test_a_segmentation_is_no_picture(tmp_path: Path) -> None:
    sources, masks = write_series(tmp_path), masks_of()
    write_segmentation(tmp_path / "seg.dcm", sources, masks, ORIGIN)
    with pytest.raises(DataError, match=r"is a segmentation.*into the folder of the masks"):
        read_image(tmp_path / "seg.dcm#0")


def test_two_segmentations_of_one_picture_are_refused(tmp_path: Path) -> None:
    sources, masks = write_series(tmp_path), masks_of()
    (tmp_path / "masks").mkdir()
    for name in ("a", "b"):
        write_segmentation(tmp_path / "masks" / f"{name}.dcm", sources, masks, ORIGIN)
    with pytest.raises(DataError, match=r"n0 has two masks, a.dcm#\d and b.dcm#\d. Remove one"):
        open_folder(tmp_path)


def test_shares_and_overlaps_and_frames_without_a_source_are_refused(tmp_path: Path) -> None:
    import pydicom

    sources, masks = write_series(tmp_path), masks_of()
    path = tmp_path / "masks" / "seg.dcm"
    path.parent.mkdir()
    write_segmentation(path, sources, masks, ORIGIN)
    sound = path.read_bytes()
    change(path, SegmentationType="FRACTIONAL")
    with pytest.raises(DataError, match=r"holds shares of pixels.*save it as a binary one"):
        open_folder(tmp_path)
    assert "mask" in {fault.kind for fault in check_folder(tmp_path, 3).faults}
    path.write_bytes(sound)
    data = pydicom.dcmread(path)
    for group in data.PerFrameFunctionalGroupsSequence:
        del group.DerivationImageSequence
    data.save_as(path)
    with pytest.raises(DataError, match=r"does not tell which picture each shows.*as NIfTI"):
        open_folder(tmp_path)
    path.write_bytes(sound)
    data = pydicom.dcmread(path)
    first, *others = data.PerFrameFunctionalGroupsSequence
    for group in others:
        group.DerivationImageSequence = first.DerivationImageSequence
    data.PixelData = b"\xff" * len(data.PixelData)
    data.save_as(path)
    dataset = open_folder(tmp_path)  # all frames show one picture now
    with pytest.raises(DataError, match=r"share pixels.*Save it without overlaps"):
        [pair.read_labels(3) for pair in dataset]
