"""Builds, checks and measures this bundle on the Jetson that it was made for.

    python runner/kit.py           build the engine, replay the golden pair, print timings as JSON
    python runner/kit.py build     only build the engine, which is kept in ~/.cache/edgeseg
    python runner/kit.py verify    only replay the golden pair
    python runner/kit.py bench     only print the timings

Needs Python 3.10 or later, numpy, JetPack's tensorrt, and cuda-python or pycuda.
"""

from __future__ import annotations

import argparse
import json
import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


def build(backend: Any, folder: Path, workspace_mb: int | None, rebuild: bool) -> str:
    """Build the engine, or find it built; returns a line that describes it."""
    artifact = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["artifact"]
    path, record = backend.ensure_engine(
        backend.import_tensorrt(artifact["settings"]["package"]),
        backend.open_cuda(),
        folder,
        artifact["files"],
        workspace_mb=workspace_mb,
        rebuild=rebuild,
    )
    return (
        f"engine: {path}, {record['engine']['size_bytes'] / 1e6:.1f} MB, TensorRT "
        f"{record['version']}, {record['device']}, built in {record['build_s']} s"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("step", nargs="?", choices=("build", "verify", "bench"))
    parser.add_argument("--workspace-mb", type=int, help="scratch memory, in place of the plan's")
    parser.add_argument("--rebuild", action="store_true", help="build the engine in any case")
    parser.add_argument("--runs", type=int, default=200, help="inferences to time")
    arguments = parser.parse_args()
    try:
        return run(arguments)
    except (OSError, EOFError, ValueError, RuntimeError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1


def run(arguments: argparse.Namespace) -> int:
    """Take the steps; messages go to standard error, the timings to standard output."""
    folder, step = HERE.parent, arguments.step
    runner = runpy.run_path(str(HERE / "run.py"))
    if step in (None, "build"):
        engine = build(runner["backend"], folder, arguments.workspace_mb, arguments.rebuild)
        print(engine, file=sys.stderr)
    if step in (None, "verify"):
        holds, numbers = runner["Network"](folder).verify()
        print(("ok: " if holds else "FAILED: ") + numbers, file=sys.stderr)
        if not holds:
            return 1
    if step is None:
        # In a process of its own: memory is that of the network, not of building the engine.
        bench = [sys.executable, str(HERE / "kit.py"), "bench", "--runs", str(arguments.runs)]
        here = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        return subprocess.run(bench, env=here, check=False).returncode
    if step == "bench":
        measure = runpy.run_path(str(HERE / "device_bench.py"))["measure"]
        _, record = measure(folder, arguments.runs, load=runner["Network"])
        print(json.dumps(record, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
