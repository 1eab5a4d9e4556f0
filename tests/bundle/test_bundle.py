"""A bundle is opened only when it is whole and names nothing outside itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_bundle import IMAGE, INPUTS, MASK, OUTPUTS, write_small_bundle

from edgeseg.bundle.bundle import list_files, manifest_text, open_bundle, require_free_output
from edgeseg.bundle.manifest import (
    SCHEMA_VERSION,
    FileRecord,
    Manifest,
)
from edgeseg.errors import BundleError, OutputInUseError

Change = Callable[[dict[str, Any]], object]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_small_bundle(tmp_path / "bundle")


def change_manifest(folder: Path, change: Change) -> None:
    path = folder / "manifest.json"
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))


def file_record(path: str) -> dict[str, Any]:
    return {"path": path, "role": "artifact", "sha256": "0" * 64, "size_bytes": 1}


def test_a_whole_bundle_is_opened_and_checked(folder: Path) -> None:
    bundle = open_bundle(folder)
    bundle.check_files()
    assert bundle.name == "egeunet-intel-fp32"
    assert bundle.inputs == INPUTS
    assert bundle.outputs == OUTPUTS
    assert bundle.artifact_bytes == len(b"artefact") + len(b"<net/>")


def test_the_golden_pair_is_what_was_saved(folder: Path) -> None:
    image, mask = open_bundle(folder).golden_pair()
    assert (image == IMAGE).all()
    assert mask.dtype == np.float32
    assert (mask == MASK).all()


def test_the_manifest_text_reads_back(folder: Path) -> None:
    text = (folder / "manifest.json").read_text()
    manifest = Manifest.model_validate(json.loads(text))
    assert manifest_text(manifest) == text
    assert text.endswith("}\n")


@pytest.mark.parametrize(
    "limits",
    [
        {"max_abs_diff": 1.5},
        {"max_abs_diff": -1},
        {"max_abs_diff": float("nan")},
        {"max_flips_per_10k": 10_000},
        {"max_flips_per_10k": float("inf")},
    ],
)
def test_a_manifest_cannot_allow_any_mask(folder: Path, limits: dict[str, float]) -> None:
    change_manifest(folder, lambda record: record["golden"].update(limits))
    with pytest.raises(BundleError, match=r"does not follow the schema.*build it anew"):
        open_bundle(folder)


def test_files_are_listed_with_their_role(folder: Path) -> None:
    (folder / "notes.txt").touch()  # not below a subfolder
    (folder / "artifact" / "deep").mkdir()
    (folder / "artifact" / "deep" / "empty").touch()
    records = {record.path: record for record in list_files(folder)}
    assert sorted(records) == [
        "artifact/deep/empty",
        "artifact/model.bin",
        "artifact/model.xml",
        "golden/image.npy",
        "golden/mask.npy",
        "runner/run.py",
        "source/model.onnx",
    ]
    assert all(record.path.startswith(record.role) for record in records.values())
    # What `printf '' | sha256sum` prints.
    digest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert records["artifact/deep/empty"] == FileRecord(
        path="artifact/deep/empty", role="artifact", sha256=digest, size_bytes=0
    )


@pytest.mark.parametrize("name", ["artifact/model.bin", "golden/mask.npy", "runner/run.py"])
def test_a_tampered_file_is_noticed(folder: Path, name: str) -> None:
    content = bytearray((folder / name).read_bytes())
    content[-1] ^= 1  # one bit, same size
    (folder / name).write_bytes(content)
    with pytest.raises(BundleError, match="Do not use it; copy the bundle again") as caught:
        open_bundle(folder).check_files()
    assert str(folder / name) in str(caught.value)


def test_a_missing_file_is_noticed(folder: Path) -> None:
    (folder / "source" / "model.onnx").unlink()
    with pytest.raises(BundleError, match=r"lacks source/model\.onnx\. Copy it again, or build"):
        open_bundle(folder).check_files()


@pytest.mark.parametrize("name", ["artifact/extra.bin", "notes.txt", "runner/manifest.json"])
def test_a_foreign_file_is_noticed(folder: Path, name: str) -> None:
    (folder / name).touch()
    with pytest.raises(BundleError, match=f"{name} does not belong to the bundle.* Remove it"):
        open_bundle(folder).check_files()


def test_compiled_code_is_a_foreign_file(folder: Path) -> None:
    """Python would run it in place of the source that the manifest vouches for."""
    (folder / "runner" / "__pycache__").mkdir()
    (folder / "runner" / "__pycache__" / "run.cpython-311.pyc").touch()
    with pytest.raises(BundleError, match=r"run\.cpython-311\.pyc does not belong"):
        open_bundle(folder).check_files()


def test_a_foreign_link_is_noticed(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (folder / "artifact" / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BundleError, match="does not belong"):
        open_bundle(folder).check_files()


OUTSIDE = ["../secret", "artifact/../../secret", "/etc/hostname", "..\\secret"]


@pytest.mark.parametrize("name", OUTSIDE)
@pytest.mark.parametrize(
    "change",
    [
        lambda record, name: record["files"].append(file_record(name)),
        lambda record, name: record["artifact"].update(files=[name]),
        lambda record, name: record["golden"].update(image=name),
        lambda record, name: record["golden"].update(mask=name),
    ],
    ids=["files", "artifact", "image", "mask"],
)
def test_a_path_out_of_the_bundle_is_refused(
    folder: Path, change: Callable[[dict[str, Any], str], object], name: str
) -> None:
    change_manifest(folder, lambda record: change(record, name))
    with pytest.raises(BundleError, match=r"lies outside the bundle\. Do not use it") as caught:
        open_bundle(folder)
    assert name in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        lambda record: record["artifact"].update(files=["artifact/other.bin"]),
        lambda record: record["golden"].update(image="golden/other.npy"),
        lambda record: record.update(files=record["files"][1:]),
    ],
    ids=["artifact", "golden", "list"],
)
def test_a_file_without_a_checksum_is_refused(folder: Path, change: Change) -> None:
    change_manifest(folder, change)
    with pytest.raises(BundleError, match=r"without a checksum\. Do not use it; build"):
        open_bundle(folder)


@pytest.mark.parametrize("version", [0, 1, "2", None])
def test_another_schema_version_is_refused(folder: Path, version: object) -> None:
    change_manifest(folder, lambda record: record.update(schema_version=version))
    with pytest.raises(BundleError, match="install the edgeseg that wrote it") as caught:
        open_bundle(folder)
    assert f"schema version {version}; this edgeseg reads 2, {SCHEMA_VERSION}." in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{}", "has schema version None"),
        *((text, "does not hold a manifest") for text in ("[]", "3", '"manifest"')),
    ],
)
def test_json_of_another_kind_is_no_manifest(folder: Path, text: str, words: str) -> None:
    (folder / "manifest.json").write_text(text)
    with pytest.raises(BundleError, match=words):
        open_bundle(folder)


def test_a_truncated_manifest_is_refused(folder: Path) -> None:
    path = folder / "manifest.json"
    whole = path.read_bytes()
    for end in range(0, len(whole) - 2, len(whole) // 20):
        path.write_bytes(whole[:end])
        with pytest.raises(BundleError, match=r"not readable JSON.*Copy the bundle again"):
            open_bundle(folder)


def test_bytes_that_are_no_text_are_refused(folder: Path) -> None:
    (folder / "manifest.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BundleError, match="not readable JSON"):
        open_bundle(folder)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda record: record.update(extra=1), "extra"),
        (lambda record: record.pop("target"), "target"),
        (lambda record: record["files"][0].update(sha256="00"), "sha256"),
        (lambda record: record["files"][0].update(role="other"), "role"),
        (lambda record: record["files"][0].update(size_bytes=-1), "size_bytes"),
        (lambda record: record["input"].update(height=9), "stride 8"),
        (lambda record: record["input"].pop("width"), "width"),
        (lambda record: record["input"]["normalization"].update(kind="other"), "other"),
        (lambda record: record["input"]["normalization"].update(gamma=2), "gamma"),
        (lambda record: record["output"].update(channels=5), "5 channels"),
        (lambda record: record["output"].update(classes=None), "NoneType"),
    ],
)
def test_a_manifest_off_the_schema_is_refused(folder: Path, change: Change, words: str) -> None:
    change_manifest(folder, change)
    with pytest.raises(BundleError, match="does not follow the schema") as caught:
        open_bundle(folder)
    assert words in str(caught.value)
    assert "Copy the bundle again, or build it anew" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nowhere", r"does not exist\. .*make one with edgeseg build"),
        ("empty", r"no manifest\.json\. Make one with edgeseg build"),
    ],
)
def test_a_folder_without_manifest_is_no_bundle(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(BundleError, match=words):
        open_bundle(tmp_path / name)


def test_measurements_are_added_at_the_end(folder: Path) -> None:
    first, second = {"latency_ms": 1.5}, {"latency_ms": 2.5, "device": {"name": "CPU"}}
    bundle = open_bundle(folder).with_measurements([first])
    returned = bundle.with_measurements([second])
    again = open_bundle(folder)
    assert again == returned
    assert again.manifest.measurements == (first, second)
    again.check_files()


def test_measurements_change_nothing_else(folder: Path) -> None:
    before = open_bundle(folder)
    before.with_measurements([{"latency_ms": 1.5}])
    after = open_bundle(folder).manifest
    assert before.manifest.measurements == ()
    assert after.model_copy(update={"measurements": ()}) == before.manifest


def test_measurements_of_two_runs_at_once_are_kept(folder: Path) -> None:
    ours, theirs = open_bundle(folder), open_bundle(folder)
    theirs.with_measurements([{"run": "theirs"}])
    ours.with_measurements([{"run": "ours"}])
    assert [row["run"] for row in open_bundle(folder).manifest.measurements] == ["theirs", "ours"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_free_output_is_taken(tmp_path: Path, overwrite: bool) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("new", "empty"):
        require_free_output(tmp_path / name, overwrite=overwrite)
    assert not (tmp_path / "new").exists()


def test_a_bundle_is_replaced_only_on_request(folder: Path) -> None:
    with pytest.raises(
        OutputInUseError,
        match=r"Replace it with --overwrite \(overwrite=True in Python\), or choose another",
    ):
        require_free_output(folder, overwrite=False)
    require_free_output(folder, overwrite=True)
    open_bundle(folder).check_files()  # asking changes nothing


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_that_is_no_bundle_is_never_replaced(tmp_path: Path, overwrite: bool) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(OutputInUseError, match=r"holds no bundle\. Choose another --output"):
        require_free_output(tmp_path, overwrite=overwrite)


def test_a_manifest_of_something_else_makes_no_bundle(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"name": "My web app", "start_url": "/"}')
    (tmp_path / "app.js").touch()
    with pytest.raises(OutputInUseError, match="holds no bundle"):
        require_free_output(tmp_path, overwrite=True)


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_file_or_a_link_is_no_output_folder(tmp_path: Path, overwrite: bool) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "broken").symlink_to(tmp_path / "nowhere")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    for name in ("file", "broken", "link"):
        with pytest.raises(OutputInUseError, match=r"is not a folder\. Choose another --output"):
            require_free_output(tmp_path / name, overwrite=overwrite)
