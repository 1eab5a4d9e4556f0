"""Data folders: which image meets which mask in which split, and what each refusal advises."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from edgeseg.data.folder import SPLITS, open_folder, open_sample, split_of_name
from edgeseg.errors import DataError, UnknownNameError

MakeFolder = Callable[..., Path]


def names_of(root: Path, *splits: str, labelled: bool = True) -> list[str]:
    return [pair.name for pair in open_folder(root, splits, labelled=labelled)]


def write_lists(root: Path, **lists: str) -> None:
    for split, text in lists.items():
        (root / f"{split}.txt").write_text(text, encoding="utf-8")


def test_pairs_come_in_name_order(make_data_folder: MakeFolder) -> None:
    dataset = open_folder(make_data_folder(3))
    assert [pair.name for pair in dataset] == ["pair0", "pair1", "pair2"]
    assert len(dataset) == 3
    assert dataset[2].name == "pair2"
    assert dataset.splits == ()
    assert dataset.is_labelled


def test_a_pair_reads_its_image_and_its_labels(make_data_folder: MakeFolder) -> None:
    pair = open_folder(make_data_folder(1, (40, 56)))[0]
    image, labels = pair.read_both(2)
    assert image.shape == (40, 56, 3)
    assert labels.shape == (40, 56)
    assert np.unique(labels).tolist() == [0, 1]
    # The disc is darker than its ground.
    assert image[labels == 1].mean() + 50 < image[labels == 0].mean()


@pytest.mark.parametrize("ending", ["_segmentation", "_mask"])
def test_masks_may_have_the_usual_endings(make_data_folder: MakeFolder, ending: str) -> None:
    root = make_data_folder(2)
    for mask in sorted((root / "masks").iterdir()):
        mask.rename(mask.with_stem(mask.stem + ending))
    assert open_folder(root)[1].mask_path == root / "masks" / f"pair1{ending}.png"


def test_what_is_no_image_is_passed_over(make_data_folder: MakeFolder) -> None:
    root = make_data_folder(1)
    for name in ("Thumbs.db", "readme.txt", ".hidden.png"):
        (root / "images" / name).touch()
    assert names_of(root) == ["pair0"]


def test_suffixes_may_be_capitals(make_data_folder: MakeFolder) -> None:
    root = make_data_folder(1)
    (root / "images" / "pair0.png").rename(root / "images" / "pair0.PNG")
    assert names_of(root) == ["pair0"]


def test_a_folder_without_images_says_where_they_belong(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no images/ in it\. Put images in .*and masks"):
        open_folder(tmp_path)


def test_an_empty_folder_names_the_kinds_that_are_read(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    with pytest.raises(DataError, match=r"holds no image\. Kinds read: jpg, jpeg, png"):
        open_folder(tmp_path)


def test_two_files_of_one_name_are_refused(make_data_folder: MakeFolder) -> None:
    root = make_data_folder(1)
    Image.new("RGB", (4, 4)).save(root / "images" / "pair0.jpg")
    with pytest.raises(DataError, match=r"pair0\.jpg and pair0\.png .* Rename or remove one"):
        open_folder(root)


def test_two_masks_of_one_image_are_refused(make_data_folder: MakeFolder) -> None:
    root = make_data_folder(1)
    Image.new("L", (56, 40)).save(root / "masks" / "pair0_mask.png")
    with pytest.raises(DataError, match="pair0_mask"):
        open_folder(root)


def test_a_missing_mask_is_refused_where_masks_are_needed(make_data_folder: MakeFolder) -> None:
    root = make_data_folder(2)
    (root / "masks" / "pair1.png").unlink()
    with pytest.raises(DataError, match=r"pair1\.png has no mask\. Add .*masks/pair1\.png or take"):
        open_folder(root)
    dataset = open_folder(root, labelled=False)
    assert not dataset.is_labelled
    assert [pair.mask_path is None for pair in dataset] == [False, True]
    with pytest.raises(DataError, match=r"has no mask\. Add masks/pair1\.png, or use a command"):
        dataset[1].read_labels(2)


def test_images_alone_will_do_for_unlabelled_work(make_data_folder: MakeFolder) -> None:
    assert names_of(make_data_folder(2, masks=False), labelled=False) == ["pair0", "pair1"]


def test_a_mask_of_another_size_is_refused(make_data_folder: MakeFolder) -> None:
    root = make_data_folder(1, (40, 56))
    Image.new("L", (28, 20)).save(root / "masks" / "pair0.png")
    with pytest.raises(DataError, match=r"is 28x20 pixels, its image 56x40\. Resize the mask"):
        open_folder(root)[0].read_labels(2)


def test_lists_decide_the_splits(make_data_folder: MakeFolder) -> None:
    root = make_data_folder(4)
    write_lists(root, train="pair3\npair0\n", test="\n  pair1.png  \r\n\n")
    assert names_of(root, "train") == ["pair0", "pair3"]
    assert names_of(root, "test") == ["pair1"]
    assert names_of(root, "train", "test") == ["pair0", "pair1", "pair3"]
    assert names_of(root) == ["pair0", "pair1", "pair2", "pair3"]


def test_a_list_that_is_missing_beside_others_is_refused(make_data_folder: MakeFolder) -> None:
    root = make_data_folder(2)
    write_lists(root, train="pair0\n")
    with pytest.raises(DataError, match=r"no val\.txt\. Add it, or choose another split"):
        open_folder(root, ["val"])


def test_a_listed_image_must_be_there(make_data_folder: MakeFolder) -> None:
    root = make_data_folder(1)
    write_lists(root, train="pair0\npair9\n")
    with pytest.raises(DataError, match=r"'pair9'.*Add the image or remove the line"):
        open_folder(root, ["train"])


def test_an_empty_split_is_refused(make_data_folder: MakeFolder) -> None:
    root = make_data_folder(1)
    write_lists(root, train="pair0\n", val="\n")
    with pytest.raises(
        DataError, match=r"split val of .* is empty.*train\.txt, val\.txt, test\.txt"
    ):
        open_folder(root, ["val"])


def test_only_the_masks_of_the_split_are_needed(make_data_folder: MakeFolder) -> None:
    root = make_data_folder(2)
    (root / "masks" / "pair1.png").unlink()
    write_lists(root, train="pair0\n", test="pair1\n")
    assert names_of(root, "train") == ["pair0"]


def test_an_unknown_split_gets_a_suggestion(make_data_folder: MakeFolder) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean train"):
        open_folder(make_data_folder(1), ["tran"])


def test_a_list_may_begin_with_a_byte_order_mark(make_data_folder: MakeFolder) -> None:
    root = make_data_folder(1)
    write_lists(root, train="\ufeffpair0\n")
    assert names_of(root, "train") == ["pair0"]


def test_a_list_that_is_no_utf_8_is_refused(make_data_folder: MakeFolder) -> None:
    root = make_data_folder(1)
    (root / "train.txt").write_bytes("pair0\nläsion\n".encode("utf-16"))
    with pytest.raises(DataError, match=r"train\.txt"):
        open_folder(root, ["train"])


def test_an_image_in_two_lists_is_refused(make_data_folder: MakeFolder) -> None:
    root = make_data_folder(2)
    write_lists(root, train="pair0\npair1\n", test="pair1\n")
    with pytest.raises(DataError, match="pair1"):
        open_folder(root, ["test"])


def test_without_lists_every_image_is_in_one_split(make_data_folder: MakeFolder) -> None:
    root = make_data_folder(30, (4, 4))
    dealt = [name for split in SPLITS for name in names_of(root, split)]
    assert sorted(dealt) == sorted(names_of(root))
    assert len(set(dealt)) == len(dealt) == 30


@settings(max_examples=60, deadline=None)
@given(st.text(min_size=1, max_size=20))
def test_every_name_has_a_split(name: str) -> None:
    assert split_of_name(name) in SPLITS
    assert split_of_name(name) == split_of_name(name)


def test_names_are_dealt_seventy_ten_twenty() -> None:
    # 10,000 names: the standard deviation of a share is below 0.5 %.
    dealt = [split_of_name(f"image{index}") for index in range(10_000)]
    for split, share in zip(SPLITS, (0.7, 0.1, 0.2), strict=True):
        assert dealt.count(split) / 10_000 == pytest.approx(share, abs=0.02)


def test_names_are_dealt_alike_on_every_machine() -> None:
    # Their sha256 begin with ca, 3e and de: 202, 62 and 222 of 256, that is 0.79, 0.24 and 0.87.
    assert [split_of_name(name) for name in ("a", "b", "i")] == ["val", "train", "test"]


def test_the_sample_has_93_pairs_in_disjoint_splits() -> None:
    names = {split: {pair.name for pair in open_sample([split])} for split in SPLITS}
    assert [len(names[split]) for split in SPLITS] == [63, 11, 19]
    assert len(set.union(*names.values())) == 93
    assert set.union(*names.values()) == {pair.name for pair in open_sample()}


def test_the_sample_is_labelled_and_can_be_read() -> None:
    dataset = open_sample()
    assert dataset.is_labelled
    for pair in (dataset[0], dataset[46], dataset[92]):
        image, labels = pair.read_both(2)
        assert image.shape == (*labels.shape, 3)
        assert 0 < labels.mean() < 1
