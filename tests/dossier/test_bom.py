"""The bill of materials follows its schema, whatever a bundle says."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from dossiers import ROW, dossier_of
from support import needs

from edgeseg.dossier.bom import bom_text, describe, require_valid
from edgeseg.dossier.contents import Dossier
from edgeseg.errors import EdgesegError

pytestmark = needs("cyclonedx", "jsonschema")


def with_model(dossier: Dossier, **changes: Any) -> Dossier:
    """The same of weights of which something else is told."""
    bundle = dossier.bundle
    model = bundle.manifest.model.model_copy(update=changes)
    manifest = bundle.manifest.model_copy(update={"model": model})
    return replace(dossier, bundle=replace(bundle, manifest=manifest))


def test_what_it_holds(tmp_path: Path) -> None:
    dossier = dossier_of(tmp_path / "bundle")
    dossier = with_model(dossier, weights_data="moles", weights_licence="CC-BY-4.0")
    record = json.loads(bom_text(dossier))
    model = record["metadata"]["component"]
    assert model["hashes"] == [{"alg": "SHA-256", "content": dossier.bundle.identity}]
    card = model["modelCard"]
    (metric,) = card["quantitativeAnalysis"]["performanceMetrics"]
    assert metric["type"] == "dice_pooled"
    assert float(metric["value"]) == ROW["accuracy"]["dice_pooled"]
    assert metric["confidenceInterval"] == {"lowerBound": "0.925", "upperBound": "0.9475"}
    assert card["considerations"]["technicalLimitations"][1] == "Two sites."
    assert card["modelParameters"]["datasets"] == [{"ref": "training-data"}]
    by_name = {one["name"]: one for one in record["components"]}
    assert by_name["moles"]["type"] == "data"
    assert by_name["numpy"]["purl"] == "pkg:pypi/numpy@2.4.6"
    assert by_name["numpy"]["scope"] == "required"
    assert by_name["onnx"]["scope"] == "excluded"
    assert "version" not in by_name["python"]  # nobody has told which one runs there


@pytest.mark.parametrize("licence", [None, "", "CC-BY-NC-4.0", "our own, on request", "é" * 50])
def test_any_licence_is_taken(tmp_path: Path, licence: str | None) -> None:
    dossier = with_model(dossier_of(tmp_path / "bundle"), weights_licence=licence)
    text = bom_text(dossier)
    assert ("CC-BY-NC-4.0" in text) is (licence == "CC-BY-NC-4.0")


def test_what_the_schema_refuses_is_told(tmp_path: Path) -> None:
    record = describe(dossier_of(tmp_path / "bundle", is_measured=False))
    require_valid(json.dumps(record))
    record["metadata"]["component"]["type"] = "model"
    with pytest.raises(EdgesegError, match=r"does not follow CycloneDX 1\.6.*Report it as a bug"):
        require_valid(json.dumps(record))
    record = describe(dossier_of(tmp_path / "again", is_measured=False))
    record["notInTheSchema"] = 1
    with pytest.raises(EdgesegError, match="notInTheSchema"):
        require_valid(json.dumps(record))
