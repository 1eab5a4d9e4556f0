"""All that is wrong with a data folder at once, and the split that will be used."""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..contract import AXIAL, IGNORED, InputContract, MeanStd
from ..errors import DataError, MissingBackendError
from ..metrics.clusters import counted
from ..progress import SILENT, Progress
from .clusters import Key, cluster_keys
from .depth import describe_depth
from .folder import SPLITS, has_lists, read_list, split_without_lists
from .groups import FILE as GROUPS_FILE
from .groups import read_patients
from .images import read_image
from .layout import Layout, find_layout, name_of_line
from .masks import read_mask
from .medical.frames import file_of, sha256_of_picture
from .medical.readers import (
    describe_left_out,
    describe_orientations,
    is_medical,
    list_frames,
    open_medical,
    require_same_place,
)
from .medical.windows import Window

ANY_WINDOW = Window(0, 1e6)
FEW_IMAGES = 20  # with fewer, a split decides little


@dataclass(frozen=True)
class Finding:
    """One fault, or one thing worth knowing.

    Attributes:
        kind: "image", "mask", "missing mask", "size", "list", "duplicate", "empty mask",
            "unused mask", "patient", "dark", "left out", "place", "orientation" or "split".
        file: What it concerns, below the data folder where it lies there.
        message: A sentence, and what to do.
    """

    kind: str
    file: str
    message: str


@dataclass(frozen=True)
class CheckedFolder:
    """What a check found.

    Attributes:
        root: The data folder.
        images: Number of images.
        class_count: With which masks were read.
        split: How the splits came about, and their sizes, as a sentence.
        split_sizes: Images by split.
        faults: What must be mended before all commands work, or scores mean something.
        notes: What may be meant.
    """

    root: Path
    images: int
    class_count: int
    split: str
    split_sizes: Mapping[str, int]
    faults: tuple[Finding, ...]
    notes: tuple[Finding, ...]

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "root": str(self.root)}


def check_folder(
    root: Path,
    class_count: int = 2,
    ignore: int | None = None,
    channels: int = 3,
    progress: Progress = SILENT,
) -> CheckedFolder:
    """Look at every file of a data folder.

    Args:
        class_count: Of the masks, background included.
        ignore: Value in masks of which nothing is known.
        channels: Of the network's input.

    Raises:
        DataError: It holds no images, or its layout has two meanings.
    """
    layout = find_layout(root)
    checker = _Checker(layout, class_count, ignore, channels)
    with progress.stage("look at the files", total=len(layout.images)) as stage:
        for name, path in layout.images.items():
            checker.look_at(name, path)
            stage.advance()
    checker.look_at_splits()
    checker.look_at_depth()
    checker.tell_files()
    sizes = {split: len(checker.names_of(split)) for split in SPLITS}
    return CheckedFolder(
        root,
        len(layout.images),
        class_count,
        checker.describe_split(sizes),
        sizes,
        tuple(checker.faults),
        tuple(checker.notes),
    )


class _Checker:
    """Collects findings.

    Args:
        layout: Of the folder.
        class_count, ignore, channels: See `check_folder`.
    """

    def __init__(self, layout: Layout, class_count: int, ignore: int | None, channels: int) -> None:
        self.layout = layout
        self.class_count = class_count
        self.ignore = ignore
        self.channels = channels
        self.faults: list[Finding] = []
        self.notes: list[Finding] = []
        self.by_content: dict[bytes, list[str]] = defaultdict(list)
        self.empty: list[str] = []
        self.lists = self._read_lists()

    def fault(self, kind: str, path: Path, message: str) -> None:
        self.faults.append(Finding(kind, self._short(path), message))

    def look_at(self, name: str, path: Path) -> None:
        """One image and its mask."""
        shapes: tuple[int, ...] | None = None
        try:
            shapes, digest = _read_pictures(path, self.channels)
        except (DataError, MissingBackendError) as error:
            self.fault("image", path, str(error))
        else:
            self.by_content[digest].append(name)
        masks = self._find_masks(name)
        if not self.layout.masks:
            return  # is told once
        if not masks:
            self.fault(
                "missing mask",
                path,
                f"The image {path.name} has no mask. {self.layout.describe_search(name)}",
            )
        elif len(masks) > 1:
            listing = " and ".join(mask.name for mask in masks)
            self.fault("mask", path, f"{path.name} has several masks, {listing}. Keep one.")
        else:
            self._look_at_mask(masks[0], shapes)
            self._look_at_place(path, masks[0])

    def look_at_splits(self) -> None:
        """What images have in common, and what the splits lack."""
        split_of = {name: split for split in SPLITS for name in self.names_of(split)}
        for names in self.by_content.values():
            if len(names) > 1:
                self._tell_duplicates(names, split_of)
        self._tell_patients(split_of)
        self._tell_masks()
        used = {file_of(mask) for name in self.layout.images for mask in self._find_masks(name)}
        for mask in sorted(set(self.layout.masks.values()) - used):
            message = f"The mask {mask.name} belongs to no image."
            self.notes.append(Finding("unused mask", self._short(mask), message))
        for split in SPLITS:
            if not self.names_of(split):
                message = (
                    f"The split {split} is empty. Write its names into {split}.txt, one a line; "
                    "where one list exists, the others are not made by themselves."
                )
                path = self.layout.root / f"{split}.txt"
                # Some folders are for testing only.
                is_meant = self.lists is not None and not path.is_file()
                findings = self.notes if is_meant else self.faults
                findings.append(Finding("split", path.name, message))
        unlisted = len(self.layout.images) - len(split_of)
        if self.lists is not None and unlisted:
            message = f"{unlisted} of {len(self.layout.images)} images are in none of the lists."
            self.notes.append(Finding("split", self._short(self.layout.root), message))

    def _find_masks(self, name: str) -> list[Path]:
        """See `Layout.find_masks`; a damaged segmentation is told once."""
        try:
            return self.layout.find_masks(name)
        except (DataError, MissingBackendError) as error:
            if str(error) not in {fault.message for fault in self.faults}:
                self.fault("mask", self.layout.mask_folder, str(error))
            return []

    def look_at_depth(self) -> None:
        """Whether the images use their 16 bits."""
        paths = list(self.layout.images.values())
        means = MeanStd((0.0,) * self.channels, (1.0,) * self.channels)
        text = describe_depth(paths, InputContract(8, 8, 8, means, channels=self.channels))
        if text is not None:
            message = f"{text[0].upper()}{text[1:]}."
            self.notes.append(Finding("dark", paths[0].parent.name, message))

    def tell_files(self) -> None:
        """DICOM files that are no images, and volumes that leave open where they lie."""
        left_out = self.layout.left_out
        for text in describe_left_out(self.layout.root, left_out):
            self.notes.append(Finding("left out", self._short(left_out[0].parent), f"{text}."))
        files = [*self.layout.images.values(), *self.layout.masks.values()]
        for text in describe_orientations(files):
            self.notes.append(Finding("orientation", self._short(files[0].parent), f"{text}."))

    def names_of(self, split: str) -> set[str]:
        """Images of a split."""
        if self.lists is not None:
            return self.lists[split]
        images = self.layout.images
        return {name for name in images if split_without_lists(self.layout, name) == split}

    def describe_split(self, sizes: Mapping[str, int]) -> str:
        """Such as "no lists: 70/10/20 by hash: 67/6/20; fewer than 20 val images ..."."""
        counts = "/".join(str(sizes[split]) for split in SPLITS)
        if self.lists is not None:
            how = f"by the lists train.txt, val.txt and test.txt: {counts}"
        elif self.layout.splits is not None:
            how = f"no lists: by the folders that are named for the splits: {counts}"
        else:
            how = f"no lists: 70/10/20 by hash: {counts}"
        few = [split for split in SPLITS[1:] if 0 < sizes[split] < FEW_IMAGES]
        warning = f"; fewer than {FEW_IMAGES} {' and '.join(few)} images decide little"
        return how + (warning if few else "")

    def _look_at_mask(self, path: Path, image_shape: tuple[int, ...] | None) -> None:
        """A mask of one picture or of several, beside (number, rows, columns) of its image."""
        try:
            frames = [
                read_mask(frame, self.class_count, self.ignore) for frame in list_frames(path)
            ]
            labels = np.stack(frames)
        except (DataError, MissingBackendError) as error:
            self.fault("mask", path, str(error))
            return
        if image_shape is not None and len(labels) != image_shape[0]:
            self.fault(
                "size",
                path,
                f"The mask {path.name} holds {len(labels)} pictures, its image {image_shape[0]}. "
                "Save as many masks as pictures.",
            )
        elif image_shape is not None and labels.shape != image_shape:
            sizes = [f"{shape[2]}x{shape[1]}" for shape in (labels.shape, image_shape)]
            self.fault(
                "size",
                path,
                f"The mask {path.name} is {sizes[0]} pixels, its image {sizes[1]}. Resize the mask "
                "(nearest) to its image.",
            )
        if not _has_foreground(labels, self.ignore):
            self.empty.append(self._short(path))

    def _look_at_place(self, image: Path, mask: Path) -> None:
        """Whether a mask lies where its image does; other faults of theirs are told already."""
        if not any(fault.file in map(self._short, (image, mask)) for fault in self.faults):
            try:
                require_same_place(image, mask)
            except (DataError, MissingBackendError) as error:
                self.fault("place", mask, str(error))

    def _tell_masks(self) -> None:
        if not self.layout.masks:
            name = next(iter(self.layout.images))
            self.fault(
                "missing mask",
                self.layout.mask_folder,
                f"No image has a mask. {self.layout.describe_search(name)} Without masks, images "
                "serve adapt, calibration and distill --unlabeled only.",
            )
        for file in self.empty:
            self.notes.append(Finding("empty mask", file, "The mask holds background only."))
        masks = len(self.layout.masks)
        if self.empty and len(self.empty) == masks:
            self.fault(
                "empty mask",
                self.layout.mask_folder,
                f"All {masks} masks hold background only. Check what their values mean.",
            )

    def _tell_duplicates(self, names: list[str], split_of: Mapping[str, str]) -> None:
        where = [f"{name} ({split_of.get(name, 'no split')})" for name in names]
        path = self.layout.images[names[0]]
        if len({split_of[name] for name in names if name in split_of}) > 1:
            self.fault(
                "duplicate",
                path,
                f"One picture is in several splits: {', '.join(where)}. Keep one of them: a score "
                "on images that were trained on says nothing.",
            )
        else:
            message = f"One picture is there several times: {', '.join(where)}."
            self.notes.append(Finding("duplicate", self._short(path), message))

    def _tell_patients(self, split_of: Mapping[str, str]) -> None:
        """Patients whose images are in several splits; by their images, as they have no names."""
        names = [name for name in self.layout.images if name in split_of]
        try:
            patients = read_patients(self.layout.root, names)
        except DataError as error:
            self.fault("patient", self.layout.root / GROUPS_FILE, str(error))
            return
        keys = cluster_keys([self.layout.images[name] for name in names], patients)
        first: dict[Key, str] = {}
        told: set[Key] = set()
        for name, key in zip(names, keys, strict=True):
            other = first.setdefault(key, name)
            if split_of[other] != split_of[name] and key not in told:
                told.add(key)
                self.fault(
                    "patient",
                    self.layout.images[name],
                    f"{other} ({split_of[other]}) and {name} ({split_of[name]}) are of one "
                    f"{counted(1, key[0])[2:]}. Put all of its images into one split: a score on "
                    "patients that were trained on says little of others.",
                )

    def _read_lists(self) -> dict[str, set[str]] | None:
        """Names of the lists as far as they are right; None where there are none."""
        root = self.layout.root
        if not has_lists(root):
            return None
        lists: dict[str, set[str]] = {}
        for split in SPLITS:
            path = root / f"{split}.txt"
            try:
                lists[split] = read_list(path, self.layout) or set()
            except DataError as error:
                self.fault("list", path, str(error))
                lists[split] = set(_known_names(path, self.layout))
        for first, second in itertools.combinations(SPLITS, 2):
            if shared := lists[first] & lists[second]:
                self.fault(
                    "list",
                    root / f"{second}.txt",
                    f"{len(shared)} images are in both {first}.txt and {second}.txt, such as "
                    f"{min(shared)}. Take them out of one.",
                )
        return lists

    def _short(self, path: Path) -> str:
        root = self.layout.root
        return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def _known_names(path: Path, layout: Layout) -> Iterator[str]:
    """Names of a faulty list that are images."""
    for line in path.read_text(encoding="utf-8-sig", errors="replace").splitlines():
        name = name_of_line(line.strip(), layout.images)
        if name in layout.images:
            yield name


def _has_foreground(labels: NDArray[np.uint8], ignore: int | None) -> bool:
    known = labels > 0 if ignore is None else (labels > 0) & (labels != IGNORED)
    return bool(known.any())


def count_kinds(findings: tuple[Finding, ...]) -> dict[str, int]:
    """How many findings of each kind there are, the most frequent first."""
    return dict(Counter(finding.kind for finding in findings).most_common())


def _read_pictures(path: Path, channels: int) -> tuple[tuple[int, ...], bytes]:
    """(number, rows, columns) of a file's pictures, and a digest of them.

    No window is known here: of medical files it is looked whether they are decoded.

    Raises:
        DataError: One of them is not.
    """
    opened = open_medical(path) if is_medical(path) else None
    if opened is None:
        pixels = read_image(path, channels)
        content = hashlib.sha256(f"{pixels.shape} {pixels.dtype}".encode())
        content.update(np.ascontiguousarray(pixels).data)
        return (1, *pixels.shape[:2]), content.digest()
    count = opened.count(AXIAL)
    for index in range(count):
        opened.picture(index, AXIAL, ANY_WINDOW, None)
    return (count, *opened.shape(AXIAL)), sha256_of_picture(path).encode()
