"""Every common kind of image reads as the same pixels, or says why it does not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from picture_files import GREY, save, save_palette, save_turned
from PIL import Image

from edgeseg.data.decoding import IMAGE_SUFFIXES
from edgeseg.data.images import read_image
from edgeseg.data.masks import read_mask
from edgeseg.errors import DataError

UPRIGHT = {  # what a viewer shows of a picture that is stored with this orientation
    1: lambda pixels: pixels,
    2: np.fliplr,
    3: lambda pixels: np.rot90(pixels, 2),
    4: np.flipud,
    5: np.transpose,
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: np.rot90(pixels.T, 2),
    8: np.rot90,
}


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".tiff", ".webp"])
def test_colours_read_as_they_were_saved(tmp_path: Path, suffix: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    options = {"lossless": True} if suffix == ".webp" else {}
    image = read_image(save(tmp_path / f"a{suffix}", pixels, **options))
    assert image.dtype == np.uint8
    assert (image == pixels).all()


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg"])
def test_a_jpeg_is_close_to_what_was_saved(tmp_path: Path, suffix: str) -> None:
    pixels = np.full((16, 16, 3), (200, 150, 90), np.uint8)
    image = read_image(save(tmp_path / f"a{suffix}", pixels, quality=95))
    np.testing.assert_allclose(image, pixels, atol=3)


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_images_and_masks_are_turned_upright(tmp_path: Path, orientation: int) -> None:
    upright = UPRIGHT[orientation]
    image = read_image(save_turned(tmp_path / "a.png", GREY, orientation))
    assert image[..., 0].tolist() == upright(GREY).tolist()
    mask = (GREY == 40).astype(np.uint8)
    turned = read_mask(save_turned(tmp_path / "b.png", mask, orientation), 2)
    assert turned.tolist() == upright(mask).tolist()


def test_sixteen_bits_are_turned_upright_too(tmp_path: Path) -> None:
    fine = GREY.astype(np.uint16) * 300
    image = read_image(save_turned(tmp_path / "a.png", fine, 6))
    assert image[..., 0].tolist() == np.rot90(fine, -1).tolist()


def test_a_jpeg_is_turned_upright(tmp_path: Path) -> None:
    pixels = np.zeros((16, 32, 3), np.uint8)
    pixels[:, :16] = 255  # the left half, which a turn to the right brings to the top
    image = read_image(save_turned(tmp_path / "a.jpg", pixels, 6))
    assert image.shape == (32, 16, 3)
    assert image[:15].min() > 200
    assert image[17:].max() < 50


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_a_tiff_is_turned_upright(tmp_path: Path, orientation: int) -> None:
    image = read_image(save_turned(tmp_path / "a.tif", GREY, orientation))
    assert image[..., 0].tolist() == UPRIGHT[orientation](GREY).tolist()


def test_grey_is_repeated(tmp_path: Path) -> None:
    image = read_image(save(tmp_path / "a.png", GREY))
    assert image.shape == (2, 3, 3)
    assert (image == GREY[..., None]).all()


def test_alpha_is_dropped_and_the_colours_stay(tmp_path: Path) -> None:
    pixels = np.full((2, 2, 4), (10, 20, 30, 0), np.uint8)  # wholly transparent
    assert read_image(save(tmp_path / "a.png", pixels))[0, 0].tolist() == [10, 20, 30]
    grey = np.full((2, 2, 2), (77, 0), np.uint8)
    assert read_image(save(tmp_path / "b.png", grey))[0, 0].tolist() == [77, 77, 77]


def test_one_channel_is_the_brightness_of_any_picture(tmp_path: Path) -> None:
    # Red, green and blue weigh 0.299, 0.587 and 0.114.
    colors = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [9, 9, 9]]], np.uint8)
    expected = [[[76], [150], [29], [9]]]
    assert read_image(save(tmp_path / "a.png", colors), 1).tolist() == expected
    assert read_image(save(tmp_path / "b.png", colors, "RGBA"), 1).tolist() == expected
    grey = read_image(save(tmp_path / "c.png", GREY), 1)
    assert grey.shape == (2, 3, 1)
    assert (grey[..., 0] == GREY).all()
    deep = read_image(save(tmp_path / "d.png", GREY.astype(np.uint16) * 300), 1)
    assert deep.dtype == np.uint16
    assert (deep[..., 0] == GREY.astype(int) * 300).all()


@pytest.mark.parametrize(
    ("channels", "mode", "suffix"),
    [(2, "LA", ".png"), (2, "LA", ".tif"), (4, "RGBA", ".png"), (4, "CMYK", ".tif")],
)
def test_two_and_four_channels_are_those_of_the_file(
    tmp_path: Path, channels: int, mode: str, suffix: str
) -> None:
    pixels = np.random.default_rng(2).integers(0, 256, (5, 7, channels), np.uint8)
    Image.frombytes(mode, (7, 5), pixels.tobytes()).save(tmp_path / f"a{suffix}")
    assert (read_image(tmp_path / f"a{suffix}", channels) == pixels).all()


@pytest.mark.parametrize(("channels", "mode"), [(2, "RGB"), (2, "L"), (4, "RGB"), (4, "I;16")])
def test_other_pictures_are_refused_for_two_and_four_channels(
    tmp_path: Path, channels: int, mode: str
) -> None:
    Image.new(mode, (4, 4)).save(tmp_path / "a.png")
    with pytest.raises(
        DataError,
        match=rf"a\.png is of mode {mode}, .* takes {channels} channels\. Save it as .* input_ch",
    ):
        read_image(tmp_path / "a.png", channels)


@pytest.mark.parametrize("options", [{}, {"transparency": 0}])
def test_a_palette_is_replaced_by_its_colours(tmp_path: Path, options: dict[str, int]) -> None:
    indices = np.array([[0, 1]], np.uint8)
    path = save_palette(tmp_path / "a.png", indices, [10, 20, 30, 40, 50, 60], **options)
    assert read_image(path).tolist() == [[[10, 20, 30], [40, 50, 60]]]


def test_one_bit_is_black_and_white(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", np.array([[False, True]]))
    assert read_image(path).tolist() == [[[0] * 3, [255] * 3]]


def test_cmyk_is_converted(tmp_path: Path) -> None:
    Image.new("CMYK", (2, 2), (0, 255, 255, 0)).save(tmp_path / "a.tif")  # magenta + yellow
    assert read_image(tmp_path / "a.tif")[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bit_grey_keeps_its_bits(tmp_path: Path, suffix: str) -> None:
    pixels = np.array([[0, 1, 256], [257, 40000, 65535]], np.uint16)
    image = read_image(save(tmp_path / f"a{suffix}", pixels))
    assert image.dtype == np.uint16
    assert (image == pixels[..., None]).all()
    assert image.shape == (2, 3, 3)


@pytest.mark.parametrize("value", [70_000, -1])
def test_more_than_sixteen_bits_are_refused(tmp_path: Path, value: int) -> None:
    path = save(tmp_path / "a.tif", np.array([[5, value]], np.int32))
    with pytest.raises(DataError, match=rf"{value}.*0\.\.65535.*Window it to 8 or 16 bits"):
        read_image(path)


def test_a_float_image_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.tif", np.full((2, 2), 0.5, np.float32))
    with pytest.raises(DataError, match=r"white point is unknown\. Save it with 8 or 16 bits"):
        read_image(path)


@pytest.mark.parametrize("suffix", IMAGE_SUFFIXES)
def test_a_truncated_image_is_refused(tmp_path: Path, suffix: str) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (24, 20, 3), np.uint8)
    path = save(tmp_path / f"a{suffix}", pixels)
    content = path.read_bytes()
    for share in (0.3, 0.6, 0.9):
        path.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(DataError) as caught:
            read_image(path)
        assert str(path) in str(caught.value)
    assert "replace it or take it out of the data set" in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"name,label\n1,2\n", b"\x89PNG\r\n"])
def test_what_is_no_image_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(content)
    for read in (read_image, lambda path: read_mask(path, 2)):
        with pytest.raises(DataError, match=r"is not an image that can be read\. Give .* jpg"):
            read(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"No image at .*gone\.png\. Check the path"):
        read_image(tmp_path / "gone.png")
    with pytest.raises(DataError, match=r"No mask at .*gone\.png\. Check the path"):
        read_mask(tmp_path / "gone.png", 2)
