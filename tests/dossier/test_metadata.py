"""Metadata follow the schema that lies beside them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from dossiers import dossier_of

from edgeseg.contract import InputContract, MeanStd, OutputContract
from edgeseg.dossier.metadata import INFERENCE, METADATA, SCHEMA, metadata_texts

jsonschema: Any = pytest.importorskip("jsonschema")


def records_of(folder: Path, **contracts: Any) -> dict[str, Any]:
    dossier = dossier_of(folder)
    manifest = dossier.bundle.manifest.model_copy(update=contracts)
    dossier = replace(dossier, bundle=replace(dossier.bundle, manifest=manifest))
    return {path: json.loads(text) for path, text in metadata_texts(dossier).items()}


def test_they_follow_the_schema(tmp_path: Path) -> None:
    records = records_of(tmp_path / "bundle")
    assert records.keys() == {METADATA, SCHEMA, INFERENCE}
    jsonschema.Draft7Validator.check_schema(records[SCHEMA])
    jsonschema.validate(records[METADATA], records[SCHEMA])
    formats = records[METADATA]["network_data_format"]
    assert formats["inputs"]["image"]["value_range"] == [0, 1]
    assert formats["outputs"]["pred"]["channel_def"] == {"0": "lesion"}
    assert records[METADATA]["required_packages_version"] == {"numpy": "2.4.6"}


def test_grey_images_of_several_classes(tmp_path: Path) -> None:
    inputs = InputContract(16, 24, 8, MeanStd((0.5,), (0.25,)), channels=1)
    outputs = OutputContract(("background", "a", "b"), 3)
    records = records_of(tmp_path / "bundle", input=inputs.to_json(), output=outputs.to_json())
    jsonschema.validate(records[METADATA], records[SCHEMA])
    formats = records[METADATA]["network_data_format"]
    image = formats["inputs"]["image"]
    assert (image["num_channels"], image["spatial_shape"]) == (1, [24, 16])
    assert image["value_range"] == [-2, 2]
    assert formats["outputs"]["pred"]["channel_def"] == {"0": "background", "1": "a", "2": "b"}


@pytest.mark.parametrize("key", ["task", "version", "network_data_format", "bundle_sha256"])
def test_the_schema_misses_what_is_left_out(tmp_path: Path, key: str) -> None:
    records = records_of(tmp_path / "bundle")
    del records[METADATA][key]
    with pytest.raises(jsonschema.ValidationError, match=key):
        jsonschema.validate(records[METADATA], records[SCHEMA])
