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
from edgeseg.data.check import check_folder
from edgeseg.data.images import read_image
from edgeseg.data.layout import files_by_name
from edgeseg.data.masks import read_mask
from edgeseg.data.medical.frames import frame_path
from edgeseg.data.medical.nifti import NiftiFile
from edgeseg.data.medical.readers import describe_orientations, list_frames, spacing_of
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
    path = write_nifti(tmp_path / "a.nii.gz", values)
    windowed = replace(GREY, window=(40, 400))
    plane = values[::-1, ::-1, 0].T.astype(np.float64)
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


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int16, np.uint16])
def test_whole_numbers_are_grey_however_they_are_stored(tmp_path: Path, kind: type) -> None:
    values = np.arange(0, 1200, 100).reshape(4, 3, 1)
    stored = write_nifti(tmp_path / "a.nii", values.astype(kind))
    expected = write_nifti(tmp_path / "b.nii", values.astype(np.uint16))
    picture, told = (NiftiFile(path).picture(0, 2, None, None) for path in (stored, expected))
    assert picture.dtype == np.uint16
    assert np.array_equal(picture, told)


@pytest.mark.parametrize("value", [0.5, -1.0, 65536.0, 1e300])
def test_other_floating_values_are_no_grey(tmp_path: Path, value: float) -> None:
    path = write_nifti(tmp_path / "a.nii", np.full((4, 3, 1), value, np.float64))
    with pytest.raises(DataError, match=r"no grey of 8 or 16 bits.*Write \[window\]"):
        NiftiFile(path).picture(0, 2, None, None)


def changed(content: bytes, place: int, value: bytes) -> bytes:
    return content[:place] + value + content[place + len(value) :]


def test_hostile_files_are_refused(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "a.nii", upright_volume())
    content = path.read_bytes()
    large = b"\x03\0" + b"\xff\x7f" * 3
    cases = {
        "large": (changed(content, 40, large), "at most 250,000,000 voxels.*Reduce it"),
        "far": (changed(content, 108, b"\0\0\0\x7f"), "too far. Remove its ext"),
        "short": (
            content[:400],
            r"Cannot read the NIfTI file .* 400 bytes, and its header claims 562\..*replace it",
        ),
        "pair": (
            changed(content, 344, b"ni1\0"),
            r"one part\. Save pairs .*: nib-convert pair\.hdr",
        ),
        "empty": (changed(content, 44, b"\0\0"), r"tells the sizes \[5, 0, 7\] \(dim\).*Repair"),
        "below": (changed(content, 44, b"\xfb\xff"), r"tells the sizes \[5, -5, 7\] .*Repair"),
        "flat": (
            changed(content, 40, b"\0\0"),
            r"tells no number of dimensions .*Repair",
        ),
        "deep": (
            changed(content, 40, b"\x09\0"),
            r"tells no number of dimensions .*Repair",
        ),
        "bits": (
            changed(content, 72, b"\x10\0"),
            r"contradicts itself: a voxel of uint8 .* has 8 bits, and bitpix is 16\. Repair",
        ),
        "sform": (
            changed(content, 284, b"\0\0\xc0\x7f"),
            r"affine of .* \(sform\) holds NaN or infinity.*Repair its header",
        ),
        "packed": (gzip.compress(content)[:-40], r"Cannot read the NIfTI file .*replace it"),
        "ending": (gzip.compress(content)[:-4], r"Cannot read the NIfTI file .*replace it"),
        "checksum": (
            changed(packed := gzip.compress(content), len(packed) - 8, b"\0\1\2\3"),
            r"Cannot read the NIfTI file .*replace it",
        ),
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


def test_voxels_that_are_nan_are_refused_with_their_number(tmp_path: Path) -> None:
    values = np.zeros((4, 5, 6), np.float32)
    values[0, 1, :3] = np.nan
    values[0, 0, 0] = np.inf  # is white
    path = write_nifti(tmp_path / "a.nii.gz", values)
    for read in (lambda: read_image(frame_path(path, 0), 1), lambda: read_mask(path, 2)):
        with pytest.raises(DataError, match=r"3 voxels of 120 that are NaN.*Replace them, such"):
            read()


@pytest.mark.parametrize("name", ["a.hdr", "a.img"])
def test_a_pair_tells_how_it_becomes_one_file(tmp_path: Path, name: str) -> None:
    import nibabel

    for kind in (nibabel.Nifti1Pair, nibabel.Nifti2Pair, nibabel.AnalyzeImage):
        nibabel.save(kind(np.zeros((4, 5, 6), np.int16), np.eye(4)), tmp_path / "a.img")
        with pytest.raises(DataError, match=r"Save pairs .* by: nib-convert a\.hdr a\.nii\.gz"):
            read_image(tmp_path / name, 1)
    assert [path.name for path in files_by_name(tmp_path).values()] == ["a.hdr"]


def write_coded(path: Path, sform: int, qform: int, shift: float = 0.0) -> Path:
    """A volume of axes right, front and up with these codes; the sform is shifted to the right."""
    import nibabel

    image = nibabel.Nifti1Image(upright_volume(), None)
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    image.set_qform(affine, qform)
    affine[0, 3] = shift
    image.set_sform(affine, sform)
    nibabel.save(image, path)
    return path


def test_where_a_volume_lies_is_told_where_its_header_leaves_it_open(tmp_path: Path) -> None:
    sound = [
        write_coded(tmp_path / "both.nii", 1, 1),
        write_coded(tmp_path / "near.nii", 1, 1, 0.05),
        write_coded(tmp_path / "sform.nii", 1, 0, 50),
        write_coded(tmp_path / "qform.nii", 0, 1, 50),
    ]
    assert describe_orientations(sound) == []
    none = [write_coded(tmp_path / f"none{number}.nii.gz", 0, 0) for number in range(2)]
    torn = write_coded(tmp_path / "torn.nii", 2, 1, 0.2)
    told = describe_orientations([*sound, *none, frame_path(torn, 0), frame_path(torn, 1)])
    assert told == [
        "2 NIfTI volumes, such as none0.nii.gz, have no orientation (sform_code and qform_code are "
        "0): the axes are taken as left, front and up, as nibabel takes them. Check that masks and "
        "pictures lie right",
        "1 NIfTI volume, torn.nii, has two affines that disagree: the sform is used, the qform is "
        "not, as nibabel has it. Check which of them is right",
    ]
    # The axes are those that the notes tell: what lies at the left and in front comes last.
    volume = upright_volume()
    assert read_image(frame_path(none[0], 3), 1)[0, 0, 0] == volume[0, -1, 3]
    assert read_image(frame_path(torn, 3), 1)[0, 0, 0] == volume[-1, -1, 3]


def test_a_mask_that_lies_elsewhere_is_refused_by_the_check(tmp_path: Path) -> None:
    volume, affine = upright_volume(), np.diag([2.0, 2.0, 2.0, 1.0])
    labels = (volume > 100).astype(np.uint8)
    turned_affine = affine.copy()
    turned_affine[0] = [-2, 0, 0, 2 * (volume.shape[0] - 1)]
    moved = affine.copy()
    moved[1, 3] = 3.5
    for name in ("same", "turned", "moved"):
        write_nifti(tmp_path / "images" / f"{name}.nii", volume, affine)
    write_nifti(tmp_path / "masks" / "same.nii", labels, affine)
    write_nifti(tmp_path / "masks" / "turned.nii", labels[::-1], turned_affine)
    write_nifti(tmp_path / "masks" / "moved.nii", labels, moved)
    (fault,) = [one for one in check_folder(tmp_path).faults if one.kind == "place"]
    assert fault.file == "masks/moved.nii"
    assert fault.message == (
        f"The mask {tmp_path / 'masks' / 'moved.nii'} does not lie where its image "
        f"{tmp_path / 'images' / 'moved.nii'} does: by their affines, a corner is 3.5 mm off. "
        "Resample the mask onto its image; where its voxels are the image's, save it with the "
        "image's affine."
    )


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    content = write_nifti(tmp_path / "a.nii", upright_volume()).read_bytes()
    bomb = tmp_path / "bomb.nii.gz"
    bomb.write_bytes(gzip.compress(content + bytes(3 * 10**7), 1))
    # What follows the values is never looked at.
    assert read_image(frame_path(bomb, 0), 1).shape == (6, 5, 1)


def test_a_volume_of_one_axial_slice_may_have_many_along_another_axis(tmp_path: Path) -> None:
    thin = write_nifti(tmp_path / "a.nii", np.arange(24, dtype=np.uint8).reshape(1, 6, 4))
    (along,) = list_frames(thin, 0)
    assert read_image(along, 1).shape == (4, 6, 1)
    flat = write_nifti(tmp_path / "b.nii", np.arange(24, dtype=np.uint8).reshape(6, 4, 1))
    assert list_frames(flat) == [flat]
    assert len(list_frames(flat, 0)) == 6


def test_a_scale_of_infinity_is_refused(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "a.nii", np.zeros((4, 4, 2), np.int16))
    content = path.read_bytes()
    path.write_bytes(changed(content, 112, np.float32(np.inf).tobytes()))  # scl_slope
    with pytest.raises(DataError, match=r"scales by infinity \(scl_slope, scl_inter\)\. Repair"):
        read_image(path)
