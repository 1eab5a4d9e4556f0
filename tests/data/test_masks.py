"""Every common kind of mask reads as the same classes, or says why it does not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from picture_files import GREY, HALVES, save, save_palette, write_tiff
from PIL import Image

from edgeseg.data import decoding
from edgeseg.data.images import read_image
from edgeseg.data.masks import read_mask
from edgeseg.errors import DataError


def test_class_indices_count_down_where_white_is_zero(tmp_path: Path) -> None:
    for count, classes in ((2, [[0, 1, 1]]), (4, [[0, 3, 2]]), (2, [[0, 0, 0]])):
        shown = 255 - np.array(classes, np.uint8)  # Pillow writes and reads what is shown
        path = save(tmp_path / "a.tif", shown, tiffinfo={decoding.PHOTOMETRIC: 0})
        assert read_mask(path, count).tolist() == classes
    for order in "<>":
        deep = HALVES.astype(np.uint16)
        write_tiff(tmp_path / "c.tif", deep, 16, is_white_zero=True, order=order)
        assert read_mask(tmp_path / "c.tif", 2).tolist() == HALVES.tolist()
    path = save(tmp_path / "b.tif", HALVES * 255, tiffinfo={decoding.PHOTOMETRIC: 0})
    assert read_mask(path, 2).tolist() == HALVES.tolist()


@pytest.mark.parametrize("white", [1, 255, 65535])
def test_two_classes_are_zero_and_one_or_white(tmp_path: Path, white: int) -> None:
    dtype = np.uint16 if white > 255 else np.uint8
    mask = read_mask(save(tmp_path / "a.png", HALVES.astype(dtype) * dtype(white)), 2)
    assert mask.dtype == np.uint8
    assert mask.tolist() == HALVES.tolist()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "RGB", "RGBA", "P"])
def test_a_black_and_white_mask_reads_the_same_in_every_mode(tmp_path: Path, mode: str) -> None:
    path = save(tmp_path / "a.png", HALVES * 255, mode)
    assert read_mask(path, 2).tolist() == HALVES.tolist()


def test_an_empty_mask_stays_empty(tmp_path: Path) -> None:
    assert not read_mask(save(tmp_path / "a.png", HALVES * 0), 2).any()


def test_half_of_white_divides_the_classes(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", np.array([[0, 60, 127, 128, 255]], np.uint8))
    assert read_mask(path, 2).tolist() == [[0, 0, 0, 1, 1]]
    path = save(tmp_path / "b.png", np.array([[0, 999, 32767, 32768, 65535]], np.uint16))
    assert read_mask(path, 2).tolist() == [[0, 0, 0, 1, 1]]


@pytest.mark.parametrize(
    ("values", "ignore"), [([0, 128, 255], 128), ([0, 1, 255], 255), ([0, 100, 200, 255], 100)]
)
def test_other_values_than_black_and_white_are_named(
    tmp_path: Path, values: list[int], ignore: int
) -> None:
    path = save(tmp_path / "a.png", np.array([values], np.uint8))
    found = ", ".join(map(str, values[:-1]))
    with pytest.raises(
        DataError, match=f"holds {found} and {values[-1]}, .* Write ignore = {ignore} in the net"
    ):
        read_mask(path, 2)


@pytest.mark.parametrize(
    ("values", "ignore", "count", "expected"),
    [
        ([0, 128, 255], 128, 2, [0, 255, 1]),
        ([0, 1, 255], 255, 2, [0, 1, 255]),
        ([0, 255, 255], 128, 2, [0, 1, 1]),
        ([0, 3, 255], 255, 4, [0, 3, 255]),
    ],
)
def test_what_is_ignored_is_marked(
    tmp_path: Path, values: list[int], ignore: int, count: int, expected: list[int]
) -> None:
    path = save(tmp_path / "a.png", np.array([values], np.uint8))
    assert read_mask(path, count, ignore).tolist() == [expected]


def test_a_gif_is_read(tmp_path: Path) -> None:
    assert read_mask(save(tmp_path / "a.gif", HALVES * 255), 2).tolist() == HALVES.tolist()
    assert read_image(save(tmp_path / "b.gif", GREY))[..., 0].tolist() == GREY.tolist()


def test_black_and_white_of_a_coloured_palette_are_two_classes(tmp_path: Path) -> None:
    # White is the third colour, as in palettes of the web: its index is neither 1 nor white.
    path = save_palette(tmp_path / "a.gif", HALVES * 2, [0, 0, 0, 255, 0, 0, 255, 255, 255])
    assert read_mask(path, 2).tolist() == HALVES.tolist()


def test_jpeg_noise_does_not_move_the_mask(tmp_path: Path) -> None:
    rows, columns = np.mgrid[:64, :64]
    disc = (np.hypot(rows - 30, columns - 34) < 20).astype(np.uint8)
    path = save(tmp_path / "a.jpg", disc * 255, quality=75)
    assert len(np.unique(np.asarray(Image.open(path)))) > 2  # there is noise
    assert (read_mask(path, 2) == disc).all()


def test_a_dark_jpeg_is_an_empty_mask(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jpg", np.full((8, 8), 9, np.uint8))
    assert not read_mask(path, 2).any()


@pytest.mark.parametrize(("dtype", "highest"), [(np.uint8, 2), (np.uint8, 127), (np.uint16, 5000)])
def test_a_dark_mask_is_refused(tmp_path: Path, dtype: type, highest: int) -> None:
    path = save(tmp_path / "a.png", np.array([[0, highest]], dtype))
    with pytest.raises(DataError, match=f"is {highest}, .* with 0 and 1, or 0 and 255"):
        read_mask(path, 2)


@pytest.mark.parametrize(("dtype", "highest"), [(np.uint8, 255), (np.uint16, 65535)])
def test_a_mask_with_a_label_to_ignore_is_refused(
    tmp_path: Path, dtype: type, highest: int
) -> None:
    path = save(tmp_path / "a.png", np.array([[0, 1, highest]], dtype))
    with pytest.raises(DataError, match=f"holds 0, 1 and {highest}, which may mean 'ignore'"):
        read_mask(path, 2)


def test_a_coloured_mask_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", np.full((2, 2, 3), (255, 0, 0), np.uint8))
    with pytest.raises(DataError, match=r"coloured \(mode RGB\). Save masks as grey images"):
        read_mask(path, 2)


def test_more_classes_are_the_values(tmp_path: Path) -> None:
    classes = np.array([[0, 1, 2, 3]], np.uint8)
    assert read_mask(save(tmp_path / "a.png", classes), 4).tolist() == classes.tolist()
    assert read_mask(save(tmp_path / "b.png", classes.astype(np.uint16)), 4).dtype == np.uint8


def test_a_value_beyond_the_classes_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", np.array([[0, 3]], np.uint8))
    with pytest.raises(DataError, match=r"value 3, but there are 3 classes \(0\.\.2\)\. Give"):
        read_mask(path, 3)


COLOURS = [0, 0, 0, 128, 0, 0, 128, 128, 128]  # black, red, grey: as Pascal VOC has among others


def test_a_coloured_palette_stands_for_its_indices(tmp_path: Path) -> None:
    indices = np.array([[0, 1, 2]], np.uint8)
    assert read_mask(save_palette(tmp_path / "a.png", indices, COLOURS), 3).tolist() == [[0, 1, 2]]
    two = save_palette(tmp_path / "b.png", HALVES, COLOURS)
    assert read_mask(two, 2).tolist() == HALVES.tolist()


def test_a_coloured_palette_stands_for_its_indices_where_only_grey_is_used(tmp_path: Path) -> None:
    indices = np.array([[0, 2]], np.uint8)
    assert read_mask(save_palette(tmp_path / "a.png", indices, COLOURS), 3).tolist() == [[0, 2]]


def test_a_grey_palette_stands_for_its_colours(tmp_path: Path) -> None:
    white_first = save_palette(tmp_path / "a.png", HALVES, [255, 255, 255, 0, 0, 0])
    assert read_mask(white_first, 2).tolist() == (1 - HALVES).tolist()


def test_a_float_mask_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.tif", np.array([[0.1, 0.9]], np.float32))
    with pytest.raises(DataError, match="floating-point"):
        read_mask(path, 2)


def test_a_mask_that_lies_in_alpha_is_not_read_as_empty(tmp_path: Path) -> None:
    pixels = np.zeros((2, 4, 4), np.uint8)
    pixels[..., 3] = HALVES * 255
    with pytest.raises(DataError, match="alpha"):
        read_mask(save(tmp_path / "a.png", pixels), 2)
