"""From a file to one picture: sizes, pages, TIFFs whose white is zero or which have 12 bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from picture_files import GREY, save, write_tiff
from PIL import Image

from edgeseg.data import decoding
from edgeseg.data.images import read_image
from edgeseg.data.masks import read_mask
from edgeseg.errors import DataError


def test_a_decompression_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "a.png", np.zeros((64, 64), np.uint8))
    monkeypatch.setattr(decoding, "LARGEST_PIXELS", 1000)  # a real one would take gigabytes
    with pytest.raises(DataError, match=r"64x64 pixels, .* too large: .* Reduce it, or cut it"):
        read_image(path)


def test_photos_above_pillows_limit_are_read_without_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    path = save(tmp_path / "a.png", np.zeros((64, 64), np.uint8))
    for limit in (3000, 1000):  # Pillow warns above its limit and refuses twice of it
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        assert read_image(path).shape == (64, 64, 3)
        assert limit == Image.MAX_IMAGE_PIXELS
    assert not recwarn.list


@pytest.mark.parametrize("suffix", [".tif", ".gif", ".webp", ".png"])
def test_several_pages_are_refused_with_their_number(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"stack{suffix}"
    pages = [Image.new("L", (8, 8), value) for value in (0, 100, 200)]
    pages[0].save(path, save_all=True, append_images=pages[1:])
    for what, read in (("image", read_image), ("mask", lambda path: read_mask(path, 2))):
        with pytest.raises(
            DataError, match=rf"The {what} .*stack\{suffix} has 3 pages .* Save each as a file"
        ):
            read(path)


def test_a_smaller_copy_behind_a_page_is_no_page(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    small = Image.fromarray(GREY[:1, :1].copy())
    small.encoderinfo = {"tiffinfo": {decoding.NEW_SUBFILE_TYPE: 1}}
    Image.fromarray(GREY).save(path, save_all=True, append_images=[small])
    with Image.open(path) as file:
        assert file.n_frames == 2
    assert (read_image(path)[..., 0] == GREY).all()


def test_the_preview_of_a_photo_is_no_page(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    photo = Image.fromarray(np.full((16, 16, 3), 90, np.uint8))
    photo.save(path, "MPO", save_all=True, append_images=[photo.resize((8, 8))])
    with Image.open(path) as file:
        assert file.format == "MPO"
    assert read_image(path).shape == (16, 16, 3)


@pytest.mark.parametrize("order", ["<", ">"])
def test_white_may_be_zero_in_a_tiff(tmp_path: Path, order: str) -> None:
    deep = np.array([[0, 1, 300], [40000, 65534, 65535]], np.uint16)
    write_tiff(tmp_path / "deep.tif", deep, 16, is_white_zero=True, order=order)
    assert read_image(tmp_path / "deep.tif")[..., 0].tolist() == (65535 - deep).tolist()
    write_tiff(tmp_path / "plain.tif", deep, 16, is_white_zero=False, order=order)
    assert read_image(tmp_path / "plain.tif")[..., 0].tolist() == deep.tolist()
    path = save(tmp_path / "eight.tif", GREY, tiffinfo={decoding.PHOTOMETRIC: 0})
    assert read_image(path)[..., 0].tolist() == GREY.tolist()


def test_twelve_bits_of_a_tiff_reach_white(tmp_path: Path) -> None:
    pixels = np.array([[0, 1], [2048, 4095]], np.uint16)
    write_tiff(tmp_path / "a.tif", pixels, 12, is_white_zero=False)
    # 65535 / 4095 is 16.0037: 16, 32775.5 and white.
    assert read_image(tmp_path / "a.tif")[..., 0].tolist() == [[0, 16], [32776, 65535]]
