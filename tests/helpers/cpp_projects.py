"""Bundles as C++ projects: building them small, and masks of C++ beside Python's."""

from __future__ import annotations

import runpy
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from support import ROOT

SAMPLE = ROOT / "edgeseg" / "data" / "isic2016_cc0" / "images"
RUNTIMES = {
    "openvino": "intel",
    "litert": "android",
    "native": "intel",
    "onnxruntime": "onnxruntime",
}


def build_small(runtime: str, folder: Path, precision: str = "fp32", **more: Any) -> Path:
    from edgeseg.pipeline.build import BuildRequest, build_bundle

    request = {"model": "egeunet", "size": (64, 64), "calibration_images": 8, **more}
    # Names in C that begin with another word than others' are no matter for a project.
    options = {"isa": "here", "prefix": "lesion"} if runtime == "native" else {}
    target = RUNTIMES[runtime]
    made, _ = build_bundle(
        BuildRequest(
            **request, target=target, precision=precision, runtime=runtime, output=folder,
            options=options,
        )
    )  # fmt: skip
    return made.folder


def write_ppm(path: Path, pixels: NDArray[np.uint8]) -> Path:
    Image.fromarray(pixels).save(path)  # RGB as P6, grey as P5
    return path


def segment(made: Path, *words: Path | str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [made / "segment", *words], capture_output=True, text=True, check=False, timeout=120
    )


def masks(bundle: Path, kit: Path, made: Path, image: Path, folder: Path) -> list[Any]:
    """What C++ and the bundle's own runner give."""
    pixels = np.asarray(Image.open(image).convert("RGB"))
    ppm = write_ppm(folder / "picture.ppm", pixels)
    done = segment(made, ppm, folder / "mask.pgm", kit / "model")
    assert done.returncode == 0, done.stderr
    network = runpy.run_path(str(bundle / "runner" / "run.py"))["Network"](bundle)
    content = (folder / "mask.pgm").read_bytes()
    given = np.frombuffer(content[-pixels.shape[0] * pixels.shape[1] :], np.uint8)
    return [given.reshape(pixels.shape[:2]), network.predict(pixels)]
