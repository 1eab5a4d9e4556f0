"""Many builds at once: every cell of models, targets and precisions, or the reason why not."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgeseg.benchmarks.report import Report
from edgeseg.benchmarks.settings import BenchSettings
from edgeseg.targets import find_runtime
from edgeseg.targets.devices import device_names, find_device

from ..bundle.bundle import Bundle
from ..data.folder import FolderDataset
from ..errors import EdgesegError
from ..progress import SILENT, Progress
from ..storage.atomic import write_text
from .build import BuildRequest, build_bundle
from .measuring.local import bench_bundles
from .verify import verify_bundle

SWEEP_NAME = "sweep.json"


@dataclass(frozen=True)
class Cell:
    """One combination.

    Attributes:
        request: What was to be built.
        bundle: The bundle, built and verified; None when it was refused.
        refusal: Why it was not built, or not measured, in one sentence.
    """

    request: BuildRequest
    bundle: Bundle | None
    refusal: str = ""

    @property
    def name(self) -> str:
        request = self.request
        return f"{request.model}-{request.target}-{request.precision}"

    def to_json(self) -> dict[str, Any]:
        request = self.request
        return {
            "model": request.model,
            "target": request.target,
            "precision": request.precision,
            "bundle": str(self.bundle.folder) if self.bundle else None,
            "refusal": self.refusal or None,
        }


def targets_that_build_here() -> tuple[str, ...]:
    """Names of the targets whose own runtime's packages are installed."""
    owners = {name: find_device(name).runtimes[0] for name in device_names()}
    return tuple(name for name, own in owners.items() if find_runtime(own).diagnose().builds)


def build_cells(requests: Sequence[BuildRequest], progress: Progress = SILENT) -> list[Cell]:
    """Build and verify each; what is refused does not stop the others."""
    cells = []
    with progress.stage("build all", total=len(requests)) as stage:
        for request in requests:
            try:
                bundle, _ = build_bundle(request, progress)
                verify_bundle(bundle.folder)
                cells.append(Cell(request, bundle))
            except EdgesegError as error:
                cells.append(Cell(request, None, str(error)))
            stage.note(f"{cells[-1].name}: {cells[-1].refusal or 'built and verified'}")
            stage.advance()
    return cells


def measure_cells(
    cells: Sequence[Cell],
    data: Mapping[str, FolderDataset],
    settings: BenchSettings,
    progress: Progress = SILENT,
) -> tuple[list[Cell], dict[str, Report]]:
    """Measure the bundles of each model in one interleaved run.

    Args:
        data: Labelled images by model.

    Returns:
        The cells, with the reason where a model was built and could not be measured; and the
        report of each model that was.
    """
    reports = {}
    found = list(cells)
    for model in dict.fromkeys(cell.request.model for cell in cells):
        bundles = [cell.bundle for cell in cells if cell.bundle and cell.request.model == model]
        if not bundles:
            continue
        try:
            reports[model] = bench_bundles(bundles, data[model], settings, progress)
        except EdgesegError as error:
            reason = f"built, but not measured: {error}"
            found = [
                replace(cell, refusal=reason)
                if cell.bundle and cell.request.model == model
                else cell
                for cell in found
            ]
    return found, reports


def sweep_record(cells: Sequence[Cell], reports: Mapping[str, Report]) -> dict[str, Any]:
    """Cells and reports as JSON."""
    return {
        "cells": [cell.to_json() for cell in cells],
        "reports": {model: report.to_json() for model, report in reports.items()},
    }


def write_sweep(path: Path, cells: Sequence[Cell], reports: Mapping[str, Report]) -> None:
    """Write cells and reports as JSON, atomically."""
    write_text(path, json.dumps(sweep_record(cells, reports), indent=2) + "\n")
