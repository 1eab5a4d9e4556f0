"""Subgroups of images: what groups.csv in a data folder says of them.

    name,site,skin
    ISIC_0000011,back,II
    ISIC_0000012,face,IV

The first column has the images' names; each other column is a grouping. An empty place is a group
of its own, "not known". A column `patient` is no grouping: images with the same entry in it are of
one patient, and not independent.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..errors import DataError
from .folder import FolderDataset

FILE = "groups.csv"
NOT_KNOWN = "not known"
PATIENT = "patient"
MOST_GROUPS = 50  # of a column: names of patients are no groups
Groups = dict[str, list[str]]  # group of each image, by column


def read_groups(dataset: FolderDataset) -> Groups:
    """The group of each image, in the images' order, by column; none without a file.

    Raises:
        DataError: The file lacks an image, names one twice, or has a column with too many values.
    """
    path = dataset.root / FILE
    if not path.is_file():
        return {}
    rows, columns = _read_rows(path)
    names = [pair.file_name for pair in dataset]
    missing = [name for name in names if name not in rows]
    if missing:
        others = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise DataError(
            f"{path} has no line for {missing[0]}{others}. Add a line for each image; places may "
            "be left empty."
        )
    groups = {
        column: [rows[name].get(column) or NOT_KNOWN for name in names]
        for column in columns
        if column != PATIENT
    }
    for column, values in groups.items():
        if len({*values}) > MOST_GROUPS:
            raise DataError(
                f"The column {column} of {path} has {len({*values})} different values; a grouping "
                f"has at most {MOST_GROUPS}. Put values into ranges, or take the column out; call "
                f"it {PATIENT} where it tells which images are of one patient."
            )
    return groups


def read_patients(root: Path, names: Sequence[str]) -> list[str]:
    """What the column `patient` of groups.csv says of some images; empty where it says nothing.

    Raises:
        DataError: It is no such file.
    """
    path = root / FILE
    rows = _read_rows(path)[0] if path.is_file() else {}
    return [rows.get(name, {}).get(PATIENT, "") for name in names]


def _read_rows(path: Path) -> tuple[Mapping[str, Mapping[str, str]], list[str]]:
    """Lines by the image's name, and the names of the columns that group."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        reader = csv.DictReader(io.StringIO(text), strict=True, restval="")
        names = [name.strip() for name in reader.fieldnames or ()]
        reader.fieldnames = names
        if len(names) < 2 or len({*names}) < len(names) or "" in names:
            raise DataError(
                f"{path} has the columns {', '.join(names) or 'none'}. Its first line must name "
                "one for the images and others for groups, each once, with commas between them."
            )
        rows: dict[str, Mapping[str, str]] = {}
        for line in reader:
            name = line[names[0]].strip()
            if name in rows:
                raise DataError(f"{path} names the image {name} twice. Leave one line out.")
            rows[name] = {column: line[column].strip() for column in names[1:]}
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"{path} is no table of text with commas ({error}). Save it as CSV in UTF-8."
        ) from error
    return rows, names[1:]


def places_of(values: list[str]) -> dict[str, list[int]]:
    """Places of the images of each group, the groups in the order of their names."""
    return {
        group: [place for place, value in enumerate(values) if value == group]
        for group in sorted({*values})
    }
