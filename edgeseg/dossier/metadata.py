"""Metadata by which MONAI reads a release as a bundle of its own kind, with a schema of ours.

MONAI fetches the schema that metadata name from the internet. Here it lies beside them:

    python -m monai.bundle verify_metadata --meta_file configs/metadata.json
        --filepath configs/metadata.schema.json
"""

from __future__ import annotations

import json
from typing import Any

from ..contract import MeanStd
from ..records import VERSION
from .contents import NO_DEVICE, Dossier
from .packages import DEVICE, NOT_FIXED

METADATA = "configs/metadata.json"
SCHEMA = "configs/metadata.schema.json"
INFERENCE = "configs/inference.json"
FORMAT_VERSION = "0.0.1"


def metadata_texts(dossier: Dossier) -> dict[str, str]:
    """Files of the folder configs/ by their paths."""
    records = {METADATA: describe(dossier), SCHEMA: schema(), INFERENCE: inference()}
    return {path: json.dumps(record, indent=2) + "\n" for path, record in records.items()}


def describe(dossier: Dossier) -> dict[str, Any]:
    """What MONAI's tools expect of a bundle's metadata."""
    bundle = dossier.bundle
    toolchain = bundle.manifest.toolchain
    device = [one for one in dossier.soup if one.place == DEVICE and one.version != NOT_FIXED]
    torch = "not used" if dossier.is_onnx_file else toolchain.get("torch", "not told")
    return {
        "schema": SCHEMA.rpartition("/")[2],
        "version": FORMAT_VERSION,
        "changelog": {FORMAT_VERSION: f"Bundle {bundle.short_identity}."},
        "monai_version": toolchain.get("monai", "not used"),
        "pytorch_version": torch,
        "numpy_version": toolchain.get("numpy", "not told"),
        "required_packages_version": {one.module: one.version for one in device},
        "name": bundle.name,
        "task": dossier.told("Task"),
        "description": f"{dossier.title}, compiled by edgeseg {VERSION}.",
        "authors": bundle.manifest.model.source,
        "copyright": dossier.licence_or_not,
        "intended_use": f"{dossier.told('Task')} {NO_DEVICE}",
        "bundle_sha256": bundle.identity,
        "network_data_format": {
            "inputs": {"image": _input(dossier)},
            "outputs": {"pred": _output(dossier)},
        },
    }


def _input(dossier: Dossier) -> dict[str, Any]:
    inputs = dossier.bundle.inputs
    how = inputs.normalization
    if isinstance(how, MeanStd):
        ends = [((end - m) / s) for m, s in zip(how.mean, how.std, strict=True) for end in (0, 1)]
    else:
        ends = [how.low, how.high]
    names = ("R", "G", "B") if inputs.channels == 3 else ()
    return {
        "type": "image",
        "format": "magnitude",
        "modality": "n/a",
        "num_channels": inputs.channels,
        "spatial_shape": [inputs.width, inputs.height],  # as MONAI reads pictures
        "dtype": "float32",
        "value_range": [min(ends), max(ends)],
        "is_patch_data": False,
        "channel_def": {
            str(place): names[place] if names else f"channel {place}"
            for place in range(inputs.channels)
        },
    }


def _output(dossier: Dossier) -> dict[str, Any]:
    inputs, outputs = dossier.bundle.inputs, dossier.bundle.outputs
    # A network of one channel gives the probability of the second class.
    names = outputs.classes if outputs.channels > 1 else outputs.classes[-1:]
    return {
        "type": "probabilities",
        "format": "segmentation",
        "num_channels": outputs.channels,
        "spatial_shape": [inputs.width, inputs.height],  # as MONAI reads pictures
        "dtype": "float32",
        "value_range": [0, 1],
        "is_patch_data": False,
        "channel_def": {str(place): name for place, name in enumerate(names)},
    }


def inference() -> dict[str, Any]:
    """A configuration by which MONAI predicts: the mask of `image` becomes the picture `mask`.

    The picture is given by its path: MONAI resizes in another way than the one that the network was
    measured with. `network_def` takes tensors that somebody has prepared.
    """
    return {
        "imports": ["$import edgeseg", "$from PIL import Image"],
        "bundle_root": ".",
        "image": "picture.png",
        "mask": "mask.png",
        "bundle": {"_target_": "edgeseg.load", "folder": "@bundle_root"},
        "network_def": {
            "_target_": "edgeseg.pipeline.predict.torch_module",
            "folder": "@bundle_root",
        },
        "run": ["$Image.fromarray(@bundle.predict(@image)).save(@mask)"],
    }


def schema() -> dict[str, Any]:
    """What the metadata hold, as JSON Schema."""
    text = {"type": "string", "minLength": 1}
    versions = {"type": "object", "additionalProperties": {"type": "string"}}
    tensor = {
        "type": "object",
        "required": [
            "type", "format", "num_channels", "spatial_shape", "dtype", "value_range",
            "is_patch_data", "channel_def",
        ],
        "properties": {
            "type": text,
            "format": text,
            "num_channels": {"type": "integer", "minimum": 1},
            "spatial_shape": {
                "type": "array",
                "minItems": 2,
                "items": {"type": "integer", "minimum": 1},
            },
            "dtype": {"const": "float32"},
            "value_range": {
                "type": "array",
                "minItems": 2,
                "maxItems": 2,
                "items": {"type": "number"},
            },
            "is_patch_data": {"type": "boolean"},
            "channel_def": {"type": "object", "additionalProperties": text},
        },
    }  # fmt: skip
    texts = (
        "schema", "version", "monai_version", "pytorch_version", "numpy_version", "name", "task",
        "description", "authors", "copyright", "intended_use", "bundle_sha256",
    )  # fmt: skip
    ends = {
        side: {"type": "object", "minProperties": 1, "additionalProperties": tensor}
        for side in ("inputs", "outputs")
    }
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Metadata of a release of edgeseg",
        "type": "object",
        "required": [*texts, "changelog", "required_packages_version", "network_data_format"],
        "properties": {
            **dict.fromkeys(texts, text),
            "bundle_sha256": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
            "changelog": versions,
            "required_packages_version": versions,
            "network_data_format": {
                "type": "object",
                "required": ["inputs", "outputs"],
                "properties": ends,
            },
        },
    }
