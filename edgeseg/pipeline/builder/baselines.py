"""What speed is compared with."""

from __future__ import annotations

import json
from pathlib import Path

from edgeseg.targets import Runtime

from ...progress import SILENT, Progress
from ...records import Artifact, sha256_of_file
from ...storage import cache
from ...storage.reading import read_json

BASELINE_RECORD = "artifact.json"
PLAIN, MENDED = "plain", "target"
BASELINES = {PLAIN: "plain export", MENDED: "FP32 baseline"}  # and how rows name them


def baseline_artifact(
    runtime: Runtime, onnx_path: Path, kind: str, progress: Progress = SILENT
) -> Artifact:
    """What speed is compared with, from the cache when it was made before.

    Args:
        kind: One of `BASELINES`.

    Raises:
        TargetError: The tool refuses the graph.
    """
    record = {
        "onnx": sha256_of_file(onnx_path),
        "runtime": runtime.name,
        "options": runtime.options.to_json(),
        "kind": kind,
    }

    def make(folder: Path) -> None:
        with progress.stage(f"compile the {kind} FP32 baseline for {runtime.name}"):
            if kind == PLAIN:
                artifact = runtime.compile_plain(onnx_path, folder)
            else:
                artifact = runtime.compile(onnx_path, folder, "fp32")
        content = json.dumps({**artifact.to_json(), "folder": ""})
        (folder / BASELINE_RECORD).write_text(content, encoding="utf-8")

    folder, _ = cache.get_or_make("baselines", record, make)
    try:
        return _read(folder)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        cache.tell_damaged(folder)
        return _read(cache.get_or_make("baselines", record, make, enabled=False)[0])


def _read(folder: Path) -> Artifact:
    return Artifact.from_json(read_json(folder / BASELINE_RECORD), folder)
