"""Small bundles for LiteRT and native, of a user's network with three classes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from native_graphs import Branches
from numpy.typing import NDArray
from small_bundle import INPUTS, write_small_bundle

from edgeseg.bundle.bundle import list_files
from edgeseg.contract import InputContract, MeanStd, OutputContract
from edgeseg.formats.onnx import CONTRACT, contract_text
from edgeseg.records import Artifact
from edgeseg.targets import find_runtime

NAME = "my-Net 2"
OUTPUTS = OutputContract(("skin", "mole", 'a "$hair"'), 3)
NATIVE_INPUTS = InputContract(48, 72, 8, MeanStd((0.5, 0.4, 0.3), (0.2, 0.25, 0.3)))
FORM = {"layout": "NHWC", "dtype": "float32", "scale": None, "zero_point": None}
IMAGE = np.random.default_rng(3).integers(0, 256, (9, 14, 3), np.uint8)


def write_kit_bundle(
    root: Path,
    mask: NDArray[np.float32],
    artifact: Mapping[str, Any],
    files: Mapping[str, Path] | Mapping[str, bytes],
    **changes: Any,
) -> Path:
    """Write a bundle whose golden image is `IMAGE` into the folder `root`.

    Args:
        mask: Probabilities (1, 3, h, w) of that image.
        artifact: Its entry in the manifest; the names of its files are filled in.
        files: Its files by their names.
        changes: Of the manifest's other entries.
    """
    write_small_bundle(root)
    for path in (root / "artifact").iterdir():
        path.unlink()
    for name, content in files.items():
        if isinstance(content, Path):
            shutil.copyfile(content, root / "artifact" / name)
        else:
            (root / "artifact" / name).write_bytes(content)
    np.save(root / "golden" / "image.npy", IMAGE)
    np.save(root / "golden" / "mask.npy", mask)
    path = root / "manifest.json"
    record = json.loads(path.read_text())
    record["model"]["name"] = NAME
    record |= {"target": "android", "output": OUTPUTS.to_json()}
    record["artifact"] = {**artifact, "files": [f"artifact/{name}" for name in files]}
    record |= changes
    path.unlink()
    record["files"] = [one.model_dump() for one in list_files(root)]
    path.write_text(json.dumps(record))
    return root


def write_litert_bundle(root: Path, **changes: Any) -> Path:
    """Write one for LiteRT, which nothing can load."""
    logits = np.random.default_rng(4).normal(0, 2, (1, 3, INPUTS.height, INPUTS.width))
    powers = np.exp(logits)
    mask = np.asarray(powers / powers.sum(1, keepdims=True), np.float32)
    artifact = {"format": "tflite", "settings": {"input": FORM, "output": FORM}}
    files = {"model.tflite": b"artefact"}
    return write_kit_bundle(root, mask, artifact, files, **{"runtime": "litert", **changes})


def compile_native(folder: Path, isa: str, **options: str) -> Artifact:
    """Compile a network of one convolution and three classes inside `folder`."""
    import onnx

    inputs = NATIVE_INPUTS
    graph = Branches((inputs.channels, inputs.height, inputs.width))
    graph.results.append(graph.node("Softmax", graph.channels(3), axis=1))
    folder.mkdir(parents=True, exist_ok=True)
    model = onnx.load(graph.save(folder / "net.onnx"))
    model.metadata_props.add(key=CONTRACT, value=contract_text(inputs, OUTPUTS))
    onnx.save(model, folder / "net.onnx")
    runtime = find_runtime("native", {"isa": isa, **options})
    return runtime.compile(folder / "net.onnx", folder / "made", "fp32")


def write_native_bundle(root: Path, artifact: Artifact, **changes: Any) -> Path:
    """Write the bundle of what `compile_native` made for this machine, among others."""
    backend = find_runtime("native", {}).load(artifact)
    mask = np.array(backend.run(NATIVE_INPUTS.prepare(IMAGE)), np.float32)
    record = {"format": artifact.format, "settings": artifact.settings}
    files = {name: artifact.folder / name for name in artifact.files}
    fixed = {"runtime": "native", "input": NATIVE_INPUTS.to_json()}
    return write_kit_bundle(root, mask, record, files, **{**fixed, **changes})
