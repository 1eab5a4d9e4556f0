"""A small bundle whose artefact is a few bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgeseg.bundle.bundle import list_files, manifest_text
from edgeseg.bundle.manifest import ArtifactRecord, GoldenRecord, Manifest, ModelRecord
from edgeseg.contract import InputContract, MinMax, OutputContract

INPUTS = InputContract(8, 8, 8, MinMax())
OUTPUTS = OutputContract(("skin", "lesion"), 1)
IMAGE = np.arange(5 * 4 * 3, dtype=np.uint8).reshape(5, 4, 3)
MASK = np.linspace(0, 1, 64, dtype=np.float16).reshape(1, 1, 8, 8)


def write_small_bundle(root: Path) -> Path:
    """Write a bundle, which no runtime can load, into the folder `root`, and return that."""
    for name in ("artifact", "golden", "runner", "source"):
        (root / name).mkdir(parents=True)
    (root / "artifact" / "model.bin").write_bytes(b"artefact")
    (root / "artifact" / "model.xml").write_bytes(b"<net/>")
    np.save(root / "golden" / "image.npy", IMAGE)
    np.save(root / "golden" / "mask.npy", MASK)
    (root / "runner" / "run.py").write_text("print('run')\n")
    (root / "source" / "model.onnx").write_bytes(b"graph")
    manifest = Manifest(
        edgeseg_version="0.1.0",
        created="2026-01-01T00:00:00+00:00",
        model=ModelRecord(
            name="egeunet",
            parameters=3,
            source="by hand",
            spec={},
            weights_sha256="0" * 64,
            weights_data=None,
            weights_licence=None,
        ),
        name="egeunet-intel-fp32",
        target="intel",
        runtime="openvino",
        precision="fp32",
        input=INPUTS.to_json(),
        output=OUTPUTS.to_json(),
        artifact=ArtifactRecord(
            format="openvino-ir",
            files=("artifact/model.xml", "artifact/model.bin"),
            settings={"threads": 1},
        ),
        golden=GoldenRecord(
            image="golden/image.npy",
            mask="golden/mask.npy",
            max_abs_diff=0.01,
            max_flips_per_10k=5,
        ),
        lowering={},
        quantization=None,
        options={},
        checked_by="openvino",
        checks={},
        toolchain={"numpy": np.__version__},
        files=list_files(root),
        identity_covers="manifest",
    )
    (root / "manifest.json").write_text(manifest_text(manifest))
    return root
