"""A data set in a folder.

    DIR/images/NAME.jpg      any size, any common format
    DIR/masks/NAME.png       same size as the image; NAME_segmentation or NAME_mask also match
    DIR/train.txt, val.txt, test.txt    optional: one NAME a line

Without lists, names are dealt to the splits by the hash of the name: 70 % train, 10 % val, 20 %
test, the same on every machine and unchanged for old names when images are added.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, UnknownNameError
from .decoding import IMAGE_SUFFIXES
from .images import read_image
from .masks import read_mask

SPLITS = ("train", "val", "test")
MASK_ENDINGS = ("", "_segmentation", "_mask")
SAMPLE_FOLDER = Path(__file__).parent / "isic2016_cc0"
SAMPLE_CLASSES = ("background", "lesion")


@dataclass(frozen=True)
class Pair:
    """One image and its mask; an unlabelled image has no mask."""

    name: str
    image_path: Path
    mask_path: Path | None

    def read_image(self, channels: int = 3) -> NDArray[np.uint8] | NDArray[np.uint16]:
        """See :func:`edgeseg.data.images.read_image`."""
        return read_image(self.image_path, channels)

    def read_labels(self, class_count: int, ignore: int | None = None) -> NDArray[np.uint8]:
        """Class index per pixel, (H, W) of the image.

        Args:
            ignore: As :func:`edgeseg.data.masks.read_mask` takes it.

        Raises:
            DataError: No mask, no usable mask, or a mask of another size.
        """
        if self.mask_path is None:
            raise DataError(
                f"The image {self.image_path} has no mask. Add masks/{self.name}.png, "
                "or use a command that takes unlabelled images."
            )
        labels = read_mask(self.mask_path, class_count, ignore)
        expected = self.read_image().shape[:2]
        if labels.shape != expected:
            raise DataError(
                f"The mask {self.mask_path} is {labels.shape[1]}x{labels.shape[0]} pixels, its "
                f"image {expected[1]}x{expected[0]}. Resize the mask (nearest) to its image."
            )
        return labels

    def read_both(
        self, class_count: int, channels: int = 3, ignore: int | None = None
    ) -> tuple[NDArray[np.uint8] | NDArray[np.uint16], NDArray[np.uint8]]:
        return self.read_image(channels), self.read_labels(class_count, ignore)


@dataclass(frozen=True)
class FolderDataset(Sequence[Pair]):
    """Pairs of one folder, in name order.

    Attributes:
        root: The folder.
        splits: Names of the splits that the pairs come from; empty when all were taken.
        pairs: What was found.
    """

    root: Path
    splits: tuple[str, ...]
    pairs: tuple[Pair, ...]

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        return self.pairs[index]

    def __iter__(self) -> Iterator[Pair]:
        return iter(self.pairs)

    def first(self, count: int | None) -> FolderDataset:
        """The first pairs of this one; all for None."""
        return replace(self, pairs=self.pairs[:count])

    @property
    def is_labelled(self) -> bool:
        return all(pair.mask_path is not None for pair in self.pairs)


def open_folder(root: Path, splits: Sequence[str] = (), *, labelled: bool = True) -> FolderDataset:
    """Open a data folder.

    Args:
        root: Folder as this module describes.
        splits: Of "train", "val", "test"; empty takes every image, listed or not.
        labelled: Whether every image must have a mask.

    Raises:
        DataError: The folder, its images, a listed image or a mask is missing, a name stands
            for two files, or nothing is left.
        UnknownNameError: A split that is none of the three.
    """
    for split in splits:
        if split not in SPLITS:
            raise UnknownNameError("split", split, SPLITS)
    images_folder = root / "images"
    if not images_folder.is_dir():
        raise DataError(
            f"{root} is not a data folder: it has no images/ in it. Put images in "
            f"{images_folder} and masks of the same names in {root / 'masks'}."
        )
    images = _files_by_name(images_folder)
    if not images:
        raise DataError(
            f"{images_folder} holds no image. Kinds read: "
            f"{', '.join(suffix[1:] for suffix in IMAGE_SUFFIXES)}."
        )
    names = sorted(_names_of_splits(root, splits, images))
    if not names:
        raise DataError(
            f"The split {'+'.join(splits)} of {root} is empty: none of its {len(images)} images is "
            f"in it. Write the lists {', '.join(f'{split}.txt' for split in SPLITS)} into the "
            "folder, one name a line."
        )
    masks = _files_by_name(root / "masks") if (root / "masks").is_dir() else {}
    pairs = []
    for name in names:
        found = [masks[name + end] for end in MASK_ENDINGS if name + end in masks]
        if labelled and not found:
            raise DataError(
                f"The image {images[name]} has no mask. Add {root / 'masks' / name}.png or "
                "take the image out of the data set."
            )
        if len(found) > 1:
            raise DataError(
                f"{images[name].name} has two masks, {found[0].name} and {found[1].name}. "
                f"Remove one of them from {root / 'masks'}."
            )
        pairs.append(Pair(name, images[name], found[0] if found else None))
    return FolderDataset(root, tuple(splits), tuple(pairs))


def open_sample(splits: Sequence[str] = ()) -> FolderDataset:
    """Open the sample that the package carries: 93 dermoscopic pairs, CC0."""
    return open_folder(SAMPLE_FOLDER, splits)


def _files_by_name(folder: Path) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.suffix.lower() not in IMAGE_SUFFIXES:
            continue
        if any("\ud800" <= letter <= "\udfff" for letter in path.name):
            raise DataError(f"The name {path.name!r} in {folder} is not UTF-8. Rename the file.")
        if path.stem in files:
            raise DataError(
                f"{files[path.stem].name} and {path.name} in {folder} have one name. "
                "Rename or remove one of them."
            )
        files[path.stem] = path
    return files


def _names_of_splits(root: Path, splits: Sequence[str], images: dict[str, Path]) -> set[str]:
    if not splits:
        return set(images)
    has_lists = any((root / f"{split}.txt").is_file() for split in SPLITS)
    if not has_lists:
        return {name for name in images if split_of_name(name) in splits}
    lists = {split: _read_list(root / f"{split}.txt", images) for split in SPLITS}
    for first, second in itertools.combinations(SPLITS, 2):
        shared = (lists[first] or set()) & (lists[second] or set())
        if shared:
            raise DataError(
                f"{len(shared)} images of {root} are in both {first}.txt and {second}.txt, such as "
                f"{min(shared)}. Take them out of one: a score on images that were trained on "
                "says nothing."
            )
    names: set[str] = set()
    for split in splits:
        listed = lists[split]
        if listed is None:
            raise DataError(
                f"{root} has split lists, but no {split}.txt. Add it, or choose another split."
            )
        names |= listed
    return names


def _read_list(path: Path, images: dict[str, Path]) -> set[str] | None:
    """Names in a split list; None when there is no such list."""
    if not path.is_file():
        return None
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text. Save the list as UTF-8.") from error
    names = {_name_of_line(line.strip()) for line in lines if line.strip()}
    for name in sorted(names):
        if name not in images:
            raise DataError(
                f"{path} names '{name}', but the folder images/ beside it has no such image. "
                "Add the image or remove the line."
            )
    return names


def _name_of_line(line: str) -> str:
    """A list may hold bare names or file names."""
    return Path(line).stem if line.lower().endswith(IMAGE_SUFFIXES) else line


def split_of_name(name: str) -> str:
    """Split of an image in a folder without lists."""
    share = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") / 2**64
    return "train" if share < 0.7 else "val" if share < 0.8 else "test"
