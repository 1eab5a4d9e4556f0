"""Bundles that hold no more than what their runner touches, run as on a device without edgeseg."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import edgeseg.bundle.golden
import edgeseg.bundle.identity
import edgeseg.contract
import edgeseg.targets.runners
from edgeseg.contract import OutputContract
from edgeseg.models import find_model

RUNNERS = Path(edgeseg.targets.runners.__path__[0])
SIZE = 32
SHARED = (
    edgeseg.contract.__file__,
    edgeseg.bundle.golden.__file__,
    edgeseg.bundle.identity.__file__,
)

FAKE_BACKEND = """
import numpy as np
class Backend:
    def __init__(self, folder, files, runtime, threads):
        assert (files, runtime, threads) == (["artifact/net.bin"], {"device": "CPU"}, 1)
    def run(self, image):
        return (image[:, :1] > 127).astype(np.float32)
"""


def make_bundle(folder: Path, artifact: Mapping[str, Any], runner: Mapping[str, bytes]) -> Path:
    """A bundle of a network that calls what is bright foreground.

    Args:
        artifact: Its part of the manifest.
        runner: Files beside run.py, contract.py, golden.py and identity.py.
    """
    for name in ("runner", "golden"):
        (folder / name).mkdir()
    for source in (RUNNERS / "run.py", *map(Path, SHARED)):
        (folder / "runner" / source.name).write_bytes(source.read_bytes())
    for file, content in runner.items():
        (folder / "runner" / file).write_bytes(content)
    image = np.zeros((4, 6, 3), np.uint8)
    image[:2] = 255
    np.save(folder / "image.npy", image)
    np.save(folder / "golden" / "image.npy", image)
    mask = np.zeros((1, 1, SIZE, SIZE), np.float16)
    mask[:, :, : SIZE // 2] = 1
    np.save(folder / "golden" / "mask.npy", mask)
    manifest = {
        "model": {"name": "brightness"},
        "target": "any",
        "precision": "fp32",
        "artifact": artifact,
        "input": find_model("egeunet").at_size(SIZE, SIZE).inputs.to_json(),
        "output": OutputContract(("background", "bright"), 1).to_json(),
        "golden": {
            "image": "golden/image.npy",
            "mask": "golden/mask.npy",
            "max_abs_diff": 0.001,
            "max_flips_per_10k": 1.0,
        },
        "files": [{"path": "artifact/net.bin", "sha256": "0" * 64}],
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def run_script(
    bundle: Path, script: str, *words: str, paths: Sequence[Path] = ()
) -> subprocess.CompletedProcess[str]:
    """Run a script of runner/ in its own process.

    Args:
        paths: Where else to look for packages.
    """
    # -I: neither PYTHONPATH nor the current folder; -S: no site-packages but numpy's.
    numpy_folder = str(Path(np.__file__).parent.parent)
    program = (
        "import sys, runpy; sys.modules['edgeseg'] = None; "
        f"sys.path[:0] = {[str(bundle / 'runner'), *map(str, paths), numpy_folder]!r}; "
        f"sys.argv = {[script, *words]!r}; "
        f"runpy.run_path({str(bundle / 'runner' / script)!r}, run_name='__main__')"
    )
    return subprocess.run(
        [sys.executable, "-I", "-S", "-c", program],
        capture_output=True,
        text=True,
        check=False,
        cwd=bundle,
        env=dict(os.environ),
    )
