"""Many builds at once: every cell of models, targets and precisions, or the reason why not."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeseg.benchmarks.report import Report
from edgeseg.benchmarks.settings import require_cores
from edgeseg.targets import find_runtime
from edgeseg.targets.devices import device_names, find_device

from ..bundle.bundle import Bundle
from ..errors import EdgesegError, UsageError
from ..progress import SILENT, Progress
from ..storage.atomic import write_text
from .bench import BenchRequest, run_bench
from .build import BuildRequest, build_bundle
from .fleet.board import Board
from .fleet.cells import SweepCells, make_cells
from .fleet.here import run_here
from .fleet.plan import LOCAL, SweepPlan
from .fleet.results import SweepResult, collect
from .fleet.store import STORE_NAME, Store
from .fleet.work import Measurement, Work
from .measuring.mlflow_runs import TrackedRow, export_rows
from .verify import verify_bundle

SWEEP_NAME = "sweep.json"
BUNDLES = "bundles"
TIMEOUT_S = 3600.0


@dataclass(frozen=True)
class Cell:
    """One combination that was built.

    Attributes:
        request: What was to be built.
        bundle: The bundle, built and verified; None when it was refused.
        refusal: Why it was not built, in one sentence.
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
                cells.append(Cell(request, build_verified(request, progress)))
            except EdgesegError as error:
                cells.append(Cell(request, None, str(error)))
            stage.note(f"{cells[-1].name}: {cells[-1].refusal or 'built and verified'}")
            stage.advance()
    return cells


def write_cells(path: Path, cells: Sequence[Cell]) -> None:
    """Write cells that were built as JSON, atomically."""
    record = {"cells": [cell.to_json() for cell in cells], "reports": {}}
    write_text(path, json.dumps(record, indent=2) + "\n")


def build_verified(request: BuildRequest, progress: Progress = SILENT) -> Bundle:
    """Build a bundle and replay its golden pair."""
    bundle, _ = build_bundle(request, progress)
    verify_bundle(bundle.folder)
    return bundle


def measure_bundles(measurement: Measurement, progress: Progress = SILENT) -> Report:
    """Measure bundles, with those that are their baselines on a device, in one run."""
    request = BenchRequest(
        bundles=(*measurement.bundles, *measurement.baselines),
        data=measurement.data,
        splits=measurement.splits,
        images=measurement.images,
        threads=measurement.threads,
        runs=measurement.runs,
        device=measurement.device,
    )
    return run_bench(request, progress)


WORK = Work(build_verified, measure_bundles)


@dataclass(frozen=True)
class SweepRequest:
    """A sweep, and where it is done.

    Attributes:
        plan: The cells.
        output: Folder of the store, the bundles and the table.
        bundles: Folder of the bundles, within that.
        address: Of a Ray cluster, "auto" for one that runs here, or "local" to start one; None
            takes this process.
        build_elsewhere: On a cluster, leave builds to machines that measure nothing.
        timeout_s: On a cluster, longest time that a step may take, and wait for its start.
    """

    plan: SweepPlan
    output: Path
    bundles: str = BUNDLES
    address: str | None = None
    build_elsewhere: bool = False
    timeout_s: float = TIMEOUT_S

    def __post_init__(self) -> None:
        if self.address is None and self.build_elsewhere:
            raise UsageError("--build-elsewhere is for a cluster. Add --address, or leave it out.")
        if self.timeout_s <= 0:
            raise UsageError(
                f"--timeout {self.timeout_s:g} is no time. Give a number of seconds above 0."
            )
        if self.address is not None:
            return
        # What can be wrong with the measurement is told before anything is built.
        for name in self.plan.devices:
            if name == LOCAL:
                require_cores(max(self.plan.threads))
            elif name not in self.plan.addresses:
                raise UsageError(
                    f"The device {name} has no address. Write [device.{name}] with address = "
                    '"ssh://USER@HOST" into the file, or name a cluster that has it with '
                    "--address."
                )

    def cells(self) -> SweepCells:
        """See `make_cells`."""
        bundles = (self.output / self.bundles).absolute()
        return make_cells(self.plan, bundles, on_cluster=self.address not in (None, LOCAL))


@contextlib.contextmanager
def _existing_store(output: Path) -> Iterator[Store | None]:
    """The store of a sweep that has begun."""
    path = output / STORE_NAME
    if not path.is_file():
        yield None
        return
    with Store(path) as store:
        store.take_back()
        yield store


def sweep_status(request: SweepRequest) -> SweepResult:
    """Where a sweep stands; nothing is begun.

    Raises:
        EdgesegError: The plan or the store cannot be used.
    """
    known = request.cells()
    with _existing_store(request.output) as store:
        return collect(known, store)


def export_to_mlflow(result: SweepResult, uri: str) -> int:
    """Write cells that are done as runs of MLflow, each once; how many are new.

    Raises:
        EdgesegError: See `edgeseg.pipeline.measuring.mlflow_runs.export_rows`.
    """
    by_run = {report.rows[0]["run"]: report for report in result.reports.values()}
    rows = []
    for outcome in result.outcomes:
        if outcome.row is None or outcome.run is None:
            continue
        report = by_run[outcome.run]
        (row,) = (each for each in report.rows if each["key"] == outcome.row["key"])
        cell = outcome.cell
        rows.append(TrackedRow(row, report, cell.build.folder, outcome.identity(), cell.key))
    return export_rows(rows, uri)


def seconds_left(request: SweepRequest, result: SweepResult) -> float | None:
    """What is left, by what steps took before; None where none was done."""
    with _existing_store(request.output) as store:
        known = store.seconds() if store else {}
    open_cells = [outcome for outcome in result.outcomes if not outcome.is_settled]
    builds = {one.cell.build.key for one in open_cells if one.bundle is None}
    if open_cells and not known:
        return None
    return len(builds) * known.get("build", 0.0) + len(open_cells) * known.get("cell", 0.0)


def run_sweep(
    request: SweepRequest,
    progress: Progress = SILENT,
    tell: Callable[[str], object] = len,
    work: Work = WORK,
) -> SweepResult:
    """Build, verify and measure all cells that are not done yet.

    Ended at any time, the next call goes on: what is finished stays, and is not done again.

    Args:
        tell: Is told a line for each cell.
        work: How steps are done.

    Raises:
        EdgesegError: The plan, the store or the cluster cannot be used; a cell that fails or is
            refused is told in the result.
    """
    known = request.cells()
    with Store(request.output / STORE_NAME) as store:
        board = Board(request.plan, known, store, tell)
        if request.address is None:
            board.open()
            run_here(board, work, request.output, progress)
        else:
            from .fleet.cluster import Cluster

            with Cluster.connected(
                request.address, request.plan, request.build_elsewhere
            ) as cluster:
                board.open()
                cluster.run(board, work, request.timeout_s)
        return collect(known, store)
