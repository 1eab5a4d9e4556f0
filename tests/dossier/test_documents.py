"""What the documents of a real release say is so."""

from __future__ import annotations

import csv
import json
import re
import socket
import tomllib
from pathlib import Path

import numpy as np
import pytest
from card_numbers import unknown_numbers
from PIL import Image
from small_release import SmallRelease, read_record
from support import draw_pair, needs

import edgeseg
from edgeseg.bundle.bundle import open_bundle
from edgeseg.pipeline.predict import compute_mask, load_bundle

pytestmark = needs(
    "torch", "onnx", "onnx_ir", "onnxruntime", "cryptography", "model_signing", "cyclonedx"
)

JSON_FILES = ("performance.json", "traceability.json", "manifest.json")


def test_every_number_of_the_card_is_in_the_json(small_release: SmallRelease) -> None:
    card = (small_release.folder / "README.md").read_text(encoding="utf-8")
    records = [read_record(small_release.folder, name) for name in JSON_FILES]
    assert unknown_numbers(card, records) == []
    measured = read_record(small_release.folder, "performance.json")["rows"][0]
    score = f"{measured['accuracy']['dice_pooled']:.4f}"
    assert score in card
    wrong = card.replace(score, f"{float(score) - 0.0101:.4f}")
    assert unknown_numbers(wrong, records) != []


def test_the_card_says_what_it_must(small_release: SmallRelease) -> None:
    card = (small_release.folder / "README.md").read_text(encoding="utf-8")
    front, body = re.fullmatch(r"---\n(.*?)\n---\n(.*)", card, re.DOTALL).groups()  # type: ignore[union-attr]
    yaml = pytest.importorskip("yaml")
    record = yaml.safe_load(front)
    assert record["license"] == "cc-by-nc-4.0"
    assert record["pipeline_tag"] == "image-segmentation"
    metrics = {
        one["type"]: one["value"] for one in record["model-index"][0]["results"][0]["metrics"]
    }
    assert metrics == read_record(small_release.folder, "performance.json")["rows"][0]["accuracy"]
    for words in (
        "not a medical device",
        "Outline of one skin lesion in a dermoscopic image",
        "ISIC 2018 task 1 training set",
        "CC BY-NC 4.0",
        "mostly fair skin",
        "## Subgroups",
        small_release.identity[:12],
        "by mse with 8 calibration images",
    ):
        assert words in body
    assert "](" not in body  # it asks for no other file


def test_the_bill_of_materials(small_release: SmallRelease) -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    text = (small_release.folder / "bom.cdx.json").read_text(encoding="utf-8")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    record = json.loads(text)
    model = record["metadata"]["component"]
    assert (model["type"], model["version"]) == (
        "machine-learning-model",
        small_release.identity[:12],
    )
    assert model["licenses"] == [{"license": {"id": "CC-BY-NC-4.0"}}]
    known = {model["bom-ref"], *(one["bom-ref"] for one in record["components"])}
    named = {one["ref"]: one["dependsOn"] for one in record["dependencies"]}
    assert named.keys() == known
    assert {ref for refs in named.values() for ref in refs} == known - {"model"}
    libraries = {one["name"]: one for one in record["components"] if one["type"] == "library"}
    assert libraries["onnxruntime"]["licenses"] == [{"license": {"id": "MIT"}}]


def test_software_of_others(small_release: SmallRelease) -> None:
    rows = list(csv.DictReader((small_release.folder / "soup.csv").open(encoding="utf-8")))
    toolchain = read_record(small_release.folder, "manifest.json")["toolchain"]
    device = {row["package"]: row for row in rows if row["place"] == "device"}
    assert device.keys() == {"python", "numpy", "onnxruntime"}
    assert device["onnxruntime"]["version"] == toolchain["onnxruntime"]
    host = {row["package"] for row in rows if row["place"] == "build host"}
    assert {"torch", "onnx", "onnx-ir", "onnxruntime"} <= host
    assert "lightning-fabric" not in host
    assert all(all(row.values()) for row in rows)


def test_traces_lead_from_the_weights_to_the_device(small_release: SmallRelease) -> None:
    trace = read_record(small_release.folder, "traceability.json")
    manifest = read_record(small_release.folder, "manifest.json")
    digests = {file["path"]: file["sha256"] for file in manifest["files"]}
    assert trace["weights"]["sha256"] == manifest["model"]["weights_sha256"]
    assert trace["onnx"]["file"]["sha256"] == digests["source/model.onnx"]
    assert trace["quantization"]["calibration_sha256"] == [
        image["sha256"] for image in manifest["quantization"]["images"]
    ]
    assert len(trace["quantization"]["calibration_sha256"]) == 8
    artifact = {file["path"]: file["sha256"] for file in trace["artifact"]["files"]}
    assert artifact == {
        name: digest for name, digest in digests.items() if name.startswith("artifact/")
    }
    assert trace["golden"]["mask"]["sha256"] == digests["golden/mask.npy"]
    assert trace["golden"]["replayed"]["flips_per_10k"] == 0
    applied = {name: places for name, places in manifest["lowering"].items() if places}
    assert {one["name"]: one["places"] for one in trace["rewrites"]} == applied
    (result,) = trace["device_results"]
    assert result["bundle_sha256"] == small_release.identity


def test_no_name_of_an_image_is_in_any_file(small_release: SmallRelease) -> None:
    """It may be that of a patient."""
    assert b"ISIC_" in small_release.bench.read_bytes()
    files = [path for path in small_release.folder.rglob("*") if path.is_file()]
    assert [path for path in files if b"ISIC_" in path.read_bytes()] == []


def test_limits_and_verdicts(small_release: SmallRelease) -> None:
    limits = tomllib.loads((small_release.folder / "acceptance.toml").read_text(encoding="utf-8"))
    row = read_record(small_release.folder, "performance.json")["rows"][0]
    assert limits["bundle_sha256"] == row["bundle_sha256"] == small_release.identity
    told = {one["name"]: (one["change"], one["verdict"]) for one in limits["metric"]}
    assert told == {one["metric"]: (one["change"], one["verdict"]) for one in row["margins"]}
    assert not any(one["required"] for one in limits["metric"])
    allowed = {one["name"]: one["allowed_loss"] for one in limits["metric"]}
    assert allowed["dice_pooled"] == 0.03  # as the measurement was asked


def test_monai_verifies_the_metadata_without_a_network(
    release_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = pytest.importorskip("monai.bundle")

    def refuse(*arguments: object, **named: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    configs = release_copy / "configs"
    schema = configs / "metadata.schema.json"

    def verify() -> None:
        bundle.verify_metadata(meta_file=str(configs / "metadata.json"), filepath=str(schema))

    verify()
    record = read_record(configs, "metadata.json")
    del record["network_data_format"]["inputs"]["image"]["num_channels"]
    (configs / "metadata.json").write_text(json.dumps(record))
    with pytest.raises(ValueError, match="num_channels"):
        verify()


def test_monai_reads_the_configuration(release_copy: Path) -> None:
    bundle = pytest.importorskip("monai.bundle")
    parser = bundle.ConfigParser()
    parser.read_config(str(release_copy / "configs" / "inference.json"))
    parser.read_meta(str(release_copy / "configs" / "metadata.json"))
    parser["bundle_root"] = str(release_copy)
    assert parser.get_parsed_content("bundle").name == "egeunet-onnxruntime-int8"
    assert parser["_meta_#network_data_format#inputs#image#spatial_shape"] == [64, 64]


def test_monai_runs_tensors_through_the_network(small_release: SmallRelease) -> None:
    monai = pytest.importorskip("monai.bundle")
    import torch

    configs = small_release.folder / "configs"
    monai.verify_net_in_out(
        net_id="network_def",
        config_file=str(configs / "inference.json"),
        meta_file=str(configs / "metadata.json"),
        device="cpu",
        bundle_root=str(small_release.folder),
    )
    parser = monai.ConfigParser()
    parser.read_config(str(configs / "inference.json"))
    parser["bundle_root"] = str(small_release.folder)
    network = parser.get_parsed_content("network_def")
    bundle = open_bundle(small_release.folder)
    picture = draw_pair((50, 70), seed=3)[0]
    upright = torch.from_numpy(bundle.inputs.prepare(picture))
    both = torch.cat([upright, upright.flip(1)]).transpose(2, 3)
    maps = network(both)
    assert maps.shape == (2, 1, 64, 64)
    expected = compute_mask(bundle, load_bundle(bundle), picture)
    assert np.array_equal(maps[:1].transpose(2, 3).numpy(), expected)
    assert not np.array_equal(maps[1], maps[0])


def test_monai_runs_it(small_release: SmallRelease, tmp_path: Path) -> None:
    bundle = pytest.importorskip("monai.bundle")
    picture, _ = draw_pair((50, 70), seed=3)
    Image.fromarray(picture).save(tmp_path / "picture.png")
    bundle.run(
        config_file=str(small_release.folder / "configs" / "inference.json"),
        meta_file=str(small_release.folder / "configs" / "metadata.json"),
        bundle_root=str(small_release.folder),
        image=str(tmp_path / "picture.png"),
        mask=str(tmp_path / "mask.png"),
    )
    with Image.open(tmp_path / "mask.png") as mask:
        told = np.asarray(mask)
    assert told.shape == (50, 70)
    expected = edgeseg.load(small_release.folder).predict(tmp_path / "picture.png")
    assert np.array_equal(told, expected)


def test_the_page_shows_no_picture(small_release: SmallRelease) -> None:
    page = (small_release.folder / "report.html").read_text(encoding="utf-8")
    assert "egeunet-onnxruntime-int8" in page
    assert "data:image" not in page
