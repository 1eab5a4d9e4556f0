"""A small bundle for LiteRT, of a network with three classes; nothing can load its artefact."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from small_bundle import INPUTS, write_small_bundle

from edgeseg.bundle.bundle import list_files
from edgeseg.contract import OutputContract

OUTPUTS = OutputContract(("skin", "mole", 'a "$hair"'), 3)
FORM = {"layout": "NHWC", "dtype": "float32", "scale": None, "zero_point": None}
IMAGE = np.random.default_rng(3).integers(0, 256, (9, 14, 3), np.uint8)


def golden_mask() -> np.ndarray[Any, np.dtype[np.float32]]:
    """(1, 3, 8, 8), softmax over classes."""
    logits = np.random.default_rng(4).normal(0, 2, (1, 3, INPUTS.height, INPUTS.width))
    powers = np.exp(logits)
    return np.asarray(powers / powers.sum(1, keepdims=True), np.float32)


def write_litert_bundle(root: Path, **changes: Any) -> Path:
    """Write it into the folder `root`.

    Args:
        changes: Of the manifest's entries.
    """
    write_small_bundle(root)
    for path in (root / "artifact").iterdir():
        path.unlink()
    (root / "artifact" / "model.tflite").write_bytes(b"artefact")
    np.save(root / "golden" / "image.npy", IMAGE)
    np.save(root / "golden" / "mask.npy", golden_mask())
    path = root / "manifest.json"
    record = json.loads(path.read_text())
    record["model"]["name"] = "my-Net 2"
    record |= {"target": "android", "runtime": "litert", "output": OUTPUTS.to_json()}
    record["artifact"] = {
        "format": "tflite",
        "files": ["artifact/model.tflite"],
        "settings": {"input": FORM, "output": FORM},
    }
    record |= changes
    path.unlink()
    record["files"] = [one.model_dump() for one in list_files(root)]
    path.write_text(json.dumps(record))
    return root
