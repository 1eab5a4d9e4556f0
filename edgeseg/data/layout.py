"""Where the images and masks of a data folder lie, under the names that people give them."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path, PurePosixPath

from ..errors import DataError
from .decoding import IMAGE_SUFFIXES
from .medical import dicom, readers
from .medical.frames import frame_path, split_frame
from .medical.patients import patient_keys
from .medical.segmented import masks_of_instances

OTHER_SUFFIXES = (".txt", ".csv", ".json", ".md", ".xml", ".zip", ".npy")  # not looked into
SUFFIXES = (*IMAGE_SUFFIXES, *readers.SUFFIXES)
IMAGE_FOLDERS = ("images", "image", "imgs", "img", "imagestr")
# "masks" goes before the others, which must be alone.
MASK_FOLDERS = (
    *("masks", "mask", "labels", "label", "labelstr", "annotations", "segmentations"),
    *("groundtruth", "ground_truth", "gt", "manual", "1st_manual"),
)
SHOWN_FOLDERS = 3  # of those that a message names
MOST_LOOKED_AT = 10_000  # files, to tell which folders hold images
MASK_ENDINGS = (
    *("", "_segmentation", "_mask", "_masks", "_seg", "_gt", "_label", "_labels", "_manual1"),
    *("_manual", "_groundtruth", "_annotation", "-mask"),
)
# What an image's name may have beyond that of its mask, as 21_training and 21_manual1 of DRIVE.
IMAGE_ENDINGS = ("_training", "_test", "_image", "_img", "_0000")
SPLIT_FOLDERS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}


@dataclass(frozen=True)
class Layout:
    """The files of a data folder.

    Attributes:
        root: The folder.
        images: Files by name, in name order: the path below the folder of the images without its
            suffix, in Unicode's composed form (NFC), whichever form the file system has.
        masks: Likewise.
        mask_folder: What to call the place of the masks in a message.
        splits: Split of each image where folders named for them say it; else None.
        left_out: DICOM files among the images that are none, such as reports.
    """

    root: Path
    images: Mapping[str, Path]
    masks: Mapping[str, Path]
    mask_folder: Path
    splits: Mapping[str, str] | None
    left_out: tuple[Path, ...] = ()

    @cached_property
    def patients(self) -> Mapping[str, str]:
        """A key for the images that are DICOM, by name, equal for those of one patient; see
        `edgeseg.data.medical.patients`. It is written nowhere."""
        files = _dicom_files(self.images)
        keys, kind = patient_keys(list(files.values()))
        return {name: f"{kind} {key}" for name, key in zip(files, keys, strict=True) if key}

    @cached_property
    def _segmented(self) -> Mapping[str, list[Path]]:
        """Masks that DICOM segmentations hold of images, by the images' names."""
        masks = _dicom_files(self.masks)
        return masks_of_instances(_dicom_files(self.images), list(masks.values())) if masks else {}

    def find_masks(self, name: str) -> list[Path]:
        """Masks that may be meant for an image: one, or none, or several.

        A segmentation says itself which images it is of; others are known by their names.

        Raises:
            DataError: A segmentation is damaged.
        """
        if name in self._segmented:
            return self._segmented[name]
        for stem in _stems(name):
            found = [self.masks[stem + end] for end in MASK_ENDINGS if stem + end in self.masks]
            if found:
                return found
        return []

    def describe_search(self, name: str) -> str:
        """What was looked for where an image has no mask, as a sentence."""
        stem = PurePosixPath(name).name
        beside = [
            path.name
            for path in (self.mask_folder.rglob("*") if self.mask_folder.is_dir() else ())
            if normal(path.name).startswith(stem) and not is_picture_file(path)
        ]
        if beside:
            return f"{sorted(beside)[0]} lies there, which is of no kind that is read."
        endings = ", ".join(end for end in MASK_ENDINGS if end)
        kinds = ", ".join(suffix[1:] for suffix in SUFFIXES)
        return f"Looked for {stem} and {stem} with {endings} in {self.mask_folder}, as {kinds}."


def find_layout(root: Path) -> Layout:
    """Look for images and masks.

    Raises:
        DataError: There are no images, two files have one name, or several folders may hold the
            masks.
    """
    parts = [("", root)] if _find_folder(root, IMAGE_FOLDERS) else _split_parts(root)
    if not parts:
        inner = [path.name for path in _folders(root).values() if _find_folder(path, IMAGE_FOLDERS)]
        told = (
            f" Its subfolders have: {', '.join(inner[:SHOWN_FOLDERS])}; name one." if inner else ""
        )
        raise DataError(
            f"{root} is not a data folder: it has no images/ in it.{told} Put images in "
            f"{root / 'images'} and masks of the same names in {root / 'masks'}. Looked for "
            f"{', '.join(IMAGE_FOLDERS)}, there and in train/, val/ and test/."
        )
    images: dict[str, Path] = {}
    masks: dict[str, Path] = {}
    mask_folder = root / "masks"
    for prefix, folder in parts:
        image_folder = _find_folder(folder, IMAGE_FOLDERS)
        assert image_folder is not None
        found = files_by_name(image_folder)
        place = _find_mask_folder(folder)
        if place is None:
            own = _masks_beside(found)
            mask_folder = image_folder if own else folder / "masks"
        else:
            own, mask_folder = files_by_name(place), place
        masks |= {prefix + name: path for name, path in own.items()}
        images |= {prefix + name: path for name, path in found.items() if path not in own.values()}
    others = {name: path for name, path in images.items() if not _is_shown(path)}
    shown = {name: path for name, path in sorted(images.items()) if name not in others}
    if not shown:
        folder = _find_folder(parts[0][1], IMAGE_FOLDERS) or root
        texts = readers.describe_left_out(folder, list(others.values()))
        raise DataError(
            f"{folder} holds no image.{''.join(f' {text}.' for text in texts)} Kinds read: "
            f"{', '.join(suffix[1:] for suffix in SUFFIXES)}."
        )
    return Layout(root, shown, masks, mask_folder, _splits_of(shown), tuple(others.values()))


def find_mask_file(image_path: Path) -> Path | None:
    """The mask of an image that lies in a data folder; None where there is none, or several."""
    path, index, axis = split_frame(image_path.absolute())
    for folder in path.parents[:3]:
        if folder.name.lower() in IMAGE_FOLDERS:
            try:
                place = _find_mask_folder(folder.parent)
                holder = folder if place is None else place
                is_there = holder.is_dir()
                files = _known_files(holder, holder.stat().st_mtime_ns) if is_there else {}
                masks = _masks_beside(files) if place is None else files
                name = normal(without_suffix(path.relative_to(folder).as_posix()))
                found = Layout(folder.parent, {name: path}, masks, folder, None).find_masks(name)
            except DataError:
                return None
            mask = found[0] if len(found) == 1 else None
            return mask if mask is None or index is None else frame_path(mask, index, axis)
    return None


def files_by_name(folder: Path) -> dict[str, Path]:
    """Image files below a folder, hidden ones left out, by their name as `Layout.images` has it.

    Raises:
        DataError: Two have one name.
    """
    files: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        inner = path.relative_to(folder)
        is_hidden = any(part.startswith((".", "__MACOSX")) for part in inner.parts)
        if is_hidden or not is_picture_file(path) or not path.is_file():
            continue
        if any("\ud800" <= letter <= "\udfff" for letter in path.name):
            raise DataError(f"The name {path.name!r} in {folder} is not UTF-8. Rename the file.")
        name = normal(without_suffix(inner.as_posix()))
        if name in files:
            raise DataError(
                f"{files[name].name} and {path.name} in {path.parent} have one name. "
                "Rename or remove one of them."
            )
        files[name] = path
    return files


def describe_inner(folder: Path) -> str:
    """What to do with a folder that holds no image itself, as a sentence: its subfolders may."""
    inner: list[str] = []
    looked_at = 0
    for place, names, files in os.walk(folder):
        names[:] = sorted(name for name in names if not name.startswith((".", "__MACOSX")))
        paths = [Path(place, name) for name in sorted(files) if not name.startswith(".")]
        looked_at += len(paths)
        if place != str(folder) and any(
            is_picture_file(path) and _is_shown(path) for path in paths
        ):
            inner.append(Path(place).relative_to(folder).as_posix())
        if len(inner) > SHOWN_FOLDERS or looked_at > MOST_LOOKED_AT:
            break
    if not inner:
        return "Name image files."
    more = ", ..." if len(inner) > SHOWN_FOLDERS else ""
    return (
        f"Its subfolders do: {', '.join(inner[:SHOWN_FOLDERS])}{more}. These are not looked "
        f"into; name them, such as {folder / inner[0]}."
    )


def is_picture_file(path: Path) -> bool:
    """Whether a file is of a kind that is read: by its ending, or by DICOM's header in it."""
    if path.name.lower().endswith(SUFFIXES):
        return True
    if path.suffix.lower() == ".hdr":  # of a pair, for which its reader tells what to do
        return readers.reader_of(path) is not None
    # Scanners write files without an ending, and archives name them by numbers with dots.
    return path.suffix.lower() not in OTHER_SUFFIXES and readers.reader_of(path) is dicom.DicomFile


def _is_shown(path: Path) -> bool:
    """Whether an image is one; those that are named as pictures are not opened for that."""
    return path.suffix.lower() in IMAGE_SUFFIXES or readers.is_shown(path)


def without_suffix(name: str) -> str:
    """A file's name, or a path, without the ending of its kind; others keep theirs."""
    lower = name.lower()
    ending = next((one for one in SUFFIXES if lower.endswith(one)), "")
    return name[: len(name) - len(ending)]


@lru_cache(maxsize=4)
def _known_files(folder: Path, changed_ns: int) -> dict[str, Path]:
    """`files_by_name`, once for many images of one folder."""
    return files_by_name(folder)


def normal(name: str) -> str:
    """A name in Unicode's composed form: macOS writes "ä" as two characters."""
    return unicodedata.normalize("NFC", name)


def name_of_line(line: str, known: Collection[str]) -> str:
    """The name that a line of a split list means: bare, a file name, or a path of the image."""
    text = normal(line.replace("\\", "/"))
    text = without_suffix(text)
    inner = text.partition("/")[2] if text.partition("/")[0].lower() in IMAGE_FOLDERS else text
    return next((one for one in (text, inner, PurePosixPath(text).name) if one in known), text)


def _dicom_files(files: Mapping[str, Path]) -> dict[str, Path]:
    return {
        name: path for name, path in files.items() if readers.reader_of(path) is dicom.DicomFile
    }


def _stems(name: str) -> list[str]:
    """Names that a mask's begins with, the likeliest first."""
    whole = [name, PurePosixPath(name).name]
    return whole + [
        stem[: -len(ending)]
        for stem in whole
        for ending in IMAGE_ENDINGS
        if stem.lower().endswith(ending) and len(stem) > len(ending)
    ]


def _folders(root: Path) -> dict[str, Path]:
    """Folders in a folder, by their names in small letters."""
    if not root.is_dir():
        return {}
    return {path.name.lower(): path for path in sorted(root.iterdir()) if path.is_dir()}


def _find_folder(root: Path, names: Iterable[str]) -> Path | None:
    folders = _folders(root)
    return next((folders[name] for name in names if name in folders), None)


def _find_mask_folder(root: Path) -> Path | None:
    folders = _folders(root)
    found = [folders[name] for name in MASK_FOLDERS if name in folders]
    if len(found) > 1 and found[0].name.lower() != MASK_FOLDERS[0]:
        listing = " and ".join(f"{path.name}/" for path in found)
        raise DataError(
            f"{root} has {listing}, each of which may hold the masks. Rename the one that does to "
            "masks/."
        )
    return found[0] if found else None


def _split_parts(root: Path) -> list[tuple[str, Path]]:
    """Folders named for splits that hold images of their own, with the prefix of their names."""
    return [
        (f"{path.name}/", path)
        for name, path in _folders(root).items()
        if name in SPLIT_FOLDERS and _find_folder(path, IMAGE_FOLDERS)
    ]


def _masks_beside(images: Mapping[str, Path]) -> dict[str, Path]:
    """Files among the images that are the masks of others: a.png and a_mask.png."""
    return {
        name: path
        for name, path in images.items()
        if any(end and name.endswith(end) and name[: -len(end)] in images for end in MASK_ENDINGS)
    }


def _splits_of(names: Iterable[str]) -> dict[str, str] | None:
    splits = {name: SPLIT_FOLDERS.get(name.partition("/")[0].lower()) for name in names}
    if any(split is None or "/" not in name for name, split in splits.items()):
        return None
    return {name: split for name, split in splits.items() if split is not None}
