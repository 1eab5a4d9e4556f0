"""Builds networks for targets in precisions, and lists the checksum of each artefact.

Two lists of two versions of edgeseg tell whether a change moved a byte of what ships:

    python tests/artifact_checksums.py --output old.json --python OLD/.venv/bin/python
    python tests/artifact_checksums.py --output new.json --against old.json

MSNet and M2SNet have no shipped weights; give some with `--weights`, the same to both. What is in
the output file is not built again. It ends with code 1 where a checksum differs.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

MODELS = ("egeunet", "ulite", "miniseg", "msnet", "m2snet")
TARGETS = ("onnxruntime", "intel", "jetson", "android")
PRECISIONS = ("fp32", "int8")


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", default=sys.executable, help="Interpreter that has edgeseg.")
    parser.add_argument("--output", type=Path, required=True, help="JSON list to write.")
    parser.add_argument("--against", type=Path, help="Another such list to compare with.")
    parser.add_argument("--models", nargs="+", default=MODELS, metavar="MODEL")
    parser.add_argument("--targets", nargs="+", default=TARGETS, metavar="TARGET")
    parser.add_argument("--precisions", nargs="+", default=PRECISIONS, metavar="PRECISION")
    parser.add_argument(
        "--weights", nargs="*", default=[], metavar="MODEL=FILE", help="Weights to build with."
    )
    return parser.parse_args()


def checksum(options: argparse.Namespace, model: str, target: str, precision: str) -> str:
    """SHA-256 of each file of one artefact, or why it was not built."""
    weights = dict(pair.split("=", 1) for pair in options.weights)
    with tempfile.TemporaryDirectory() as folder:
        bundle = Path(folder) / "bundle"
        command = [options.python, "-m", "edgeseg", "build", "--model", model, "--target", target]
        command += ["--precision", precision, "--output", str(bundle), "--calibration-images", "16"]
        if model in weights:
            command += ["--weights", str(Path(weights[model]).absolute())]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
        if done.returncode != 0:
            return f"not built: {done.stderr.strip()[-300:]}"
        manifest = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
    files = [file for file in manifest["files"] if file["role"] == "artifact"]
    return " ".join(f"{Path(file['path']).name}:{file['sha256']}" for file in files)


def main() -> int:
    options = read_options()
    cells = [
        f"{model} {target} {precision}"
        for model in options.models
        for target in options.targets
        for precision in options.precisions
    ]
    output: Path = options.output
    found = json.loads(output.read_text(encoding="utf-8")) if output.is_file() else {}
    for cell in cells:
        if cell not in found:
            found[cell] = checksum(options, *cell.split())
            output.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
        print(cell, found[cell], flush=True)
    if options.against is None:
        return 0
    other = json.loads(options.against.read_text(encoding="utf-8"))
    differing = [cell for cell in cells if found[cell] != other.get(cell)]
    for cell in differing:
        print(f"DIFFERS {cell}\n  ours   {found[cell]}\n  theirs {other.get(cell)}")
    print(f"{len(cells) - len(differing)} of {len(cells)} artefacts are equal.")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
