"""Data folders as people lay them out: each pair is found, or the message says what was tried."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgeseg.data.folder import open_folder
from edgeseg.data.layout import MASK_ENDINGS, MASK_FOLDERS, describe_inner, find_mask_file
from edgeseg.errors import DataError


def write(root: Path, *files: str) -> Path:
    """Pictures of four pixels; black and white where the name is a mask's."""
    for index, file in enumerate(files):
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((2, 2), index, np.uint8)).save(path)
    return root


def pairs_of(root: Path, *splits: str) -> dict[str, str | None]:
    return {
        pair.name: None if pair.mask_path is None else pair.mask_path.relative_to(root).as_posix()
        for pair in open_folder(root, splits)
    }


@pytest.mark.parametrize("folder", [*MASK_FOLDERS, "Labels"])
def test_masks_lie_in_a_folder_of_any_usual_name(tmp_path: Path, folder: str) -> None:
    write(tmp_path, "images/a.png", f"{folder}/a.png")
    assert pairs_of(tmp_path) == {"a": f"{folder}/a.png"}


@pytest.mark.parametrize("ending", MASK_ENDINGS)
def test_masks_have_any_usual_ending(tmp_path: Path, ending: str) -> None:
    write(tmp_path, "imgs/a.jpg", f"masks/a{ending}.gif")
    assert pairs_of(tmp_path) == {"a": f"masks/a{ending}.gif"}


def test_the_names_of_drive_and_nnunet(tmp_path: Path) -> None:
    write(tmp_path / "drive", "images/21_training.tif", "1st_manual/21_manual1.gif")
    assert pairs_of(tmp_path / "drive") == {"21_training": "1st_manual/21_manual1.gif"}
    write(tmp_path / "nnunet", "imagesTr/case_7_0000.png", "labelsTr/case_7.png")
    assert pairs_of(tmp_path / "nnunet") == {"case_7_0000": "labelsTr/case_7.png"}


def test_masks_may_lie_beside_their_images(tmp_path: Path) -> None:
    write(tmp_path, "images/a (1).png", "images/a (1)_mask.png", "images/b.png", "images/b_gt.png")
    assert pairs_of(tmp_path) == {"a (1)": "images/a (1)_mask.png", "b": "images/b_gt.png"}


def test_masks_goes_before_other_folders_and_two_others_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "images/a.png", "labels/a.png", "gt/a.png")
    with pytest.raises(DataError, match=r"labels/ and gt/, each of .* Rename the one .* masks/"):
        open_folder(tmp_path)
    write(tmp_path, "masks/a.png")
    assert pairs_of(tmp_path) == {"a": "masks/a.png"}


def test_subfolders_are_part_of_the_names(tmp_path: Path) -> None:
    write(tmp_path, "images/one/a.png", "images/two/a.png", "masks/one/a.png", "masks/two/a.png")
    (tmp_path / "train.txt").write_text("one/a.png\n")
    (tmp_path / "test.txt").write_text("images/two/a.png\n")
    assert pairs_of(tmp_path) == {"one/a": "masks/one/a.png", "two/a": "masks/two/a.png"}
    assert pairs_of(tmp_path, "train") == {"one/a": "masks/one/a.png"}
    assert pairs_of(tmp_path, "test") == {"two/a": "masks/two/a.png"}


def test_masks_of_subfolders_may_lie_flat(tmp_path: Path) -> None:
    write(tmp_path, "images/one/a.png", "masks/a_mask.png")
    assert pairs_of(tmp_path) == {"one/a": "masks/a_mask.png"}


def test_folders_named_for_splits_are_the_splits(tmp_path: Path) -> None:
    names = ("train/a", "valid/b", "test/c")
    write(tmp_path / "inner", *(f"{part}/{name}.png" for name in names for part in IMAGES_MASKS))
    outer = [f"{name[:-2]}/{part}/{name[-1]}.png" for name in names for part in IMAGES_MASKS]
    write(tmp_path / "outer", *outer)
    for root in (tmp_path / "inner", tmp_path / "outer"):
        assert set(pairs_of(root, "train")) == {"train/a"}
        assert set(pairs_of(root, "val")) == {"valid/b"}
        assert set(pairs_of(root, "test")) == {"test/c"}


IMAGES_MASKS = ("images", "masks")


@pytest.mark.parametrize("forms", [("NFC", "NFD", "NFC"), ("NFD", "NFC", "NFD")])
def test_names_are_equal_in_either_form_of_unicode(
    tmp_path: Path, forms: tuple[str, str, str]
) -> None:
    image, mask, line = (unicodedata.normalize(form, "läsion") for form in forms)
    write(tmp_path, f"images/{image}.png", f"masks/{mask}.png")
    (tmp_path / "train.txt").write_text(f"{line}\n", encoding="utf-8")
    composed = unicodedata.normalize("NFC", "läsion")
    assert set(pairs_of(tmp_path, "train")) == {composed}
    assert find_mask_file(tmp_path / "images" / f"{image}.png") is not None


def test_a_missing_mask_tells_what_was_looked_for(tmp_path: Path) -> None:
    write(tmp_path, "images/a.png", "labels/b.png")
    with pytest.raises(
        DataError,
        match=r"Looked for a and a with _segmentation, .*_manual1.* in .*labels, as .*gif",
    ):
        open_folder(tmp_path)
    (tmp_path / "labels" / "a.npy").write_bytes(b"")
    with pytest.raises(DataError, match=r"a\.npy lies there, which is of no kind that is read"):
        open_folder(tmp_path)


def test_a_folder_without_images_tells_which_names_were_tried(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"Looked for images, image, imgs, .* and in train/, val/"):
        open_folder(tmp_path)


def test_a_folder_of_data_folders_names_them(tmp_path: Path) -> None:
    write(tmp_path, "one/images/a.png", "two/img/a.png", "three/a.png")
    with pytest.raises(DataError, match=r"Its subfolders have: one, two; name one\. Put images in"):
        open_folder(tmp_path)


def test_a_folder_of_folders_of_images_names_these(tmp_path: Path) -> None:
    write(tmp_path, "b/deep/2.png", "a/1.png", ".hidden/3.png")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "note.txt").write_text("text")
    assert describe_inner(tmp_path) == (
        "Its subfolders do: a, b/deep. These are not looked into; name them, such as "
        f"{tmp_path / 'a'}."
    )
    write(tmp_path, "c/1.png", "d/1.png", "e/1.png")
    assert describe_inner(tmp_path).startswith("Its subfolders do: a, b/deep, c, .... These")
    assert describe_inner(tmp_path / "empty") == "Name image files."


def test_the_mask_of_an_image_in_any_layout(tmp_path: Path) -> None:
    write(tmp_path, "images/one/a.png", "labels/one/a_seg.png", "images/b.png")
    assert find_mask_file(tmp_path / "images/one/a.png") == tmp_path / "labels/one/a_seg.png"
    assert find_mask_file(tmp_path / "images/b.png") is None
    assert find_mask_file(tmp_path / "elsewhere.png") is None
