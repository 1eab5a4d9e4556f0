"""The bill of materials: CycloneDX 1.6 with a machine-learning model."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import Any

from ..errors import EdgesegError, reason_of
from ..lazy import require
from ..records import VERSION
from .contents import NO_DEVICE, NOT_STATED, Dossier
from .packages import DEVICE, NOT_FIXED, NOT_KNOWN, Soup

NAMESPACE = uuid.UUID("5b0b4c1e-6d0b-5b5e-9a39-0a5f6b9b7e11")  # of serial numbers of bundles
MODEL, DATA, RUNNER = "model", "training-data", "runner"
PURPOSE = "Writing a bill of materials"


def bom_text(dossier: Dossier) -> str:
    """The bill as JSON, which its schema takes.

    Raises:
        EdgesegError: The schema refuses it.
        MissingBackendError: `cyclonedx-python-lib` is not installed.
    """
    text = json.dumps(describe(dossier), indent=2) + "\n"
    require_valid(text)
    return text


def require_valid(text: str) -> None:
    """Refuse a bill that the strict schema of CycloneDX 1.6 does not take.

    Raises:
        EdgesegError: With what the schema says.
        MissingBackendError: `cyclonedx-python-lib` is not installed.
    """
    validation = require("cyclonedx.validation.json", purpose=PURPOSE)
    schema = require("cyclonedx.schema", purpose=PURPOSE)
    error = validation.JsonStrictValidator(schema.SchemaVersion.V1_6).validate_str(text)
    if error is not None:
        raise EdgesegError(
            f"The bill of materials does not follow CycloneDX 1.6: {reason_of(error)}. Report it "
            "as a bug, with the bundle's manifest.json."
        )


def describe(dossier: Dossier) -> dict[str, Any]:
    """The bill as a record."""
    bundle = dossier.bundle
    libraries = [_library(one) for one in dossier.soup]
    on_device = [one["bom-ref"] for one in libraries if one["scope"] == "required"]
    data = _training_data(dossier)
    serial = uuid.uuid5(NAMESPACE, f"{bundle.identity} {dossier.created}")
    refs = [one["bom-ref"] for one in (*data, *libraries)]
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
        "metadata": {
            "timestamp": dossier.created,
            "tools": {
                "components": [{"type": "application", "name": "edgeseg", "version": VERSION}]
            },
            "component": _model(dossier),
        },
        "components": [*data, _runner(dossier), *libraries],
        "dependencies": [
            {"ref": MODEL, "dependsOn": [RUNNER, *refs]},
            {"ref": RUNNER, "dependsOn": on_device},
            *({"ref": ref, "dependsOn": []} for ref in refs),
        ],
    }


def _model(dossier: Dossier) -> dict[str, Any]:
    bundle = dossier.bundle
    manifest = bundle.manifest
    digests = [file for file in manifest.files if file.role == "artifact"]
    properties = {
        "bundle_sha256": bundle.identity,
        "target": manifest.target,
        "runtime": manifest.runtime,
        "precision": manifest.precision,
        "parameters": str(manifest.model.parameters),
        "weights_sha256": manifest.model.weights_sha256,
        "weights_licence": dossier.licence_or_not,
        **{f"sha256 {file.path}": file.sha256 for file in digests},
    }
    return {
        "type": "machine-learning-model",
        "bom-ref": MODEL,
        "name": bundle.name,
        "version": bundle.short_identity,
        "description": dossier.title,
        **_licences(dossier.licence),
        "hashes": [{"alg": "SHA-256", "content": bundle.identity}],
        "modelCard": _model_card(dossier),
        "properties": [
            {"name": f"edgeseg:{name}", "value": value} for name, value in properties.items()
        ],
    }


def _model_card(dossier: Dossier) -> dict[str, Any]:
    manifest = dossier.bundle.manifest
    data = [{"ref": DATA}] if manifest.model.weights_data else []
    shape = [manifest.input["height"], manifest.input["width"]]
    limits = [NO_DEVICE, *([dossier.told("Limits")] if "Limits" in dossier.card else [])]
    return {
        "modelParameters": {
            "task": "image segmentation",
            "architectureFamily": "convolutional network",
            "modelArchitecture": dossier.title,
            **({"datasets": data} if data else {}),
            "inputs": [{"format": f"image, {shape[0]}x{shape[1]}"}],
            "outputs": [{"format": f"mask of {', '.join(manifest.output['classes'])}"}],
        },
        "quantitativeAnalysis": {"performanceMetrics": _metrics(dossier.row)},
        "considerations": {
            "useCases": [dossier.card.get("Task", NOT_STATED)],
            "technicalLimitations": limits,
        },
    }


def _metrics(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = []
    for name, value in (row.get("accuracy") or {}).items():
        interval = (row.get("accuracy_ci95") or {}).get(name)
        record: dict[str, Any] = {"type": name, "value": repr(value)}
        if interval:
            low, high = interval
            record["confidenceInterval"] = {"lowerBound": repr(low), "upperBound": repr(high)}
        found.append(record)
    return found


def _training_data(dossier: Dossier) -> list[dict[str, Any]]:
    name = dossier.bundle.manifest.model.weights_data
    if not name:
        return []
    described = dossier.card.get("Data", NOT_STATED)
    return [
        {
            "type": "data",
            "bom-ref": DATA,
            "name": name,
            "description": described,
            "data": [{"type": "dataset", "name": name, "description": described}],
        }
    ]


def _runner(dossier: Dossier) -> dict[str, Any]:
    return {
        "type": "application",
        "bom-ref": RUNNER,
        "name": "edgeseg runner",
        "version": dossier.bundle.manifest.edgeseg_version,
        "licenses": [{"license": {"id": "Apache-2.0"}}],
    }


def _library(one: Soup) -> dict[str, Any]:
    version = {} if one.version == NOT_FIXED else {"version": one.version}
    issues = []
    if one.anomalies != NOT_KNOWN:
        issues = [{"type": "issue-tracker", "url": one.anomalies}]
    return {
        "type": "library",
        "bom-ref": f"{one.place}: {one.purl}",
        "supplier": {"name": one.manufacturer},
        "name": one.package,
        **version,
        # What is left out of a device is still a part of how the model came to be.
        "scope": "required" if one.place == DEVICE else "excluded",
        **_licences(one.licence),
        "purl": one.purl,
        **({"externalReferences": issues} if issues else {}),
        "properties": [{"name": "edgeseg:place", "value": one.place}],
    }


def _licences(name: str) -> dict[str, Any]:
    """The entry of a component; nothing where no licence is known."""
    if not name or name == NOT_KNOWN:
        return {}
    spdx = require("cyclonedx.spdx", purpose=PURPOSE)
    kind = "id" if spdx.is_supported_id(name) else "name"
    return {"licenses": [{"license": {kind: name}}]}
