"""Images that use a small part of their 16 bits are told, with what to write."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from medical_files import write_nifti
from picture_files import write_deep_colours
from PIL import Image
from support import needs

from edgeseg.contract import InputContract, MeanStd, MinMax
from edgeseg.data.depth import describe_depth

INPUTS = InputContract(8, 8, 8, MeanStd())


def write(folder: Path, highest: int, dtype: type = np.uint16, count: int = 3) -> list[Path]:
    paths = [folder / f"{index}.png" for index in range(count)]
    for path in paths:
        Image.fromarray(np.array([[0, highest]], dtype)).save(path)
    return paths


@pytest.mark.parametrize(("highest", "bits"), [(4095, 12), (3000, 12), (1023, 10), (200, 8)])
def test_dark_images_are_told_with_the_white_to_write(
    tmp_path: Path, highest: int, bits: int
) -> None:
    text = describe_depth(write(tmp_path, highest), INPUTS)
    assert text is not None
    assert f"use {bits} bits, as 0.png does: values up to {highest} of 65535" in text
    assert f"Write white = {2**bits - 1} in its spec" in text


def test_images_that_use_their_range_are_not(tmp_path: Path) -> None:
    assert describe_depth(write(tmp_path, 20000), INPUTS) is None
    assert describe_depth(write(tmp_path, 90, np.uint8), INPUTS) is None
    assert describe_depth([], INPUTS) is None


def test_one_bright_image_among_those_that_are_looked_at_is_enough(tmp_path: Path) -> None:
    paths = write(tmp_path, 4095, count=20)
    Image.fromarray(np.array([[0, 50000]], np.uint16)).save(paths[3])
    assert describe_depth(paths, INPUTS) is None


def test_networks_that_see_the_whole_range_are_not_told(tmp_path: Path) -> None:
    paths = write(tmp_path, 4095)
    assert describe_depth(paths, InputContract(8, 8, 8, MinMax())) is None
    assert describe_depth(paths, InputContract(8, 8, 8, MeanStd(), white=4095)) is None


def test_colours_of_sixteen_bits_are_told_too(tmp_path: Path) -> None:
    for name, value in (("dark.png", 4095), ("bright.png", 65535)):
        write_deep_colours(tmp_path / name, value)
    text = describe_depth([tmp_path / "dark.png"], INPUTS)
    assert text is not None
    assert "use 12 bits, as dark.png does" in text
    assert text.endswith("nearly black. Save the images with 8 bits")
    assert describe_depth([tmp_path / "bright.png"], INPUTS) is None


def test_a_damaged_image_is_told_where_it_is_used(tmp_path: Path) -> None:
    paths = write(tmp_path, 4095)
    for content in (b"", b"\x89PNG\r\n\x1a\n\0\0", b"GIF89a\xff"):
        paths[0].write_bytes(content)
        assert describe_depth(paths[:1], INPUTS) is None


def test_the_header_of_a_large_photo_is_read_without_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1)
    assert describe_depth(write(tmp_path, 4095), INPUTS) is not None
    assert not recwarn.list


def test_a_white_point_does_not_reach_colours_of_sixteen_bits(tmp_path: Path) -> None:
    inputs = InputContract(8, 8, 8, MeanStd(), white=4095)
    write_deep_colours(tmp_path / "colours.png", 4095)
    text = describe_depth([*write(tmp_path, 4095), tmp_path / "colours.png"], inputs)
    assert text is not None
    assert "colours.png has 16 bits, of which 8 are read: white = 4095 does not apply" in text
    assert "Save such images with 8 bits" in text


@needs("nibabel")
def test_dark_volumes_are_told_and_windowed_ones_are_not(tmp_path: Path) -> None:
    values = np.linspace(0, 4095, 48).reshape(6, 8, 1).astype(np.uint16)
    path = write_nifti(tmp_path / "a.nii", values)
    means = MeanStd((0.0,), (1.0,))
    inputs = InputContract(8, 8, 8, means, channels=1)
    assert "Write white = 4095 in its spec" in str(describe_depth([path], inputs))
    windowed = InputContract(8, 8, 8, means, channels=1, window=(2048, 4096))
    assert describe_depth([path], windowed) is None
