"""Masks as pictures: what is written reads back, and the gallery shows what it says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from edgeseg.data.folder import open_folder
from edgeseg.data.gallery import (
    BOTH,
    COLORS,
    DIFFERENCE_COLORS,
    ONLY_DEVICE,
    ONLY_REFERENCE,
    OTHER_CLASS,
    ComparisonRow,
    GalleryRow,
    compare_masks,
    difference_codes,
    draw_comparison,
    draw_gallery,
    find_truth,
    write_mask,
)
from edgeseg.data.masks import read_mask

TILE, GAP, TOP, LINE = 224, 8, 24, 248  # pixels: a picture, between two, above the first, a row
GREY = np.full((56, 28, 3), 200, np.uint8)


def draw(path: Path, *rows: GalleryRow) -> NDArray[np.uint8]:
    draw_gallery(rows, path)
    return np.asarray(Image.open(path))


def tiles(picture: NDArray[np.uint8], row: int = 0) -> list[NDArray[np.uint8]]:
    """Image, mask and overlay of one row."""
    top, lefts = TOP + row * LINE, [GAP + column * (TILE + GAP) for column in range(3)]
    return [picture[top : top + TILE, left : left + TILE] for left in lefts]


def left_half(value: int = 1) -> NDArray[np.uint8]:
    labels = np.zeros((56, 28), np.uint8)
    labels[:, :14] = value
    return labels


@pytest.mark.parametrize("class_count", [2, 4])
def test_a_written_mask_reads_back(tmp_path: Path, class_count: int) -> None:
    labels = np.random.default_rng(0).integers(0, class_count, (7, 9), np.uint8)
    write_mask(tmp_path / "new" / "mask.png", labels, class_count)
    assert (read_mask(tmp_path / "new" / "mask.png", class_count) == labels).all()


def test_two_classes_are_written_black_and_white(tmp_path: Path) -> None:
    write_mask(tmp_path / "mask.png", np.array([[0, 1]], np.uint8), 2)
    image = Image.open(tmp_path / "mask.png")
    assert image.mode == "L"
    assert np.asarray(image).tolist() == [[0, 255]]


@pytest.mark.parametrize("ending", ["", "_segmentation", "_mask"])
def test_the_truth_is_found_beside_the_images(tmp_path: Path, ending: str) -> None:
    write_mask(tmp_path / "masks" / f"a{ending}.png", left_half(), 2)
    truth = find_truth(tmp_path / "images" / "a.jpg", 2)
    assert truth is not None
    assert (truth == left_half()).all()


def test_an_image_without_a_mask_has_no_truth(tmp_path: Path) -> None:
    assert find_truth(tmp_path / "images" / "a.jpg", 2) is None


def test_the_truth_is_the_mask_that_the_data_set_finds(tmp_path: Path) -> None:
    for folder, picture in (("images", GREY), ("masks", left_half() * 255)):
        (tmp_path / folder).mkdir()
        Image.fromarray(picture).save(tmp_path / folder / "a.bmp")
    pair = open_folder(tmp_path)[0]
    truth = find_truth(pair.image_path, 2)
    assert truth is not None
    assert (truth == pair.read_labels(2)).all()


@pytest.mark.parametrize("count", [0, 1, 3])
def test_every_image_adds_a_line(tmp_path: Path, count: int) -> None:
    rows = [GalleryRow(f"image{index}", GREY, left_half(), None) for index in range(count)]
    assert draw(tmp_path / "a.png", *rows).shape == (TOP + LINE * count, 704, 3)


def test_a_row_shows_image_mask_and_overlay(tmp_path: Path) -> None:
    image, mask, overlay = tiles(draw(tmp_path / "a.png", GalleryRow("a", GREY, left_half(), None)))
    assert (image == 200).all()
    assert (mask[:, :112] == (0, 114, 178)).all()
    assert (mask[:, 112:] == 0).all()
    # 0.55 * 200 + 0.45 * (0, 114, 178)
    assert (overlay[:, :112] == (110, 161, 190)).all()
    assert (overlay[:, 112:] == 200).all()


def test_the_true_outline_is_white(tmp_path: Path) -> None:
    nothing = np.zeros((56, 28), np.uint8)
    overlay = tiles(draw(tmp_path / "a.png", GalleryRow("a", GREY, nothing, left_half())))[2]
    # The truth ends between columns 111 and 112; its other sides are those of the picture.
    white = (overlay == 255).all(-1)
    assert white[:, 111].all()
    assert white.sum() == TILE


def test_rows_come_in_their_order(tmp_path: Path) -> None:
    rows = [
        GalleryRow(
            str(value), np.full((9, 9, 3), value, np.uint8), np.zeros((9, 9), np.uint8), None
        )
        for value in (10, 20)
    ]
    picture = draw(tmp_path / "a.png", *rows)
    assert (tiles(picture, 0)[0] == 10).all()
    assert (tiles(picture, 1)[0] == 20).all()


def test_sixteen_bits_look_like_eight(tmp_path: Path) -> None:
    image = np.random.default_rng(1).integers(0, 256, (30, 40, 3), np.uint8)
    labels = np.ones((30, 40), np.uint8)
    coarse = draw(tmp_path / "a.png", GalleryRow("a", image, labels, labels))
    fine = draw(tmp_path / "b.png", GalleryRow("a", image.astype(np.uint16) * 257, labels, labels))
    assert np.abs(coarse.astype(int) - fine).max() <= 1


def test_classes_have_colours_of_their_own(tmp_path: Path) -> None:
    labels = np.repeat(np.arange(7, dtype=np.uint8), 8)[None].repeat(56, 0)
    image = np.zeros((56, 56, 3), np.uint8)
    mask = tiles(draw(tmp_path / "a.png", GalleryRow("a", image, labels, None)))[1]
    seen = [tuple(mask[0, 16 + 32 * index].tolist()) for index in range(7)]
    assert seen[0] == (0, 0, 0)
    assert seen[1:6] == [tuple(color) for color in COLORS.astype(int).tolist()]
    assert len(set(seen)) == 6
    assert seen[6] == seen[1]  # the colours begin again


def test_names_of_every_script_are_drawn(tmp_path: Path) -> None:
    blank = draw(tmp_path / "a.png", GalleryRow("", GREY, left_half(), None))
    named = draw(tmp_path / "b.png", GalleryRow("läsion 病変", GREY, left_half(), None))
    assert (blank != named).any()


def comparison(path: Path, *rows: ComparisonRow, **names: str) -> NDArray[np.uint8]:
    draw_comparison(rows, path, **names)
    return np.asarray(Image.open(path))


def test_codes_tell_who_sees_what() -> None:
    reference = np.array([[0, 1, 0, 1, 2, 2]], np.uint8)
    labels = np.array([[0, 1, 1, 0, 2, 1]], np.uint8)
    codes = [0, BOTH, ONLY_DEVICE, ONLY_REFERENCE, BOTH, OTHER_CLASS]
    assert difference_codes(reference, labels).tolist() == [codes]


def test_a_comparison_shows_both_masks_and_where_they_differ(tmp_path: Path) -> None:
    """The reference sees the left half, the device the upper half."""
    upper = np.zeros((56, 28), np.uint8)
    upper[:28] = 1
    row = compare_masks("a", GREY, left_half(), upper)
    assert row.name == "a: 5000.0 of 10,000 pixels differ"
    picture = comparison(tmp_path / "a.png", row)
    assert picture.shape == (TOP + LINE + 24, 4 * 232 + 8, 3)  # the legend is 24 pixels high
    lefts = [GAP + column * (TILE + GAP) for column in range(4)]
    image, fp32, device, difference = (
        picture[TOP : TOP + TILE, left : left + TILE] for left in lefts
    )
    assert (image == 200).all()
    assert (fp32[:, :112] == (0, 114, 178)).all()
    assert (fp32[:, 112:] == 0).all()
    assert (device[:112] == (0, 114, 178)).all()
    assert (device[112:] == 0).all()
    # Marks are one pixel wider on each side.
    quarters = (difference[:111, :111], difference[:111, 113:], difference[113:, :111])
    for quarter, code in zip(quarters, (BOTH, ONLY_DEVICE, ONLY_REFERENCE), strict=True):
        assert (quarter == DIFFERENCE_COLORS[code]).all()
    assert (difference[113:, 113:] == 0).all()
    legend = picture[TOP + LINE :].reshape(-1, 3)
    for code in (BOTH, ONLY_DEVICE, ONLY_REFERENCE):
        assert (legend == DIFFERENCE_COLORS[code]).all(-1).any()
    assert not (legend == DIFFERENCE_COLORS[OTHER_CLASS]).all(-1).any()


def test_one_pixel_of_a_large_photo_is_seen() -> None:
    nothing = np.zeros((1000, 1500), np.uint8)
    for row, column in ((0, 0), (501, 733), (999, 1499)):
        labels = nothing.copy()
        labels[row, column] = 1
        compared = compare_masks("a", np.zeros((1000, 1500, 3), np.uint8), nothing, labels)
        is_corner = (row, column) != (501, 733)
        assert (compared.difference == ONLY_DEVICE).sum() == (4 if is_corner else 9)
        assert compared.difference[row * TILE // 1000, column * TILE // 1500] == ONLY_DEVICE


def test_a_small_image_is_compared_too() -> None:
    labels = np.zeros((2, 3), np.uint8)
    labels[0, 0] = 1
    compared = compare_masks("a", np.zeros((2, 3, 3), np.uint8), np.zeros((2, 3), np.uint8), labels)
    assert (compared.difference[:112, :74] == ONLY_DEVICE).all()
    assert (compared.difference[113:] == 0).all()


def test_the_true_outline_is_drawn_on_the_image_of_a_comparison() -> None:
    nothing = np.zeros((56, 28), np.uint8)
    compared = compare_masks("a", GREY, nothing, nothing, left_half())
    assert (compared.image == 255).all(-1).sum() == TILE
