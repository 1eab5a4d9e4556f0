"""NIfTI volumes: their slices as pictures, and labels written in the same place and form."""

from __future__ import annotations

import gzip
import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from medical_files import write_nifti
from PIL import Image
from support import needs

from edgeseg.contract import InputContract, MeanStd
from edgeseg.data.images import read_image
from edgeseg.data.masks import read_mask
from edgeseg.data.medical.frames import frame_path
from edgeseg.data.medical.nifti import NiftiFile
from edgeseg.data.medical.readers import list_frames, spacing_of
from edgeseg.errors import DataError

pytestmark = needs("nibabel")
GREY = InputContract(16, 16, 8, MeanStd((0.0,), (1.0,)), channels=1)
# Right, front and up, in millimetres.
SIZES = (0.5, 1.5, 4.0)
ORIENTATIONS = [
    (order, signs)
    for order in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
]


def upright_volume() -> np.ndarray[Any, np.dtype[np.uint8]]:
    """(right, front, up) = (5, 6, 7), no two slices alike."""
    return np.arange(5 * 6 * 7, dtype=np.uint8).reshape(5, 6, 7)


def turned(
    order: tuple[int, ...], signs: tuple[int, ...]
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """The volume as a scanner may store it, and the affine that tells so."""
    volume = upright_volume()
    affine = np.eye(4)
    stored = volume.transpose(order)
    for axis, (place, sign) in enumerate(zip(order, signs, strict=True)):
        affine[:3, axis] = 0
        affine[place, axis] = sign * SIZES[place]
        affine[place, 3] = 10 * place if sign > 0 else 10 * place + 99
        if sign < 0:
            stored = np.flip(stored, axis)
    return np.ascontiguousarray(stored), affine


def test_there_are_48_orientations() -> None:
    assert len(ORIENTATIONS) == len({str(one) for one in ORIENTATIONS}) == 48


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_lie_alike_in_all_orientations_and_labels_go_back(tmp_path: Path, axis: int) -> None:
    import nibabel

    volume = upright_volume()
    for number, (order, signs) in enumerate(ORIENTATIONS):
        stored, affine = turned(order, signs)
        path = write_nifti(tmp_path / f"{number}.nii", stored, affine)
        frames = list_frames(path, axis)
        assert len(frames) == volume.shape[axis]
        for index, frame in enumerate(frames):
            wanted = np.take(volume, index, axis)[::-1, ::-1].T
            assert np.array_equal(read_image(frame, 1)[..., 0], wanted), (order, signs)
        labels = [read_mask(frame, 255) for frame in frames]
        result = tmp_path / f"{number}-labels.nii.gz"
        NiftiFile(path).write_labels(result, labels, axis)
        written = nibabel.load(result)
        assert np.array_equal(np.asarray(written.dataobj), stored), (order, signs)
        assert np.array_equal(written.affine, nibabel.load(path).affine)
        assert written.get_data_dtype() == np.uint8
        assert written.header["sform_code"] == nibabel.load(path).header["sform_code"]


def test_axial_slices_show_the_front_above_and_the_left_at_the_right(tmp_path: Path) -> None:
    volume = np.zeros((5, 6, 7), np.uint8)
    volume[4, 5, 3] = 200  # right, front
    path = write_nifti(tmp_path / "a.nii.gz", volume)
    assert read_image(frame_path(path, 3), 1)[0, 0, 0] == 200


def test_the_same_labels_give_the_same_file_without_free_text(tmp_path: Path) -> None:
    import nibabel

    path = write_nifti(tmp_path / "a.nii.gz", upright_volume())
    image = nibabel.load(path)
    image.header["descrip"] = b"Quirrelmann"
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"Zebulon"))
    path = tmp_path / "b.nii.gz"
    nibabel.save(image, path)
    labels = [read_mask(frame, 255) for frame in list_frames(path)]
    contents = []
    for name in ("c.nii.gz", "d.nii.gz"):
        NiftiFile(path).write_labels(tmp_path / name, labels, 2)
        contents.append((tmp_path / name).read_bytes())
    assert contents[0] == contents[1]
    assert b"Quirrel" in gzip.decompress(path.read_bytes())
    assert not any(word in gzip.decompress(contents[0]) for word in (b"Quirrel", b"Zebulon"))


def test_a_window_gives_the_picture_that_a_png_would_hold(tmp_path: Path) -> None:
    values = np.linspace(-1200, 2500, 5 * 6 * 7).reshape(5, 6, 7).astype(np.float32)
    values[0, 0, 0] = np.nan
    path = write_nifti(tmp_path / "a.nii.gz", values)
    windowed = replace(GREY, window=(40, 400))
    plane = np.nan_to_num(values[::-1, ::-1, 0].T.astype(np.float64), nan=-1e9)
    picture = np.rint(np.clip((plane + 160) / 400, 0, 1) * 65535).astype(np.uint16)
    Image.fromarray(picture).save(tmp_path / "a.png")
    frame = frame_path(path, 0)
    assert np.array_equal(read_image(frame, windowed), read_image(tmp_path / "a.png", 1))
    with pytest.raises(DataError, match=r"no grey of 8 or 16 bits.*Write \[window\]"):
        read_image(frame, 1)
    with pytest.raises(DataError, match=r"no window of its own.*Write \[window\]"):
        read_image(frame, replace(GREY, window="file"))


def test_scale_factors_and_the_own_window_count(tmp_path: Path) -> None:
    import nibabel

    image = nibabel.Nifti1Image(np.full((4, 4, 1), 10, np.int16), np.eye(4))
    image.header.set_slope_inter(3, -10)
    image.header["cal_min"], image.header["cal_max"] = 0, 40
    nibabel.save(image, tmp_path / "a.nii")
    # 20, which is half of the window.
    assert read_image(tmp_path / "a.nii", replace(GREY, window="file"))[0, 0, 0] == 32768
    assert (read_mask(tmp_path / "a.nii", 30) == 20).all()


def test_spacing_follows_the_axis(tmp_path: Path) -> None:
    stored, affine = turned((2, 0, 1), (1, -1, 1))
    path = write_nifti(tmp_path / "a.nii", stored, affine)
    # Rows and columns of a slice: axially front and right, along the front up and right, else up
    # and front.
    assert spacing_of(frame_path(path, 0)) == (1.5, 0.5)
    assert spacing_of(frame_path(path, 0, 1)) == (4.0, 0.5)
    assert spacing_of(frame_path(path, 0, 0)) == (4.0, 1.5)


def test_labels_are_whole_numbers(tmp_path: Path) -> None:
    whole = write_nifti(tmp_path / "a.nii", np.full((4, 4, 1), 2, np.float32))
    assert np.array_equal(read_mask(whole, 3), np.full((4, 4), 2))
    parts = write_nifti(tmp_path / "b.nii", np.full((4, 4, 1), 0.5, np.float32))
    with pytest.raises(DataError, match=r"no whole numbers\. Save the label"):
        read_mask(parts, 3)


def changed(content: bytes, place: int, value: bytes) -> bytes:
    return content[:place] + value + content[place + len(value) :]


def test_hostile_files_are_refused(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "a.nii", upright_volume())
    content = path.read_bytes()
    large = b"\x03\0" + b"\xff\x7f" * 3
    cases = {
        "large": (changed(content, 40, large), "at most 250,000,000 voxels.*Reduce it"),
        "far": (changed(content, 108, b"\0\0\0\x7f"), "too far. Remove its ext"),
        "short": (content[:400], r"Cannot read the NIfTI file .*replace it"),
        "pair": (changed(content, 344, b"ni1\0"), "one part. Save pairs"),
        "packed": (gzip.compress(content)[:-40], r"Cannot read the NIfTI file .*replace it"),
        "bomb": (
            gzip.compress(changed(content, 40, large) + bytes(10**7)),
            "at most 250,000,000 voxels.*Reduce it",
        ),
        "channels": (
            changed(content, 40, b"\x04\0\x05\0\x06\0\x01\0\x07\0"),
            "one number a voxel.*Save each",
        ),
        "affine": (changed(content, 280, bytes(48)), "does not tell where its axes point. Repair"),
    }
    for name, (hostile, message) in cases.items():
        place = tmp_path / f"{name}.nii"
        place.write_bytes(hostile)
        with pytest.raises(DataError, match=message):
            read_image(frame_path(place, 0), 1)


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    content = write_nifti(tmp_path / "a.nii", upright_volume()).read_bytes()
    bomb = tmp_path / "bomb.nii.gz"
    bomb.write_bytes(gzip.compress(content + bytes(3 * 10**7), 1))
    # What follows the values is never looked at.
    assert read_image(frame_path(bomb, 0), 1).shape == (6, 5, 1)
