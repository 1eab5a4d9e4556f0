from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edgeseg.data.folder import FolderDataset, open_folder
from edgeseg.data.label_subset import split_labels
from edgeseg.errors import UsageError


@pytest.fixture
def images(make_data_folder: Callable[..., Path]) -> FolderDataset:
    return open_folder(make_data_folder(20, (8, 8)))


def names(dataset: FolderDataset) -> list[str]:
    return [pair.name for pair in dataset]


def test_every_image_is_in_one_part_and_the_rest_has_no_labels(images: FolderDataset) -> None:
    labelled, others = split_labels(images, 0.25, seed=1)
    assert (len(labelled), len(others)) == (5, 15)
    assert sorted(names(labelled) + names(others)) == sorted(names(images))
    assert names(labelled) == sorted(names(labelled))
    assert labelled.is_labelled
    assert all(pair.mask_path is None for pair in others)


def test_the_choice_is_that_of_the_seed(images: FolderDataset) -> None:
    first, again, other = (names(split_labels(images, 0.25, seed)[0]) for seed in (1, 1, 2))
    assert first == again != other
    # Fixed by the hash of seed and name, on every machine.
    assert first == ["pair1", "pair10", "pair13", "pair16", "pair5"]


def test_a_larger_share_keeps_the_images_of_a_smaller_one(images: FolderDataset) -> None:
    small, large = (names(split_labels(images, share, 3)[0]) for share in (0.2, 0.6))
    assert set(small) < set(large)


def test_at_least_one_label_stays_and_all_may(images: FolderDataset) -> None:
    assert len(split_labels(images, 0.001, 1)[0]) == 1
    everything, nothing = split_labels(images, 1.0, 1)
    assert (len(everything), len(nothing)) == (20, 0)


@pytest.mark.parametrize("share", [0.0, -0.1, 1.5])
def test_a_share_lies_between_0_and_1(images: FolderDataset, share: float) -> None:
    with pytest.raises(UsageError, match=r"above 0 and up to 1, such as 0\.05"):
        split_labels(images, share, 1)
