"""The identity of a bundle is that of its files and of what its manifest says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from small_bundle import write_small_bundle
from support import changed

from edgeseg.bundle.bundle import open_bundle
from edgeseg.bundle.identity import identity_of


@pytest.fixture
def record(tmp_path: Path) -> dict[str, Any]:
    folder = write_small_bundle(tmp_path / "bundle")
    record: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
    assert open_bundle(folder).identity == identity_of(record)
    return record


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("model.weights_licence", "MIT"),
        ("golden.max_flips_per_10k", 5.5),
        ("artifact.settings.threads", 2),
        ("output.classes", ["skin", "mole"]),
        ("options", {"streams": 2}),
        ("toolchain", {"numpy": "1.0"}),
    ],
)
def test_bundles_that_differ_in_their_manifests_alone_differ(
    record: dict[str, Any], place: str, value: Any
) -> None:
    assert identity_of(changed(record, place, value)) != identity_of(record)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("created", "2027-01-01T00:00:00+00:00"),
        ("measurements", [{"latency_ms": 3}]),
        ("tuning", {"search_seconds": 9.0}),
        ("race", [{"speedup": 1.5}]),
    ],
)
def test_what_every_build_and_measurement_changes_is_not_covered(
    record: dict[str, Any], place: str, value: Any
) -> None:
    assert identity_of(changed(record, place, value)) == identity_of(record)


def test_a_changed_file_changes_it(record: dict[str, Any]) -> None:
    files = [{**record["files"][0], "sha256": "f" * 64}, *record["files"][1:]]
    assert identity_of({**record, "files": files}) != identity_of(record)


def test_the_order_in_a_file_does_not_matter(record: dict[str, Any]) -> None:
    turned = dict(reversed(record.items()))
    assert list(turned) != list(record)
    assert identity_of(turned) == identity_of(record)


def test_an_older_manifest_has_that_of_its_files(record: dict[str, Any]) -> None:
    del record["identity_covers"]
    record["files"] = [{"path": "artifact/net.bin", "sha256": "0" * 64}]
    # sha256 of [["artifact/net.bin", "000..."]] as JSON.
    assert identity_of(record)[:12] == "331b39a6d7ea"
    assert identity_of(changed(record, "model.name", "other"))[:12] == "331b39a6d7ea"


def test_measurements_are_added_without_changing_it(tmp_path: Path) -> None:
    bundle = open_bundle(write_small_bundle(tmp_path / "bundle"))
    measured = bundle.with_measurements([{"latency_ms": 0.1 + 0.2}])
    assert measured.manifest.measurements != bundle.manifest.measurements
    assert measured.identity == bundle.identity


def test_only_older_manifests_name_images(tmp_path: Path) -> None:
    folder = write_small_bundle(tmp_path / "bundle")
    assert not open_bundle(folder).names_images
    record = json.loads((folder / "manifest.json").read_text())
    check = {"images": 1, "max_abs_diff": 0, "mean_abs_diff": 0, "flips_per_10k": 0}
    for changes in (
        {"checks": {"onnx": {**check, "worst_image": "anna"}}},
        {"measurements": [{"worst_image": {"name": "anna", "delta_dice": 0}}]},
    ):
        (folder / "manifest.json").write_text(json.dumps(record | changes))
        assert open_bundle(folder).names_images
    sound = {"checks": {"onnx": check}, "measurements": [{"worst_image": None}]}
    (folder / "manifest.json").write_text(json.dumps(record | sound))
    assert not open_bundle(folder).names_images
