"""The record of what a release adds to a bundle: release.json."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any, Literal

from pydantic import ValidationError

from ..errors import BundleError, reason_of
from ..storage.reading import read_json
from .manifest import FileRecord, Record

RELEASE_NAME = "release.json"


class ReleaseRecord(Record):
    """What a release is of, and the files that the bundle did not have.

    Attributes:
        bundle_sha256: The bundle's identity.
        files: All files of the release that the manifest does not name, but this record and the
            signature. Their role is that of their folder, "source" where they lie loose.
    """

    schema_version: Literal[1] = 1
    edgeseg_version: str
    created: str
    bundle_sha256: str
    files: tuple[FileRecord, ...]


def released_files(folder: Path) -> tuple[FileRecord, ...]:
    """Files that a release added to the bundle in `folder`; none where that is no release.

    Raises:
        BundleError: release.json is damaged, or names a file outside the folder.
    """
    path = folder / RELEASE_NAME
    if not path.is_file():
        return ()
    try:
        record: Any = read_json(path)
        files = ReleaseRecord.model_validate(record).files
    except (ValidationError, ValueError, OSError) as error:
        raise BundleError(
            f"{path} is no record of a release: {reason_of(error)}. Take the release again, or "
            "make it anew with edgeseg release."
        ) from error
    for file in files:
        pure = PurePosixPath(file.path)
        if pure.is_absolute() or ".." in pure.parts or "\\" in file.path:
            raise BundleError(
                f"{path} names {file.path}, which lies outside the release. Do not use it."
            )
    return files
