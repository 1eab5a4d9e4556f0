"""A release is a bundle with further files, which release.json names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from small_bundle import write_small_bundle

from edgeseg.bundle.bundle import open_bundle
from edgeseg.bundle.release_record import RELEASE_NAME
from edgeseg.errors import BundleError
from edgeseg.records import sha256_of_file


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = write_small_bundle(tmp_path / "release")
    (folder / "README.md").write_text("# Card\n")
    write_record(folder, [file_of(folder, "README.md")])
    (folder / "model.sig").write_text("{}")
    return folder


def file_of(folder: Path, name: str) -> dict[str, Any]:
    path = folder / name
    digest, size = sha256_of_file(path), path.stat().st_size
    return {"path": name, "role": "source", "sha256": digest, "size_bytes": size}


def write_record(folder: Path, files: list[dict[str, Any]], **changes: Any) -> None:
    record = {
        "schema_version": 1,
        "edgeseg_version": "0.1.0",
        "created": "2026-11-27T00:00:00+00:00",
        "bundle_sha256": "0" * 64,
        "files": files,
    }
    (folder / RELEASE_NAME).write_text(json.dumps(record | changes))


def test_files_of_a_release_belong_to_it(folder: Path) -> None:
    bundle = open_bundle(folder)
    bundle.check_files()
    assert bundle.short_identity == bundle.identity[:12]


def test_what_a_release_names_is_compared_too(folder: Path) -> None:
    (folder / "README.md").write_text("# Lard\n")
    with pytest.raises(BundleError, match=r"README\.md was changed after the bundle was built"):
        open_bundle(folder).check_files()
    (folder / "README.md").unlink()
    with pytest.raises(BundleError, match=r"lacks README\.md\. Copy it again"):
        open_bundle(folder).check_files()


def test_what_nobody_names_does_not_belong_to_it(folder: Path) -> None:
    (folder / "more.md").write_text("")
    with pytest.raises(BundleError, match=r"more\.md does not belong to the bundle"):
        open_bundle(folder).check_files()
    (folder / "more.md").unlink()
    (folder / RELEASE_NAME).unlink()
    with pytest.raises(BundleError, match=r"does not belong to the bundle"):
        open_bundle(folder).check_files()


def test_a_signature_alone_makes_no_release(tmp_path: Path) -> None:
    folder = write_small_bundle(tmp_path / "bundle")
    (folder / "model.sig").write_text("{}")
    with pytest.raises(BundleError, match=r"model\.sig does not belong to the bundle"):
        open_bundle(folder).check_files()


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", "{" * 200, '{"schema_version": 2}', "\udcff", "null"]
)
def test_a_damaged_record_is_told(folder: Path, content: str) -> None:
    (folder / RELEASE_NAME).write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(BundleError, match=r"is no record of a release.*edgeseg release"):
        open_bundle(folder).check_files()


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "a\\b"])
def test_no_file_outside_is_named(folder: Path, name: str) -> None:
    write_record(folder, [{**file_of(folder, "README.md"), "path": name}])
    with pytest.raises(BundleError, match=r"lies outside the release\. Do not use it"):
        open_bundle(folder).check_files()
