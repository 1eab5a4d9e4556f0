"""Bundles of schema 2, as edgeseg wrote them before devices named their runtimes.

`tests/bundle/schema2/` holds the manifests of three bundles of the shipped egeunet at 64x64, and
one archive with their other files. A file that several of them have is in it once, and the weights
are those that edgeseg ships.

plan    target onnxruntime, INT8 by a percentile plan with the option results=false
auto    target onnxruntime, --precision auto, with a placement record
intel   target intel, FP32
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from pathlib import Path

from support import ROOT

NAMES = ("plan", "auto", "intel")
FOLDER = ROOT / "tests" / "bundle" / "schema2"
SHIPPED_WEIGHTS = ROOT / "edgeseg" / "models" / "shipped" / "egeunet_isic2018.safetensors"


def unpack(folder: Path) -> dict[str, Path]:
    """Write the three bundles into a folder; returns where each is."""
    contents = [SHIPPED_WEIGHTS.read_bytes()]
    with tarfile.open(FOLDER / "files.tar.xz") as archive:
        for member in archive.getmembers():
            file = archive.extractfile(member)
            assert file is not None
            contents.append(file.read())
    by_digest = {hashlib.sha256(content).hexdigest(): content for content in contents}
    for name in NAMES:
        text = (FOLDER / f"{name}.json").read_text(encoding="utf-8")
        for record in json.loads(text)["files"]:
            path = folder / name / record["path"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(by_digest[record["sha256"]])
        (folder / name / "manifest.json").write_text(text, encoding="utf-8")
    return {name: folder / name for name in NAMES}
