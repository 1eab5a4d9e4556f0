"""A network compiled to WebAssembly beside ONNX Runtime Web, in node, on one thread.

npm install onnxruntime-web
python -m edgeseg.pipeline.studies.webassembly BUNDLE --runtime node_modules/onnxruntime-web
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgeseg.bundle.bundle import SOURCE_ONNX, Bundle, open_bundle
from edgeseg.data.folder import open_sample
from edgeseg.errors import BenchmarkError, EdgesegError, UsageError
from edgeseg.lower.rewrites import lower_graph
from edgeseg.storage.temporary import temporary_folder
from edgeseg.targets import find_runtime
from edgeseg.targets.native.runtime import CONTENTS, WEB_MODULE

RACE = Path(__file__).with_name("web") / "race.mjs"
ENTRY = Path("dist") / "ort.node.min.mjs"
PEER = "onnxruntime-web"
SETS = ("wasm", "wasm-relaxed")
RELAXED = "--experimental-wasm-relaxed-simd"  # of versions of node that have it behind an option
LIMIT_S = 600


@dataclass(frozen=True)
class WebRow:
    """One form of the network.

    Attributes:
        median_ms: Of a run, of the prepared image to probabilities.
        speedup: Over ONNX Runtime Web: median of the ratios of neighbouring runs.
        largest_difference: Of a probability, to ONNX Runtime Web's.
        flips: Pixels of the image that change sides of one half.
    """

    name: str
    median_ms: float
    speedup: float
    largest_difference: float
    flips: int


def race_in_node(bundle: Bundle, runtime: Path, rounds: int) -> tuple[list[WebRow], str]:
    """Let the bundle's network, as exported and as compiled, take turns on an image of the sample.

    Args:
        runtime: Folder of the package onnxruntime-web.

    Returns:
        A row of each, ONNX Runtime Web first, and its version.

    Raises:
        UsageError: There is no node, or the package is not there.
        BenchmarkError: Node failed.
    """
    node = shutil.which("node")
    if node is None:
        raise UsageError("There is no node on the PATH. Install it; Debian has it as nodejs.")
    entry = runtime / ENTRY
    if not entry.is_file():
        raise UsageError(
            f"There is no {entry}. Install the package with npm install {PEER}, and give its "
            f"folder as --runtime node_modules/{PEER}."
        )
    image = bundle.inputs.prepare(open_sample(["test"])[0].read_image())
    with temporary_folder("web") as name:
        folder = Path(name)
        request = _request(bundle, folder, entry, image, rounds)
        (folder / "request.json").write_text(json.dumps(request), encoding="utf-8")
        done = subprocess.run(
            [node, *relaxed_options(node), str(RACE), str(folder / "request.json")],
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"it ended with code {done.returncode}"]
        reason = next((line for line in lines if "Error: " in line), lines[-1])
        raise BenchmarkError(f"node failed: {reason[:300]}")
    answer = json.loads(done.stdout)
    times = {name: np.asarray(took) for name, took in answer["times"].items()}
    rows = [
        WebRow(
            name,
            float(np.median(took)),
            float(np.median(times[PEER] / took)),
            answer["differences"][name],
            answer["flips"][name],
        )
        for name, took in times.items()
    ]
    return rows, answer["version"]


def relaxed_options(node: str) -> list[str]:
    """What a version of node needs to run relaxed SIMD."""
    known = subprocess.run([node, RELAXED, "-e", "0"], capture_output=True, check=False)
    return [RELAXED] if known.returncode == 0 else []


def _request(
    bundle: Bundle, folder: Path, entry: Path, image: np.ndarray, rounds: int
) -> dict[str, Any]:
    native = find_runtime("native", {"isa": "+".join(SETS)})
    onnx_path = bundle.folder / SOURCE_ONNX
    lower_graph(onnx_path, native.rewrites["fp32"], folder / "lowered.onnx")
    made = native.compile(folder / "lowered.onnx", folder / "made", "fp32").folder
    image.tofile(folder / "image")
    contents = json.loads((made / CONTENTS).read_text(encoding="utf-8"))
    return {
        "module": str(WEB_MODULE),
        "networks": [
            {
                "name": f"native {one['isa']}",
                "library": str(made / one["library"]),
                "weights": str(made / one["weights"]),
            }
            for one in contents["libraries"]
        ],
        "onnx": str(onnx_path),
        "runtime": str(entry.absolute()),
        "image": str(folder / "image"),
        "shape": list(image.shape),
        "rounds": rounds,
    }


def main() -> None:
    """Print the table of one or more bundles."""
    parser = argparse.ArgumentParser(prog="python -m edgeseg.pipeline.studies.webassembly")
    parser.add_argument("bundles", type=Path, nargs="+", metavar="BUNDLE")
    parser.add_argument("--runtime", type=Path, required=True, help=f"folder of {PEER}")
    parser.add_argument("--rounds", type=int, default=60, help="runs of each (60)")
    given = parser.parse_args()
    try:
        for folder in given.bundles:
            bundle = open_bundle(folder)
            rows, version = race_in_node(bundle, given.runtime, given.rounds)
            print(f"{bundle.manifest.model.name}, {PEER} {version}, one thread:")
            for row in rows:
                print(
                    f"  {row.name:20} {row.median_ms:7.2f} ms {row.speedup:6.2f}x  differs by "
                    f"{row.largest_difference:.1e}, {row.flips} pixels flip"
                )
    except EdgesegError as error:
        sys.exit(f"Error: {error}")


if __name__ == "__main__":
    main()
