"""Masks as pictures."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ..contract import IGNORED, resize_plane
from ..storage.atomic import write_bytes
from .layout import find_mask_file
from .masks import read_mask

TILE = 224  # pixels, side of a picture
GAP = 8
CAPTION = 16
COLORS = np.array(  # of classes 1, 2, ..., chosen to differ for colour-blind eyes too
    [(0, 114, 178), (230, 159, 0), (0, 158, 115), (204, 121, 167), (86, 180, 233)], np.float32
)
LARGEST_OVERLAY = 1024  # pixels, longest side of a picture to be looked at
TRUTH_COLOR = np.array((255, 255, 255), np.float32)
FONT_SIZE = 12  # pixels
STRIP_QUALITY = 60
BOTH, ONLY_DEVICE, ONLY_REFERENCE, OTHER_CLASS = 1, 2, 3, 4
# Of these codes, background first; the middle ones differ for colour-blind eyes too.
DIFFERENCE_COLORS = np.array(
    [(0, 0, 0), (90, 90, 90), (230, 159, 0), (86, 180, 233), (204, 121, 167)], np.uint8
)
COLUMNS = ("image", "predicted mask", "overlay (white: true outline)")


@dataclass(frozen=True)
class GalleryRow:
    """One line of the picture.

    Attributes:
        name: Caption.
        image: (H, W, C), uint8 or uint16.
        labels: Predicted classes, (H, W).
        truth: True classes, (H, W); None when unknown.
    """

    name: str
    image: NDArray[np.uint8] | NDArray[np.uint16]
    labels: NDArray[np.uint8]
    truth: NDArray[np.uint8] | None


def write_mask(path: Path, labels: NDArray[np.uint8], class_count: int) -> None:
    """Write classes as a grey PNG: 0 and 255 for two classes, the index for more."""
    values = labels * 255 if class_count == 2 else labels
    write_bytes(path, _png(Image.fromarray(values.astype(np.uint8))))


def find_truth(
    image_path: Path, class_count: int, ignore: int | None = None
) -> NDArray[np.uint8] | None:
    """True mask of an image that lies in a data folder, beside its masks/.

    Pixels of which nothing is known are shown as background.
    """
    path = find_mask_file(image_path)
    if path is None:
        return None
    labels = read_mask(path, class_count, ignore)
    if ignore is not None:
        labels[labels == IGNORED] = 0
    return labels


def rgb_of(image: NDArray[Any]) -> NDArray[Any]:
    """What to show, (H, W, 3), of an image (H, W, C): its first three bands, or the first alone."""
    bands = image[..., None] if image.ndim == 2 else image
    return bands[..., :3] if bands.shape[2] >= 3 else np.repeat(bands[..., :1], 3, axis=2)


def shrink_row(row: GalleryRow) -> GalleryRow:
    """The row at the size that it is drawn in: a gallery of many photos must fit in memory."""
    small = resize_plane(rgb_of(row.image), TILE, TILE).round()
    truth = None if row.truth is None else _shrink(row.truth)
    if row.image.dtype == np.uint16:
        return GalleryRow(row.name, small.astype(np.uint16), _shrink(row.labels), truth)
    return GalleryRow(row.name, small.astype(np.uint8), _shrink(row.labels), truth)


def draw_gallery(rows: Sequence[GalleryRow], path: Path) -> None:
    """Write one PNG: image, predicted mask and overlay side by side, a line for each image."""
    lines = [(row.name, _tiles(row)) for row in rows]
    write_bytes(path, _png(_draw_lines(COLUMNS, lines)))


@dataclass(frozen=True)
class ComparisonRow:
    """One line of a comparison, at the size that it is drawn in.

    Attributes:
        name: Caption.
        image: (TILE, TILE, 3), values 0..255, with the true outline where that is known.
        reference: Classes of the FP32 reference, (TILE, TILE).
        labels: Classes of the device, (TILE, TILE).
        difference: `BOTH`, `ONLY_DEVICE`, ... of each pixel, (TILE, TILE).
    """

    name: str
    image: NDArray[np.float32]
    reference: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    difference: NDArray[np.uint8]


def compare_masks(
    name: str,
    image: NDArray[np.uint8] | NDArray[np.uint16],
    reference: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    truth: NDArray[np.uint8] | None = None,
) -> ComparisonRow:
    """Line of a comparison of two masks of one image, with the number of pixels that differ.

    Where a drawn pixel stands for several, it is marked when any of them differs, and so are its
    neighbours: a difference of one pixel can be seen in a large photo. The number in the caption
    counts the pixels themselves.

    Args:
        image: (H, W, 3).
        reference, labels, truth: Classes, (H, W).
    """
    codes = difference_codes(reference, labels)
    flips = 1e4 * float(np.mean(codes >= ONLY_DEVICE))
    scale = np.float32(257.0 if image.dtype == np.uint16 else 1)
    picture = resize_plane(rgb_of(image), TILE, TILE) / scale
    if truth is not None:
        picture[_outline(_shrink(truth))] = TRUTH_COLOR
    marks = _widen(_largest(np.where(codes >= ONLY_DEVICE, codes, 0).astype(np.uint8)))
    return ComparisonRow(
        f"{name}: {flips:.1f} of 10,000 pixels differ",
        picture,
        _shrink(reference),
        _shrink(labels),
        np.where(marks > 0, marks, _shrink(codes)),
    )


def difference_codes(reference: NDArray[np.uint8], labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """0 where both see background, else `BOTH`, `ONLY_DEVICE`, `ONLY_REFERENCE`, `OTHER_CLASS`."""
    codes = np.where((reference > 0) & (labels > 0), OTHER_CLASS, 0)
    codes[(reference == labels) & (labels > 0)] = BOTH
    codes[(reference == 0) & (labels > 0)] = ONLY_DEVICE
    codes[(reference > 0) & (labels == 0)] = ONLY_REFERENCE
    return codes.astype(np.uint8)


def draw_comparison(
    rows: Sequence[ComparisonRow], path: Path, *, reference: str = "FP32", device: str = "device"
) -> None:
    """Write one PNG: image, mask of the reference, mask of the device, their difference.

    Args:
        reference, device: What made the masks, for the titles and the legend.
    """
    titles = ("image (white: true outline)", f"{reference} mask", f"{device} mask", "difference")
    lines = [(row.name, _comparison_tiles(row)) for row in rows]
    legend = [
        (BOTH, "both"),
        (ONLY_DEVICE, f"only {device} (false positive)"),
        (ONLY_REFERENCE, f"only {reference} (false negative)"),
    ]
    if any((row.difference == OTHER_CLASS).any() for row in rows):
        legend.append((OTHER_CLASS, "another class"))
    write_bytes(path, _png(_draw_lines(titles, lines, legend)))


def _comparison_tiles(row: ComparisonRow) -> list[Image.Image]:
    pictures = (row.image, _mask_picture(row.reference), _mask_picture(row.labels))
    tiles = [Image.fromarray(picture.round().astype(np.uint8)) for picture in pictures]
    return [*tiles, Image.fromarray(DIFFERENCE_COLORS[row.difference])]


def comparison_strip(row: ComparisonRow) -> bytes:
    """The tiles of a comparison side by side, as a small WebP file for pages."""
    tiles = _comparison_tiles(row)
    strip = Image.new("RGB", (len(tiles) * TILE, TILE))
    for index, tile in enumerate(tiles):
        strip.paste(tile, (index * TILE, 0))
    buffer = io.BytesIO()
    strip.save(buffer, "WEBP", quality=STRIP_QUALITY)
    return buffer.getvalue()


def _draw_lines(
    titles: Sequence[str],
    lines: Sequence[tuple[str, Sequence[Image.Image]]],
    legend: Sequence[tuple[int, str]] = (),
) -> Image.Image:
    """Pictures in lines under their titles, each line with its caption, and a legend below."""
    line = TILE + CAPTION + GAP
    width = len(titles) * (TILE + GAP) + GAP
    height = GAP + CAPTION + line * len(lines) + (CAPTION + GAP if legend else 0)
    canvas = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(size=FONT_SIZE)
    for column, title in enumerate(titles):
        draw.text((GAP + column * (TILE + GAP), GAP // 2), title, fill="black", font=font)
    for index, (name, tiles) in enumerate(lines):
        top = GAP + CAPTION + index * line
        for column, tile in enumerate(tiles):
            canvas.paste(tile, (GAP + column * (TILE + GAP), top))
        draw.text((GAP, top + TILE + 1), name, fill="black", font=font)
    left, top = float(GAP), height - CAPTION - GAP // 2
    for code, text in legend:
        color = tuple(DIFFERENCE_COLORS[code].tolist())
        draw.rectangle((left, top, left + FONT_SIZE, top + FONT_SIZE), fill=color, outline="black")
        left += FONT_SIZE + GAP
        draw.text((left, top - 1), text, fill="black", font=font)
        left += draw.textlength(text, font=font) + 3 * GAP
    return canvas


def paint_overlay(
    image: NDArray[np.uint8] | NDArray[np.uint16], labels: NDArray[np.uint8]
) -> Image.Image:
    """The image with each class painted in its colour.

    Args:
        image: (H, W, 3).
        labels: Class of each pixel, (H, W).

    Returns:
        At the image's shape, no side longer than `LARGEST_OVERLAY`.
    """
    image = rgb_of(image)
    scale = np.float32(257.0 if image.dtype == np.uint16 else 1.0)
    picture = Image.fromarray((image / scale).round().astype(np.uint8))
    classes = Image.fromarray(labels)
    if max(picture.size) > LARGEST_OVERLAY:
        picture.thumbnail((LARGEST_OVERLAY, LARGEST_OVERLAY))
        classes = classes.resize(picture.size, Image.Resampling.NEAREST)
    return Image.fromarray(_painted(np.asarray(picture, np.float32), np.asarray(classes)))


def _painted(image: NDArray[np.float32], labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Colours of classes over an image of values 0..255."""
    painted = COLORS[(labels.astype(int) - 1) % len(COLORS)]
    mixed = np.where((labels > 0)[..., None], 0.55 * image + 0.45 * painted, image)
    return mixed.round().astype(np.uint8)


def _tiles(row: GalleryRow) -> list[Image.Image]:
    scale = np.float32(257.0 if row.image.dtype == np.uint16 else 1.0)
    image = resize_plane(rgb_of(row.image), TILE, TILE) / scale
    labels = _shrink(row.labels)
    painted = COLORS[(labels.astype(int) - 1) % len(COLORS)]
    overlay = np.where((labels > 0)[..., None], 0.55 * image + 0.45 * painted, image)
    if row.truth is not None:
        overlay[_outline(_shrink(row.truth))] = TRUTH_COLOR
    pictures = (image, _mask_picture(labels), overlay)
    return [Image.fromarray(picture.round().astype(np.uint8)) for picture in pictures]


def _shrink(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    rows = (np.arange(TILE) + 0.5) * labels.shape[0] / TILE
    columns = (np.arange(TILE) + 0.5) * labels.shape[1] / TILE
    result: NDArray[np.uint8] = labels[rows.astype(int)][:, columns.astype(int)]
    return result


def _largest(values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """As `_shrink`, with the largest of the values that a drawn pixel stands for."""
    for axis in (0, 1):
        starts = np.arange(TILE) * values.shape[axis] // TILE
        if values.shape[axis] < TILE:
            values = np.take(values, starts, axis)
        else:
            values = np.maximum.reduceat(values, starts, axis)
    return values


def _widen(values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The largest of each value and its eight neighbours."""
    padded = np.pad(values, 1)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3))
    return np.asarray(windows.max((2, 3)))


def _mask_picture(labels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Classes in their colours on black, (H, W, 3)."""
    painted = COLORS[(labels.astype(int) - 1) % len(COLORS)]
    return np.where((labels > 0)[..., None], painted, np.float32(0))


def _outline(labels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    inside = np.pad(labels, 1, mode="edge")
    neighbours = (inside[:-2, 1:-1], inside[2:, 1:-1], inside[1:-1, :-2], inside[1:-1, 2:])
    differs = np.any([neighbour != labels for neighbour in neighbours], axis=0)
    return np.asarray(differs & (labels > 0))


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
