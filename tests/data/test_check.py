"""A check lists every fault of a data folder at once, and says which split will be used."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
from PIL import Image

from edgeseg.data.check import check_folder
from edgeseg.data.folder import SPLITS, split_of_name
from edgeseg.errors import DataError

MakeFolder = Callable[..., Path]
RunCli = Callable[..., "CompletedProcess[str]"]


def kinds_and_files(findings: object) -> list[tuple[str, str]]:
    return [(finding.kind, finding.file) for finding in findings]  # type: ignore[attr-defined]


@pytest.fixture
def faulty(make_data_folder: MakeFolder) -> Path:
    """Ten pairs, of which the later ones have a fault each."""
    root = make_data_folder(10, (8, 8))
    images, masks = root / "images", root / "masks"
    for index in range(10):  # pictures that differ
        Image.fromarray(np.full((8, 8, 3), 20 * index, np.uint8)).save(images / f"pair{index}.png")
    (images / "pair3.png").write_bytes(b"no picture")
    (masks / "pair4.png").unlink()
    Image.new("L", (4, 8)).save(masks / "pair5.png")
    Image.fromarray(np.array([[0, 128] * 4] * 8, np.uint8)).save(masks / "pair6.png")
    Image.new("L", (8, 8)).save(masks / "pair7.png")
    (images / "pair9.png").write_bytes((images / "pair0.png").read_bytes())
    Image.new("L", (8, 8), 255).save(masks / "left_over.png")
    (root / "train.txt").write_text("".join(f"pair{index}\n" for index in range(7)))
    (root / "val.txt").write_text("pair7\n")
    (root / "test.txt").write_text("pair8\npair9\ngone\n")
    return root


def test_all_faults_are_listed_at_once(faulty: Path) -> None:
    checked = check_folder(faulty)
    assert kinds_and_files(checked.faults) == [
        ("list", "test.txt"),
        ("image", "images/pair3.png"),
        ("missing mask", "images/pair4.png"),
        ("size", "masks/pair5.png"),
        ("mask", "masks/pair6.png"),
        ("duplicate", "images/pair0.png"),
    ]
    words = {finding.kind: finding.message for finding in checked.faults}
    assert "names 'gone'" in words["list"]
    assert "is not an image that can be read" in words["image"]
    assert "Looked for pair4 and pair4 with _segmentation" in words["missing mask"]
    assert "is 4x8 pixels, its image 8x8. Resize the mask" in words["size"]
    assert "0 and 128" in words["mask"]
    assert "Write ignore = 128" in words["mask"]
    assert "pair0 (train), pair9 (test). Keep one" in words["duplicate"]
    assert kinds_and_files(checked.notes) == [
        ("empty mask", "masks/pair5.png"),
        ("empty mask", "masks/pair7.png"),
        ("unused mask", "masks/left_over.png"),
    ]
    assert checked.split == (
        "by the lists train.txt, val.txt and test.txt: 7/1/2; fewer than 20 val and test images "
        "decide little"
    )


def test_a_sound_folder_has_none_and_the_hash_is_told(make_data_folder: MakeFolder) -> None:
    root = make_data_folder(40, (8, 8))
    for index, path in enumerate(sorted((root / "images").iterdir())):
        Image.fromarray(np.full((8, 8, 3), 6 * index, np.uint8)).save(path)
    dealt = [split_of_name(f"pair{index}") for index in range(40)]
    counts = [dealt.count(split) for split in SPLITS]
    checked = check_folder(root)
    assert checked.faults == ()
    assert checked.split.startswith(f"no lists: 70/10/20 by hash: {'/'.join(map(str, counts))}; ")
    assert list(checked.split_sizes.values()) == counts


def test_ignored_values_are_no_fault(faulty: Path) -> None:
    checked = check_folder(faulty, ignore=128)
    assert "mask" not in {finding.kind for finding in checked.faults}


def test_other_bands_and_dark_images_are_told(faulty: Path) -> None:
    kinds = [finding.kind for finding in check_folder(faulty, channels=4).faults]
    assert kinds.count("image") == 10
    for path in (faulty / "images").iterdir():
        Image.fromarray(np.full((8, 8), 4000, np.uint16)).save(path)
    (note,) = [one for one in check_folder(faulty).notes if one.kind == "dark"]
    assert note.message.startswith("The 16-bit images use 12 bits")


def test_a_folder_without_masks_says_it_once(make_data_folder: MakeFolder) -> None:
    checked = check_folder(make_data_folder(30, (8, 8), masks=False))
    missing = [finding for finding in checked.faults if finding.kind == "missing mask"]
    assert len(missing) == 1
    assert "No image has a mask. Looked for pair0" in missing[0].message


def test_masks_that_are_all_empty_are_a_fault(make_data_folder: MakeFolder) -> None:
    root = make_data_folder(3, (8, 8))
    for mask in (root / "masks").iterdir():
        Image.new("L", (8, 8)).save(mask)
    (fault,) = [one for one in check_folder(root).faults if one.kind == "empty mask"]
    assert "All 3 masks hold background only" in fault.message


def test_an_image_in_two_lists_is_a_fault(faulty: Path) -> None:
    (faulty / "val.txt").write_text("pair7\npair8\n")
    messages = [one.message for one in check_folder(faulty).faults if one.kind == "list"]
    assert any("in both val.txt and test.txt, such as pair8" in message for message in messages)


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no images/ in it"):
        check_folder(tmp_path)


def test_the_command_prints_them_and_fails(faulty: Path, run_cli: RunCli) -> None:
    done = run_cli("data", "check", str(faulty))
    assert done.returncode == 1
    assert "Fault, size: masks/pair5.png: The mask pair5.png is 4x8" in done.stdout
    assert "Note, empty mask: masks/pair7.png" in done.stdout
    assert done.stdout.splitlines()[-1] == "6 faults"
    record = json.loads(run_cli("data", "check", str(faulty), "--json").stdout)
    assert [fault["kind"] for fault in record["faults"]].count("mask") == 1
    assert record["split_sizes"] == {"train": 7, "val": 1, "test": 2}
    gone = run_cli("data", "check", str(faulty / "gone"))
    assert gone.returncode == 2
    assert "Check the path" in gone.stderr


def test_the_command_ends_well_where_all_is_well(
    make_data_folder: MakeFolder, run_cli: RunCli
) -> None:
    root = make_data_folder(4, (8, 8))
    for split, name in zip(SPLITS, ("pair0", "pair1", "pair2"), strict=True):
        (root / f"{split}.txt").write_text(f"{name}\n")
    for index, path in enumerate(sorted((root / "images").iterdir())):
        Image.fromarray(np.full((8, 8, 3), 60 * index, np.uint8)).save(path)
    done = run_cli("data", "check", str(root))
    assert done.returncode == 0, done.stdout
    assert "1 of 4 images are in none of the lists" in done.stdout
    assert done.stdout.endswith("No faults.\n")
