from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgeseg.data.folder import FolderDataset, open_folder
from edgeseg.errors import CalibrationError
from edgeseg.models import find_model
from edgeseg.quantize.calibration_images import choose_calibration_images

INPUTS = find_model("egeunet").at_size(32, 64).inputs


@pytest.fixture
def dataset(make_data_folder: Callable[..., Path]) -> FolderDataset:
    return open_folder(make_data_folder(6), labelled=False)


def renamed(dataset: FolderDataset, root: Path) -> FolderDataset:
    """The same files under other names, in another order."""
    (root / "images").mkdir(parents=True)
    for index, pair in enumerate(dataset):
        shutil.copyfile(pair.image_path, root / "images" / f"other{9 - index}.png")
    return open_folder(root, labelled=False)


def test_choice_is_the_smallest_hashes(dataset: FolderDataset) -> None:
    hashes = sorted(hashlib.sha256(pair.image_path.read_bytes()).hexdigest() for pair in dataset)
    chosen = choose_calibration_images(dataset, INPUTS, 4)
    assert len(chosen) == 4
    assert chosen.digests == tuple(hashes[:4])
    for pair, digest in zip(chosen.pairs, chosen.digests, strict=True):
        assert hashlib.sha256(pair.image_path.read_bytes()).hexdigest() == digest


def test_choice_does_not_depend_on_order(dataset: FolderDataset) -> None:
    backwards = replace(dataset, pairs=dataset.pairs[::-1])
    ours = choose_calibration_images(dataset, INPUTS, 3)
    assert choose_calibration_images(backwards, INPUTS, 3) == ours


def test_choice_does_not_depend_on_names(dataset: FolderDataset, tmp_path: Path) -> None:
    ours = choose_calibration_images(dataset, INPUTS, 3)
    theirs = choose_calibration_images(renamed(dataset, tmp_path / "renamed"), INPUTS, 3)
    assert theirs.digests == ours.digests
    assert all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))
    assert not {pair.name for pair in ours.pairs} & {pair.name for pair in theirs.pairs}


def test_smaller_choice_begins_larger_one(dataset: FolderDataset) -> None:
    small, large = (choose_calibration_images(dataset, INPUTS, count) for count in (2, 5))
    assert large.digests[:2] == small.digests


def test_equal_files_count_once(dataset: FolderDataset) -> None:
    first = dataset[0].image_path
    for index in range(3):
        shutil.copyfile(first, first.with_name(f"copy{index}.png"))
    larger = open_folder(dataset.root, labelled=False)
    assert len(larger) == 9
    chosen = choose_calibration_images(larger, INPUTS, 9)
    assert len(chosen) == len(set(chosen.digests)) == 6


def test_all_are_taken_when_there_are_fewer(dataset: FolderDataset) -> None:
    assert len(choose_calibration_images(dataset, INPUTS, 100)) == 6


def test_images_come_prepared(dataset: FolderDataset) -> None:
    chosen = choose_calibration_images(dataset, INPUTS, 2)
    for image, pair in zip(chosen, chosen.pairs, strict=True):
        assert np.array_equal(image, INPUTS.prepare(pair.read_image()))


def test_images_can_be_passed_over_twice(dataset: FolderDataset) -> None:
    chosen = choose_calibration_images(dataset, INPUTS, 2)
    assert [image.shape for image in (*chosen, *chosen)] == [(1, 3, 32, 64)] * 4


def test_digests_are_those_of_the_files(dataset: FolderDataset) -> None:
    chosen = choose_calibration_images(dataset, INPUTS, 2)
    for pair, digest in zip(chosen.pairs, chosen.digests, strict=True):
        assert hashlib.sha256(pair.image_path.read_bytes()).hexdigest() == digest


@pytest.mark.parametrize("count", [0, -3])
def test_no_image_asked_for_is_an_error(dataset: FolderDataset, count: int) -> None:
    with pytest.raises(
        CalibrationError, match=rf"{count} calibration images.*Raise --calibration-images"
    ):
        choose_calibration_images(dataset, INPUTS, count)


def test_no_image_there_is_an_error(dataset: FolderDataset) -> None:
    with pytest.raises(CalibrationError, match="Name a folder of real images with --data"):
        choose_calibration_images(replace(dataset, pairs=()), INPUTS, 3)


def save_flat(root: Path, values: list[int]) -> FolderDataset:
    (root / "images").mkdir(parents=True)
    for index, value in enumerate(values):
        Image.new("RGB", (32, 16), (value, value, 40)).save(root / "images" / f"{index}.png")
    return open_folder(root, labelled=False)


def test_flat_images_are_refused(tmp_path: Path) -> None:
    flat = save_flat(tmp_path, [0, 0, 90])
    with pytest.raises(
        CalibrationError,
        match=r"All calibration images are flat \(2 that differ\).*as in .*\.png.*"
        r"real images with --data, or build with --precision fp32",
    ):
        choose_calibration_images(flat, INPUTS, 8)


def test_one_image_with_content_is_enough(dataset: FolderDataset, tmp_path: Path) -> None:
    save_flat(tmp_path, [0, 90])
    shutil.copyfile(next(iter(dataset)).image_path, tmp_path / "images" / "real.png")
    mixed = open_folder(tmp_path, labelled=False)
    assert len(choose_calibration_images(mixed, INPUTS, 8)) == 3
