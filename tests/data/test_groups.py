"""groups.csv: groups in the order of the images, and what is wrong with a file."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from support import draw_pair

from edgeseg.data.folder import FolderDataset, open_folder
from edgeseg.data.groups import NOT_KNOWN, places_of, read_groups
from edgeseg.errors import DataError


def add_pair(folder: Path, name: str) -> None:
    for kind, pixels in zip(("images", "masks"), draw_pair((16, 16), 0), strict=True):
        (folder / kind).mkdir(exist_ok=True)
        Image.fromarray(pixels * (255 if kind == "masks" else 1)).save(
            folder / kind / f"{name}.png"
        )


@pytest.fixture
def dataset(tmp_path: Path) -> FolderDataset:
    for name in ("a", "b", "c"):
        add_pair(tmp_path, name)
    return open_folder(tmp_path)


def write(dataset: FolderDataset, text: str, encoding: str = "utf-8") -> None:
    (dataset.root / "groups.csv").write_text(text, encoding=encoding)


def test_groups_are_in_the_order_of_the_images(dataset: FolderDataset) -> None:
    write(dataset, "image, site,skin\nc,face,IV\na,back,\nb,face,II\nz,leg,I\n", "utf-8-sig")
    groups = read_groups(dataset)
    assert groups == {"site": ["back", "face", "face"], "skin": [NOT_KNOWN, "II", "IV"]}
    assert places_of(groups["site"]) == {"back": [0], "face": [1, 2]}


def test_a_folder_without_the_file_has_no_groups(dataset: FolderDataset) -> None:
    assert read_groups(dataset) == {}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name,site\na,x\n", "no line for b and 1 more. Add a line"),
        ("name,site\na,x\na,y\nb,x\nc,x\n", "names the image a twice. Leave one line out"),
        ("name\na\nb\nc\n", "has the columns name. Its first line must name"),
        ("", "has the columns none"),
        ("name,site,site\na,x,y\n", "each once, with commas between them"),
        ('name,site\na,"x\n', "Save it as CSV in UTF-8"),
    ],
)
def test_other_files_are_refused(dataset: FolderDataset, text: str, words: str) -> None:
    write(dataset, text)
    with pytest.raises(DataError, match=words.replace(".", r"\.")):
        read_groups(dataset)


def test_names_of_patients_are_no_groups(dataset: FolderDataset) -> None:
    names = [f"image{index}" for index in range(60)]
    for name in names:
        add_pair(dataset.root, name)
    write(dataset, "name,visit\n" + "".join(f"{n},{n}\n" for n in (*names, "a", "b", "c")))
    with pytest.raises(DataError, match=r"63 different values.*Put values into ranges"):
        read_groups(open_folder(dataset.root))
