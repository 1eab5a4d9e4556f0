"""What goes to another process as JSON opens the same thing there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from support import needs

from edgeseg.bundle.bundle import SOURCE_WEIGHTS, open_bundle
from edgeseg.data.folder import open_sample
from edgeseg.pipeline.builder.runners import ArtifactRunner, ReferenceRunner
from edgeseg.records import Artifact


def test_an_artefact_is_named_by_its_full_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    artifact = Artifact("onnxruntime", "fp32", "onnx", Path("here"), ("model.onnx",), {"a": 1})
    runner = ArtifactRunner(artifact, threads=2)
    record = json.loads(json.dumps(runner.to_json()))
    there = ArtifactRunner.from_json(record)
    assert there.artifact.folder == tmp_path / "here"
    assert (there.artifact.files, there.artifact.settings) == (("model.onnx",), {"a": 1})
    assert there.threads == 2


def test_the_runtimes_modules_are_loaded_first() -> None:
    artifact = Artifact("litert", "fp32", "tflite", Path("here"), ("model.tflite",))
    modules = ArtifactRunner(artifact, 1).modules()
    assert modules[0].endswith(".interpreter")
    assert "edgeseg.targets.runners.litert_backend" in modules


@needs("torch", "onnxruntime")
def test_both_open_what_they_name(small_bundles: dict[str, Path], tmp_path: Path) -> None:
    bundle = open_bundle(shutil.copytree(small_bundles["fp32"], tmp_path / "bundle"))
    image = bundle.inputs.prepare(open_sample(["val"])[0].read_image())
    weights = bundle.folder / SOURCE_WEIGHTS
    reference = ReferenceRunner(bundle.manifest.model.spec, weights, tmp_path)
    masks = []
    for runner in (ArtifactRunner(bundle.artifact, 1), reference):
        record = json.loads(json.dumps(runner.to_json()))
        masks.append(type(runner).from_json(record).open().run(image))
    assert abs(masks[0] - masks[1]).max() < 1e-3
