"""Masks as pictures."""

from __future__ import annotations

import io
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from ..contract import resize_plane
from ..storage.atomic import write_bytes
from .folder import MASK_ENDINGS
from .images import IMAGE_SUFFIXES, read_mask

TILE = 224  # pixels, side of a picture
GAP = 8
CAPTION = 16
COLORS = np.array(  # of classes 1, 2, ..., chosen to differ for colour-blind eyes too
    [(0, 114, 178), (230, 159, 0), (0, 158, 115), (204, 121, 167), (86, 180, 233)], np.float32
)
LARGEST_OVERLAY = 1024  # pixels, longest side of a picture to be looked at
TRUTH_COLOR = np.array((255, 255, 255), np.float32)
COLUMNS = ("image", "predicted mask", "overlay (white: true outline)")


@dataclass(frozen=True)
class GalleryRow:
    """One line of the picture.

    Attributes:
        name: Caption.
        image: (H, W, 3), uint8 or uint16.
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


def find_truth(image_path: Path, class_count: int) -> NDArray[np.uint8] | None:
    """True mask of an image that lies in a data folder, beside its masks/."""
    folder = image_path.absolute().parent.parent / "masks"
    for ending, suffix in itertools.product(MASK_ENDINGS, IMAGE_SUFFIXES):
        path = folder / f"{image_path.stem}{ending}{suffix}"
        if path.is_file():
            return read_mask(path, class_count)
    return None


def shrink_row(row: GalleryRow) -> GalleryRow:
    """The row at the size that it is drawn in: a gallery of many photos must fit in memory."""
    small = resize_plane(row.image, TILE, TILE).round()
    truth = None if row.truth is None else _shrink(row.truth)
    if row.image.dtype == np.uint16:
        return GalleryRow(row.name, small.astype(np.uint16), _shrink(row.labels), truth)
    return GalleryRow(row.name, small.astype(np.uint8), _shrink(row.labels), truth)


def draw_gallery(rows: Sequence[GalleryRow], path: Path) -> None:
    """Write one PNG: image, predicted mask and overlay side by side, a line for each image."""
    line = TILE + CAPTION + GAP
    width = len(COLUMNS) * (TILE + GAP) + GAP
    canvas = Image.new("RGB", (width, GAP + CAPTION + line * len(rows)), "white")
    draw = ImageDraw.Draw(canvas)
    for column, title in enumerate(COLUMNS):
        draw.text((GAP + column * (TILE + GAP), GAP // 2), title, fill="black")
    for index, row in enumerate(rows):
        top = GAP + CAPTION + index * line
        for column, tile in enumerate(_tiles(row)):
            canvas.paste(tile, (GAP + column * (TILE + GAP), top))
        draw.text((GAP, top + TILE + 1), row.name, fill="black")
    write_bytes(path, _png(canvas))


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
    image = resize_plane(row.image, TILE, TILE) / scale
    labels = _shrink(row.labels)
    painted = COLORS[(labels.astype(int) - 1) % len(COLORS)]
    found = (labels > 0)[..., None]
    overlay = np.where(found, 0.55 * image + 0.45 * painted, image)
    if row.truth is not None:
        overlay[_outline(_shrink(row.truth))] = TRUTH_COLOR
    pictures = (image, np.where(found, painted, 0), overlay)
    return [Image.fromarray(picture.round().astype(np.uint8)) for picture in pictures]


def _shrink(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    rows = (np.arange(TILE) + 0.5) * labels.shape[0] / TILE
    columns = (np.arange(TILE) + 0.5) * labels.shape[1] / TILE
    result: NDArray[np.uint8] = labels[rows.astype(int)][:, columns.astype(int)]
    return result


def _outline(labels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    inside = np.pad(labels, 1, mode="edge")
    neighbours = (inside[:-2, 1:-1], inside[2:, 1:-1], inside[1:-1, :-2], inside[1:-1, 2:])
    differs = np.any([neighbour != labels for neighbour in neighbours], axis=0)
    return np.asarray(differs & (labels > 0))


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
