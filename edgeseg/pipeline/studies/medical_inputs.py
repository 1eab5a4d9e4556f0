"""Which medical files are read: all that pydicom and nibabel ship for their own tests.

    python -m edgeseg.pipeline.studies.medical_inputs --json-file docs/results/medical_inputs.json

Each picture of each file is decoded. It prints a table for Markdown; the JSON file names each file.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ...contract import AXIAL
from ...data.medical.readers import MedicalFile, open_medical, reader_of
from ...data.medical.windows import Window
from ...errors import DataError
from ...lazy import require
from ...storage.atomic import write_text

# Package, and the folder in it that holds what it ships.
SHIPPED = {"pydicom": "data", "nibabel": "."}
PLAIN = (".py", ".pyc", ".txt", ".md", ".rst", ".json")
READ, READ_WITH_WINDOW, REFUSED, OTHER = "read", "read with a window", "refused", "other kind"
ANY_WINDOW = Window(0, 2000)
TITLES = {"dicom": "DICOM", "nifti": "NIfTI"}


@dataclass(frozen=True)
class TriedFile:
    """Attributes:
    package, name: What shipped it, and its place in there.
    kind: "dicom" or "nifti"; empty for other files.
    form: Compression of DICOM, or that it is a volume; empty where it was refused.
    verdict: Of `READ`, `READ_WITH_WINDOW`, `REFUSED` and `OTHER`.
    pictures: How many were decoded.
    reason: The message of a refusal, without the file's name.
    """

    package: str
    name: str
    kind: str
    form: str
    verdict: str
    pictures: int
    reason: str


def try_shipped() -> Iterator[TriedFile]:
    """Try each file.

    Raises:
        MissingBackendError: One of the packages is not installed.
    """
    for package, folder in SHIPPED.items():
        require(package, purpose="Trying the files that it ships")
        spec = importlib.util.find_spec(package)
        assert spec is not None
        assert spec.origin is not None
        root = Path(spec.origin).parent
        for path in sorted((root / folder).rglob("*")):
            is_data = "data" in path.relative_to(root).parts and path.is_file()
            if is_data and path.suffix not in PLAIN and not path.name.startswith((".", "README")):
                yield try_file(path, package, path.relative_to(root).as_posix())


def try_file(path: Path, package: str, name: str) -> TriedFile:
    """Decode each picture of a file."""
    reader = reader_of(path)
    if reader is None:
        return TriedFile(package, name, "", "", OTHER, 0, "")
    try:
        opened = open_medical(path)
        assert opened is not None
        verdict = _decode_all(opened)
    except DataError as error:
        reason = str(error).replace(str(path), "The file")
        return TriedFile(package, name, reader.kind, "", REFUSED, 0, reason)
    return TriedFile(package, name, reader.kind, _form_of(opened), verdict, opened.count(AXIAL), "")


def _decode_all(opened: MedicalFile) -> str:
    """Whether it took a window.

    Raises:
        DataError: A picture is not decoded.
    """
    try:
        for index in range(opened.count(AXIAL)):
            opened.picture(index, AXIAL, None, None)
    except DataError as error:
        if "[window]" not in str(error):
            raise
        for index in range(opened.count(AXIAL)):
            opened.picture(index, AXIAL, ANY_WINDOW, None)
        return READ_WITH_WINDOW
    return READ


def _form_of(opened: Any) -> str:
    """The compression of DICOM."""
    if opened.kind == "nifti":
        return "volumes"
    name = str(opened.data.file_meta.TransferSyntaxUID.name)
    return re.split(r", | \(", name)[0].strip()


def table_of(tried: Sequence[Mapping[str, Any]]) -> str:
    """A table for Markdown: what was read by its form, and what was refused by its reason."""
    groups: dict[tuple[str, str, str], list[str]] = {}
    for one in tried:
        if one["verdict"] != OTHER:
            told = _reason_of(one) if one["verdict"] == REFUSED else one["form"]
            groups.setdefault((one["kind"], one["verdict"], told), []).append(one["name"])
    order = sorted(groups.items(), key=lambda item: (*item[0][:2], -len(item[1]), item[0][2]))
    lines = ["| files | of kind | verdict | form, or reason | such as |", "|---|---|---|---|---|"]
    lines += [
        f"| {len(names)} | {TITLES[kind]} | {verdict} | {told} | `{Path(names[0]).name}` |"
        for (kind, verdict, told), names in order
    ]
    return "\n".join(lines) + "\n"


def _reason_of(one: Mapping[str, Any]) -> str:
    """The beginning of a reason, without what differs from file to file."""
    text = re.sub(r" ?\(.*\)", "", str(one["reason"]))
    text = re.sub(r"^Frame \d+ of The file", "a frame", text)
    beginning = re.split(r": |\. ", text)[0].removeprefix("The file ")
    return re.sub(r" the \d.*", " the file says", beginning.replace(" The file", ""))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m edgeseg.pipeline.studies.medical_inputs")
    parser.add_argument("--json-file", type=Path)
    given = parser.parse_args()
    tried = [asdict(one) for one in try_shipped()]
    print(table_of(tried), end="")
    counts = Counter(one["verdict"] for one in tried)
    print(", ".join(f"{count} {verdict}" for verdict, count in counts.most_common()))
    if given.json_file:
        write_text(given.json_file, _json_of(tried, counts))


def _json_of(tried: Sequence[Mapping[str, Any]], counts: Mapping[str, int]) -> str:
    """The record, a line for each file that is DICOM or NIfTI."""
    versions = json.dumps({package: version(package) for package in SHIPPED})
    kept = [one for one in tried if one["verdict"] != OTHER]
    files = ",\n".join(json.dumps(one, ensure_ascii=False) for one in kept)
    return f'{{"versions": {versions},\n"counts": {json.dumps(counts)},\n"files": [\n{files}\n]}}\n'


if __name__ == "__main__":
    main()
