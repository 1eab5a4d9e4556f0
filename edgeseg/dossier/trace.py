"""Traceability: from the weights to what a device gives, each step with its digest and figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..bundle.bundle import SOURCE_ONNX, SOURCE_WEIGHTS, Bundle
from ..bundle.manifest import FileRecord
from ..metrics.agreement import Agreement
from ..records import VERSION
from .contents import is_onnx_bundle, licence_of

TRACE_VERSION = 1


def trace_of(
    bundle: Bundle,
    created: str,
    rewrites: Sequence[Mapping[str, Any]],
    rewrites_note: str,
    golden: tuple[Agreement, str] | None,
    rows: Sequence[Mapping[str, Any]],
    card: Mapping[str, str],
) -> dict[str, Any]:
    """Content of traceability.json.

    Args:
        rewrites: `RewriteParity.to_json` of each.
        rewrites_note: How they were compared, or why not.
        golden: How the golden image was replayed as the release was made, and by what; None where
            it was not.
        rows: Of the bundle's measurements, each with its `environment`.
        card: What the card of the weights says; the model card quotes it.
    """
    manifest = bundle.manifest
    checks = {name: check.model_dump() for name, check in manifest.checks.items()}
    return {
        "schema_version": TRACE_VERSION,
        "edgeseg_version": VERSION,
        "bundle": bundle.name,
        "bundle_sha256": bundle.identity,
        "built": manifest.created,
        "built_by": f"edgeseg {manifest.edgeseg_version}",
        "released": created,
        "weights": {
            # Of an ONNX file, which is the network and its weights, the hash of that very file.
            "form": "ONNX file" if is_onnx_bundle(bundle) else "checkpoint",
            "sha256": manifest.model.weights_sha256,
            "parameters": manifest.model.parameters,
            "data": manifest.model.weights_data,
            "licence": licence_of(bundle, card) or None,
            "card": dict(card),
            "file": _file(bundle, SOURCE_WEIGHTS),
        },
        "onnx": {"file": _file(bundle, SOURCE_ONNX), "agreement": checks.get("onnx")},
        "rewrites": list(rewrites),
        "rewrites_note": rewrites_note,
        "quantization": _quantization(bundle),
        "artifact": {
            "files": [_record(file) for file in manifest.files if file.role == "artifact"],
            "agreement": checks.get("artifact"),
            "checked_by": manifest.checked_by,
        },
        "golden": {
            "image": _file(bundle, manifest.golden.image),
            "mask": _file(bundle, manifest.golden.mask),
            "max_abs_diff": manifest.golden.max_abs_diff,
            "max_flips_per_10k": manifest.golden.max_flips_per_10k,
            "replayed": None if golden is None else _replayed(*golden),
        },
        "device_results": [_result(row) for row in rows],
    }


def _file(bundle: Bundle, path: str) -> dict[str, Any] | None:
    """A file of the bundle; None where it has none of that name."""
    found = [file for file in bundle.manifest.files if file.path == path]
    return _record(found[0]) if found else None


def _record(file: FileRecord) -> dict[str, Any]:
    return {"path": file.path, "sha256": file.sha256, "size_bytes": file.size_bytes}


def _quantization(bundle: Bundle) -> dict[str, Any] | None:
    record = bundle.manifest.quantization
    if record is None:
        return None
    return {
        "method": record.method,
        "settings": record.settings,
        "layers": record.layers,
        "images": len(record.images),
        "calibration_sha256": [image.sha256 for image in record.images],
    }


def _replayed(agreement: Agreement, computed_by: str) -> dict[str, Any]:
    return {
        "computed_by": computed_by,
        "max_abs_diff": agreement.max_abs_diff,
        "flips_per_10k": agreement.flips_per_10k,
    }


def _result(row: Mapping[str, Any]) -> dict[str, Any]:
    names = (
        "name", "bundle_sha256", "device", "threads", "accuracy", "delta", "flips_per_10k",
        "latency_ms", "runs",
    )  # fmt: skip
    where = row.get("environment") or {}
    return {
        **{name: row.get(name) for name in names},
        "cpu": where.get("cpu"),
        "date": where.get("date"),
    }
