"""The shipped network in an Android module, on photos of the sample."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from android_kits import android_kit, compile_jni, kit_sources, run_native
from kotlin_compiler import PROGRAMS, Kotlin
from support import needs

from edgeseg.bundle.bundle import open_bundle
from edgeseg.data.folder import open_sample
from edgeseg.pipeline.build import BuildRequest, build_bundle
from edgeseg.targets import open_backend

PHOTOS = 4


@needs("torch", "onnx", "onnx_ir", "onnxscript", "onnxruntime", "ziglang")
@pytest.mark.slow
def test_no_pixel_flips(kotlin: Kotlin, stubs: Path, tmp_path: Path) -> None:
    request = BuildRequest(
        "egeunet",
        "android",
        "fp32",
        tmp_path / "bundle",
        runtime="native",
        options={"isa": "x86-64-v2+aarch64"},
    )
    bundle = open_bundle(build_bundle(request)[0].folder)
    kit = android_kit(bundle.folder, tmp_path / "kit")
    program = tmp_path / "Masks.kt"
    text = (PROGRAMS / "Masks.kt").read_text()
    program.write_text(text.replace("package edgeseg.mynet2", "package edgeseg.egeunet"))
    kotlin.compile([*kit_sources(kit), program], tmp_path / "classes", [stubs])
    compile_jni(kit, tmp_path / "libraries")

    photos = tmp_path / "photos"
    photos.mkdir()
    images = {pair.name: pair.read_image() for pair in open_sample()[:PHOTOS]}
    for name, image in images.items():
        (photos / f"{name}.{image.shape[0]}.{image.shape[1]}").write_bytes(image.tobytes())
    run = "edgeseg.egeunet.MasksKt", str(photos)
    path = [tmp_path / "classes", stubs]
    done = run_native(kotlin, kit, tmp_path / "libraries", *run, path=path)
    assert done.returncode == 0, done.stderr
    backend = open_backend(bundle.artifact, 1)
    for name, image in images.items():
        mask = np.array(backend.run(bundle.inputs.prepare(image)), np.float32)
        expected = bundle.outputs.restore(mask, *image.shape[:2])
        labels = np.fromfile(photos / f"{name}.labels", np.uint8).reshape(expected.shape)
        assert (labels != expected).sum() == 0, name
