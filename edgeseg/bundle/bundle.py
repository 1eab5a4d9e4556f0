"""Bundles: folders that hold an artefact and all that is needed to run, check and trust it.

manifest.json     what it is, the contracts, checksums, versions, checks
artifact/         what the runtime loads
golden/           an image and the mask that belongs to it
runner/           numpy-only code that prepares, runs and finishes
quantization/     the plan by which it was quantised, where a calibrator made one
source/           float weights and ONNX graph: evidence for benchmarks, not for the device

A release of edgeseg release is a bundle, too, with further files that release.json names.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from ..contract import InputContract, OutputContract
from ..errors import BundleError, OutputInUseError, reason_of
from ..records import Artifact, sha256_of_file
from ..storage.atomic import write_text
from ..storage.reading import read_json
from .golden import read_golden
from .identity import IDENTITY_LENGTH, identity_of
from .manifest import MANIFEST_NAME, NAMES_OF_IMAGES, SCHEMA_VERSION, FileRecord, Manifest, Role
from .older_manifests import OLDER_VERSIONS, upgraded
from .release_record import RELEASE_NAME, released_files
from .signature import SIGNATURE_NAME

UNLISTED = frozenset({RELEASE_NAME, SIGNATURE_NAME})  # files of a release that it cannot list
SOURCE_WEIGHTS = "source/weights.safetensors"
SOURCE_ONNX = "source/model.onnx"
PLAN_FOLDER = "quantization"
ROLES: dict[str, Role] = {
    "artifact": "artifact",
    "golden": "golden",
    "runner": "runner",
    "source": "source",
    PLAN_FOLDER: "source",
}


@dataclass(frozen=True)
class Bundle:
    """A bundle on disk whose manifest has been read; its files are not checked yet.

    Attributes:
        manifest: Of today's schema.
        record: The same as it is on disk, which the identity is of.
    """

    folder: Path
    manifest: Manifest
    record: Mapping[str, Any] = field(repr=False, compare=False)

    @cached_property
    def inputs(self) -> InputContract:
        return InputContract.from_json(self.manifest.input)

    @cached_property
    def outputs(self) -> OutputContract:
        return OutputContract.from_json(self.manifest.output)

    @property
    def name(self) -> str:
        return self.manifest.name

    @property
    def artifact(self) -> Artifact:
        """What the runtime loads; its precision is that of the bundle, which may be "auto"."""
        record = self.manifest.artifact
        return Artifact(
            runtime=self.manifest.runtime,
            precision=self.manifest.precision,
            format=record.format,
            folder=self.folder,
            files=record.files,
            settings=record.settings,
            toolchain=self.manifest.toolchain,
        )

    @property
    def artifact_bytes(self) -> int:
        return sum(file.size_bytes for file in self.manifest.files if file.role == "artifact")

    @cached_property
    def identity(self) -> str:
        """See `edgeseg.bundle.identity`; measurements do not change it."""
        return identity_of(self.record)

    @property
    def short_identity(self) -> str:
        """The identity as people read it: on pages, in reports, by the runner."""
        return self.identity[:IDENTITY_LENGTH]

    @property
    def names_images(self) -> bool:
        """Whether the manifest names images, as those of older versions do."""
        quantization = self.record.get("quantization") or {}
        told = [
            *quantization.get("images", ()),
            *self.record["checks"].values(),
            *(row.get("worst_image") for row in self.manifest.measurements),
        ]
        told = [one for one in told if isinstance(one, dict)]
        return any(one.get(name) for one in told for name in NAMES_OF_IMAGES)

    def golden_pair(self) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Image (H, W, C) and probabilities (1, C, h, w).

        Raises:
            BundleError: They are no such arrays.
        """
        golden = self.manifest.golden
        try:
            return read_golden(self.folder / golden.image, self.folder / golden.mask)
        except ValueError as error:
            raise BundleError(f"The golden pair of {self.folder} is damaged: {error}") from error

    def check_files(self) -> None:
        """Compare every file with its checksum.

        Raises:
            BundleError: A file is missing, changed, or not named by the manifest.
        """
        files = (*self.manifest.files, *released_files(self.folder))
        listed = {file.path for file in files} | {MANIFEST_NAME, *UNLISTED}
        for file in files:
            path = self.folder / file.path
            if not path.is_file() or path.is_symlink():
                raise BundleError(
                    f"The bundle {self.folder} lacks {file.path}. Copy it again, or build it anew."
                )
            if path.stat().st_size != file.size_bytes or sha256_of_file(path) != file.sha256:
                raise BundleError(
                    f"{path} was changed after the bundle was built: its sha256 is not the "
                    "manifest's. Do not use it; copy the bundle again, or build it anew."
                )
        if not (self.folder / RELEASE_NAME).is_file():
            listed -= UNLISTED
        for path in sorted(self.folder.rglob("*")):
            is_folder = path.is_dir() and not path.is_symlink()
            if not is_folder and path.relative_to(self.folder).as_posix() not in listed:
                raise BundleError(
                    f"{path} does not belong to the bundle: the manifest does not name it. "
                    "Remove it, or copy the bundle again."
                )

    def with_measurements(self, rows: Iterable[dict[str, Any]]) -> Bundle:
        """Add benchmark rows to the manifest as it is on disk now, atomically.

        A manifest of an older schema keeps it: the runner in that bundle reads no other.
        """
        open_bundle(self.folder)  # refuses one that was damaged meanwhile
        path = self.folder / MANIFEST_NAME
        record = read_json(path)
        record["measurements"] = [*record["measurements"], *rows]
        write_text(path, _json_text(record))
        return open_bundle(self.folder)


def manifest_text(manifest: Manifest) -> str:
    return _json_text(manifest.model_dump(mode="json"))


def _json_text(record: Mapping[str, Any]) -> str:
    return json.dumps(record, indent=2) + "\n"


def list_files(folder: Path) -> tuple[FileRecord, ...]:
    """Record every file below a bundle's subfolders."""
    records = []
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if path.is_file() and relative.parts[0] in ROLES:
            records.append(
                FileRecord(
                    path=relative.as_posix(),
                    role=ROLES[relative.parts[0]],
                    sha256=sha256_of_file(path),
                    size_bytes=path.stat().st_size,
                )
            )
    return tuple(records)


def open_bundle(folder: Path) -> Bundle:
    """Read a bundle's manifest.

    Raises:
        BundleError: No bundle, a manifest that is damaged or of another version, or one that
            names files outside the bundle.
    """
    path = folder / MANIFEST_NAME
    if not folder.is_dir():
        what = "is a file and not the folder of a bundle" if folder.exists() else "does not exist"
        raise BundleError(
            f"{folder} {what}. Name the folder of a bundle, or make one with edgeseg build."
        )
    if not path.is_file():
        raise BundleError(
            f"{folder} is not a bundle: it has no {MANIFEST_NAME}. Make one with edgeseg build."
        )
    try:
        record = read_json(path)
    except (ValueError, OSError) as error:
        raise BundleError(
            f"{path} is not readable JSON ({reason_of(error)}). Copy the bundle again."
        ) from error
    if not isinstance(record, dict):
        raise BundleError(
            f"{path} does not hold a manifest. Copy the bundle again, or build it anew."
        )
    version = record.get("schema_version")
    if version not in (SCHEMA_VERSION, *OLDER_VERSIONS):
        known = ", ".join(map(str, (*OLDER_VERSIONS, SCHEMA_VERSION)))
        raise BundleError(
            f"{path} has schema version {version}; this edgeseg reads {known}. "
            "Build the bundle anew, or install the edgeseg that wrote it."
        )
    try:
        manifest = Manifest.model_validate(upgraded(record))
        bundle = Bundle(folder, manifest, record)
        _ = bundle.inputs, bundle.outputs
    except (ValidationError, ValueError, KeyError, TypeError) as error:
        raise BundleError(
            f"{path} does not follow the schema: {reason_of(error)}. Copy the bundle again, or "
            "build it anew."
        ) from error
    named = (
        *(file.path for file in manifest.files),
        *manifest.artifact.files,
        manifest.golden.image,
        manifest.golden.mask,
    )
    for name in named:
        pure = PurePosixPath(name)
        if pure.is_absolute() or ".." in pure.parts or "\\" in name:
            raise BundleError(f"{path} names {name}, which lies outside the bundle. Do not use it.")
    listed = {file.path for file in manifest.files}
    for name in named:
        if name not in listed:
            raise BundleError(
                f"{path} names {name} without a checksum. Do not use it; build the bundle anew."
            )
    return bundle


def require_free_output(
    folder: Path, *, overwrite: bool, what: str = "bundle", mark: str = MANIFEST_NAME
) -> None:
    """Refuse an output folder that holds something.

    Args:
        what: Kind of thing that is going to be written, for messages.
        mark: Name of the JSON file by which such a thing is known.

    Raises:
        OutputInUseError: It is a file, or a folder with content that is not such a thing, or is
            one and `overwrite` is false.
    """
    if not folder.exists() and not folder.is_symlink():
        parent = next(place for place in folder.absolute().parents if place.exists())
        if not parent.is_dir() or not os.access(parent, os.W_OK):
            raise OutputInUseError(
                f"{folder} cannot be created: {parent} is no folder that can be written. "
                "Choose another --output."
            )
        return
    if not folder.is_dir() or folder.is_symlink():
        raise OutputInUseError(f"{folder} is not a folder. Choose another --output.")
    if not any(folder.iterdir()):
        return
    if not _was_written_by_us(folder / mark):
        raise OutputInUseError(
            f"The output folder {folder} is in use and holds no {what}. Choose another --output."
        )
    if not overwrite:
        raise OutputInUseError(
            f"The output folder {folder} already holds a {what}. Replace it with --overwrite "
            "(overwrite=True in Python), or choose another --output."
        )


def _was_written_by_us(path: Path) -> bool:
    """Whether a record was written by edgeseg, of this version or another."""
    try:
        record = read_json(path)
    except (OSError, ValueError):
        return False
    return isinstance(record, dict) and {"schema_version", "edgeseg_version"} <= record.keys()
