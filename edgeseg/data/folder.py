"""A data set in a folder.

    DIR/images/NAME.jpg      any size, any common format; subfolders are part of the name
    DIR/masks/NAME.png       same size as the image; see `layout` for other names
    DIR/train.txt, val.txt, test.txt    optional: one NAME a line

An image and its mask may be volumes or loops of as many pictures, in DICOM or NIfTI: each picture
is a pair then, and the whole file lies in one split.

Without lists, folders named train, val and test decide. Without these, names are dealt to the
splits by the hash of the name: 70 % train, 10 % val, 20 % test, the same on every machine and
unchanged for old names when images are added. DICOM files are dealt by patient, not by name.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..contract import AXIAL, InputContract
from ..errors import DataError, UnknownNameError
from ..progress import Progress
from .images import picture_shape, read_image
from .layout import Layout, find_layout, name_of_line
from .masks import read_mask
from .medical.frames import split_frame
from .medical.readers import describe_left_out, describe_orientations, list_frames, mask_frames

SPLITS = ("train", "val", "test")
SAMPLE_FOLDER = Path(__file__).parent / "isic2016_cc0"
SAMPLE_CLASSES = ("background", "lesion")


@dataclass(frozen=True)
class Pair:
    """One image and its mask; an unlabelled image has no mask."""

    name: str
    image_path: Path
    mask_path: Path | None

    @property
    def file_name(self) -> str:
        """Its name in lists: that of the whole file where the image is a slice or a frame."""
        is_part = split_frame(self.image_path)[1] is not None
        return self.name.rpartition("#")[0] if is_part else self.name

    def read_image(self, inputs: int | InputContract = 3) -> NDArray[np.uint8] | NDArray[np.uint16]:
        """See :func:`edgeseg.data.images.read_image`."""
        return read_image(self.image_path, inputs)

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
        expected = picture_shape(self.image_path)
        if labels.shape != expected:
            raise DataError(
                f"The mask {self.mask_path} is {labels.shape[1]}x{labels.shape[0]} pixels, its "
                f"image {expected[1]}x{expected[0]}. Resize the mask (nearest) to its image."
            )
        return labels

    def read_both(
        self, class_count: int, inputs: int | InputContract = 3, ignore: int | None = None
    ) -> tuple[NDArray[np.uint8] | NDArray[np.uint16], NDArray[np.uint8]]:
        return self.read_image(inputs), self.read_labels(class_count, ignore)


@dataclass(frozen=True)
class FolderDataset(Sequence[Pair]):
    """Pairs of one folder, in name order.

    Attributes:
        root: The folder.
        splits: Names of the splits that the pairs come from; empty when all were taken.
        pairs: What was found.
        left_out: DICOM files among the images that are none, such as reports; see `tell_files`.
    """

    root: Path
    splits: tuple[str, ...]
    pairs: tuple[Pair, ...]
    left_out: tuple[Path, ...] = ()

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


def open_folder(
    root: Path, splits: Sequence[str] = (), *, labelled: bool = True, axis: int = AXIAL
) -> FolderDataset:
    """Open a data folder.

    Args:
        root: Folder as this module describes.
        splits: Of "train", "val", "test"; empty takes every image, listed or not.
        labelled: Whether every image must have a mask.
        axis: Along which volumes are cut; see `edgeseg.contract.InputContract`.

    Raises:
        DataError: The folder, its images, a listed image or a mask is missing, a name stands
            for two files, or nothing is left.
        UnknownNameError: A split that is none of the three.
    """
    for split in splits:
        if split not in SPLITS:
            raise UnknownNameError("split", split, SPLITS)
    layout = find_layout(root)
    names = sorted(_names_of_splits(layout, splits))
    if not names:
        raise DataError(
            f"The split {'+'.join(splits)} of {root} is empty: none of its {len(layout.images)} "
            f"images is in it. Write the lists {', '.join(f'{split}.txt' for split in SPLITS)} "
            "into the folder, one name a line."
        )
    pairs = []
    for name in names:
        image, found = layout.images[name], layout.find_masks(name)
        if labelled and not found:
            raise DataError(
                f"The image {image} has no mask. Add {layout.mask_folder / name}.png or "
                f"take the image out of the data set. {layout.describe_search(name)}"
            )
        if len(found) > 1:
            raise DataError(
                f"{image.name} has two masks, {found[0].name} and {found[1].name}. "
                f"Remove one of them from {found[0].parent}."
            )
        pairs += _pairs_of(name, image, found[0] if found else None, axis)
    return FolderDataset(root, tuple(splits), tuple(pairs), layout.left_out)


def tell_files(dataset: FolderDataset, progress: Progress) -> None:
    """Show which files among the images are none, and which volumes leave open where they lie."""
    texts = describe_left_out(dataset.root, dataset.left_out)
    for text in [*texts, *describe_orientations([pair.image_path for pair in dataset])]:
        with progress.stage("look at the images") as stage:
            stage.note(text)


def _pairs_of(name: str, image: Path, mask: Path | None, axis: int) -> list[Pair]:
    """One pair, or one for each picture of a volume.

    Raises:
        DataError: The mask is a volume of another number of pictures.
    """
    images = list_frames(image, axis)
    if len(images) == 1:
        return [Pair(name, image, mask)]
    masks: Sequence[Path | None] = [None] * len(images)
    if mask is not None:
        masks = mask_frames(mask, len(images), axis)
    if len(masks) != len(images):
        raise DataError(
            f"{image} holds {len(images)} pictures, and its mask {mask} {len(masks)}. Give each "
            "picture its mask, in a file of the same shape."
        )
    return [
        Pair(f"{name}#{split_frame(one)[1]}", one, its)
        for one, its in zip(images, masks, strict=True)
    ]


def open_sample(splits: Sequence[str] = ()) -> FolderDataset:
    """Open the sample that the package carries: 93 dermoscopic pairs, CC0."""
    return open_folder(SAMPLE_FOLDER, splits)


def _names_of_splits(layout: Layout, splits: Sequence[str]) -> set[str]:
    if not splits:
        return set(layout.images)
    if not has_lists(layout.root):
        return {name for name in layout.images if split_without_lists(layout, name) in splits}
    lists = read_lists(layout)
    for first, second in itertools.combinations(SPLITS, 2):
        shared = (lists[first] or set()) & (lists[second] or set())
        if shared:
            raise DataError(
                f"{len(shared)} images of {layout.root} are in both {first}.txt and {second}.txt, "
                f"such as {min(shared)}. Take them out of one: a score on images that were trained "
                "on says nothing."
            )
    names: set[str] = set()
    for split in splits:
        listed = lists[split]
        if listed is None:
            raise DataError(
                f"{layout.root} has split lists, but no {split}.txt. Add it, or choose another "
                "split."
            )
        names |= listed
    return names


def has_lists(root: Path) -> bool:
    """Whether a data folder has one of the three lists."""
    return any((root / f"{split}.txt").is_file() for split in SPLITS)


def split_without_lists(layout: Layout, name: str) -> str:
    """Split of an image by the folder that it lies in, or by the hash of its name; DICOM files by
    that of their patient, whose pictures are in one split."""
    if layout.splits is not None:
        return layout.splits[name]
    return split_of_name(layout.patients.get(name, name))


def read_lists(layout: Layout) -> dict[str, set[str] | None]:
    """Names of the lists, by split; None where there is no such list.

    Raises:
        DataError: A list is no text, or names what is not there.
    """
    return {split: read_list(layout.root / f"{split}.txt", layout) for split in SPLITS}


def read_list(path: Path, layout: Layout) -> set[str] | None:
    """Names in a split list; None when there is no such list.

    Raises:
        DataError: It is no text, or names what is not there.
    """
    if not path.is_file():
        return None
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text. Save the list as UTF-8.") from error
    names = {name_of_line(line.strip(), layout.images) for line in lines if line.strip()}
    for name in sorted(names):
        if name not in layout.images:
            raise DataError(
                f"{path} names '{name}', but the folder images/ beside it has no such image. "
                "Add the image or remove the line."
            )
    return names


def split_of_name(name: str) -> str:
    """Split of an image in a folder without lists."""
    share = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") / 2**64
    return "train" if share < 0.7 else "val" if share < 0.8 else "test"
