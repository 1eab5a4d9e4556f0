"""What speed is compared with, and how another process opens an artefact."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from edgeseg.targets import Runtime, find_runtime

from ...lazy import NATIVE_MODULES, provider_of
from ...progress import SILENT, Progress
from ...records import Artifact, RunnerSpec, sha256_of_file
from ...storage import cache

BASELINE_RECORD = "artifact.json"
PLAIN, MENDED = "plain", "target"
BASELINES = {PLAIN: "plain export", MENDED: "float baseline"}  # and how rows name them


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
        with progress.stage(f"compile the {kind} float baseline for {runtime.name}"):
            if kind == PLAIN:
                artifact = runtime.compile_plain(onnx_path, folder)
            else:
                artifact = runtime.compile(onnx_path, folder, "fp32")
        content = json.dumps({**artifact.to_json(), "folder": ""})
        (folder / BASELINE_RECORD).write_text(content, encoding="utf-8")

    folder, _ = cache.get_or_make("baselines", record, make)
    record = json.loads((folder / BASELINE_RECORD).read_text(encoding="utf-8"))
    return Artifact.from_json(record, folder)


def artifact_runner(artifact: Artifact, threads: int) -> RunnerSpec:
    found = replace(artifact, folder=artifact.folder.resolve())
    return RunnerSpec(
        place="edgeseg.targets:open_backend",
        arguments={"artifact": found.to_json(), "threads": threads},
        packages=_packages_here(artifact.runtime),
        threads=threads,
    )


def _packages_here(name: str) -> tuple[str, ...]:
    """What a benchmark process loads before memory is first looked at."""
    runtime = find_runtime(name)
    if runtime.fallback_runtime():
        return ()
    providers = [provider_of(package) for package in runtime.run_packages]
    natives = [NATIVE_MODULES.get(package, package) for package in providers]
    return (*natives, type(runtime).__module__, runtime.backend_module)
