"""What was measured, as runs of MLflow: one for each bundle."""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgeseg.benchmarks.pages.page import report_page
from edgeseg.benchmarks.report import Report
from edgeseg.bundle.bundle import open_bundle
from edgeseg.bundle.manifest import MANIFEST_NAME
from edgeseg.errors import BundleError, EdgesegError, UsageError, reason_of
from edgeseg.lazy import require, require_installed
from edgeseg.records import VERSION
from edgeseg.storage.temporary import temporary_folder

EXPERIMENT = "edgeseg"
ARTIFACTS = "mlartifacts"  # beside a database of SQLite
SQLITE = "sqlite:///"
CELL = "edgeseg.cell"
PURPOSE = "--mlflow"
PAGE = "report.html"
# Metrics by their names in MLflow: where a row has them.
METRICS = {
    **{f"latency/{key}_ms": ("latency_ms", key) for key in ("p50", "p90", "p99", "mean")},
    "latency/load_ms": ("load_ms",),
    "latency/first_ms": ("first_ms",),
    "speed/fps": ("fps",),
    "speed/speedup": ("speedup",),
    "memory/peak_rss_mb": ("peak_rss_mb",),
    "size/artifact_bytes": ("artifact_bytes",),
    "accuracy/flips_per_10k": ("flips_per_10k",),
}


@dataclass(frozen=True)
class TrackedRow:
    """A row on its way to MLflow.

    Attributes:
        report: In which it stands.
        bundle: Folder of the bundle.
        parameters: Beside those that the row tells; None is left out.
        cell: What is exported once only; empty exports it anew each time.
    """

    row: Mapping[str, Any]
    report: Report
    bundle: Path
    parameters: Mapping[str, Any] = field(default_factory=dict)
    cell: str = ""


def tracked_rows(report: Report, bundles: Sequence[Path]) -> list[TrackedRow]:
    """The rows of a report that are of these bundles."""
    folders = {str(folder.resolve()): folder for folder in bundles}
    return [
        TrackedRow(row, report, folders[row["key"]]) for row in report.rows if row["key"] in folders
    ]


def require_mlflow(uri: str) -> None:
    """Refuse at once what would fail after the work.

    Raises:
        UsageError: The address has another form.
        MissingBackendError: A package is not installed.
    """
    scheme, separator, rest = uri.partition("://")
    if not (scheme and separator and rest.strip("/")) or scheme == "file":
        raise UsageError(
            f"--mlflow {uri} is no address of MLflow that keeps runs. Write sqlite:///mlflow.db "
            "for a file here, or http://HOST:PORT for a server."
        )
    require_installed(["mlflow", "sqlalchemy", "alembic"], purpose=PURPOSE)


def export_rows(rows: Sequence[TrackedRow], uri: str) -> int:
    """Write rows as runs of the experiment "edgeseg".

    A row with a cell that is there already is left alone.

    Returns:
        How many runs were written.

    Raises:
        UsageError, MissingBackendError: See `require_mlflow`.
        EdgesegError: MLflow does not take them.
    """
    require_mlflow(uri)
    mlflow = require("mlflow", purpose=PURPOSE)
    with _translated(uri, mlflow), temporary_folder("mlflow") as folder:
        client = mlflow.MlflowClient(tracking_uri=uri)
        experiment = _experiment(client, uri)
        known = _known_cells(client, experiment)
        new = [row for row in rows if not row.cell or row.cell not in known]
        pages: dict[int, Path] = {}
        for row in new:
            if id(row.report) not in pages:
                page = pages[id(row.report)] = folder / str(len(pages)) / PAGE
                page.parent.mkdir()
                page.write_text(report_page([row.report], []), encoding="utf-8")
            _write(mlflow, client, experiment, row, pages[id(row.report)])
        return len(new)


@contextlib.contextmanager
def _translated(uri: str, mlflow: Any) -> Iterator[None]:
    """A block in which MLflow's errors tell what to do."""
    sqlalchemy = require("sqlalchemy", purpose=PURPOSE)
    try:
        yield
    except (mlflow.MlflowException, sqlalchemy.exc.SQLAlchemyError, OSError) as error:
        raise EdgesegError(
            f"MLflow at {uri} does not take the results ({reason_of(error)}). Check the address "
            "and its rights; the results themselves are kept, and can be exported again."
        ) from error


def _experiment(client: Any, uri: str) -> str:
    """Number of the experiment; files of a database of SQLite lie beside it."""
    found = client.get_experiment_by_name(EXPERIMENT)
    if found is not None:
        number: str = found.experiment_id
        return number
    place = None
    if uri.startswith(SQLITE):
        database = Path(os.path.abspath(uri.removeprefix(SQLITE)))  # noqa: PTH100 (links stay)
        place = (database.parent / ARTIFACTS).as_uri()
    made: str = client.create_experiment(EXPERIMENT, artifact_location=place)
    return made


def _known_cells(client: Any, experiment: str) -> set[str]:
    """Cells that were exported whole."""
    found: set[str] = set()
    token = None
    while True:
        page = client.search_runs([experiment], "attributes.status = 'FINISHED'", page_token=token)
        found |= {run.data.tags[CELL] for run in page if CELL in run.data.tags}
        token = page.token
        if not token:
            return found


def _write(mlflow: Any, client: Any, experiment: str, tracked: TrackedRow, page: Path) -> None:
    row = tracked.row
    tags = {
        "edgeseg.version": VERSION,
        "edgeseg.protocol": str(tracked.report.protocol.get("version", "")),
        "edgeseg.run": str(row.get("run", "")),
        CELL: tracked.cell,
    }
    manifest = tracked.bundle / MANIFEST_NAME
    with contextlib.suppress(BundleError):  # it may have been removed since it was measured
        tags["edgeseg.bundle_sha256"] = open_bundle(tracked.bundle).identity
    tags = {name: value for name, value in tags.items() if value}
    run = client.create_run(experiment, run_name=row["name"], tags=tags).info.run_id
    now = int(time.time() * 1000)
    metrics = [mlflow.entities.Metric(name, value, now, 0) for name, value in metrics_of(row)]
    parameters = [
        mlflow.entities.Param(name, str(value))
        for name, value in {**parameters_of(row), **tracked.parameters}.items()
        if value is not None
    ]
    client.log_batch(run, metrics=metrics, params=parameters)
    for path in (manifest, page):
        if path.is_file():
            client.log_artifact(run, str(path))
    client.set_terminated(run)  # what was cut short before this is written again


def parameters_of(row: Mapping[str, Any]) -> dict[str, str]:
    """What was measured, in flat texts."""
    known = {name: row.get(name) for name in ("model", "target", "precision", "threads", "device")}
    size = row.get("input_size")
    known["size"] = f"{size[0]}x{size[1]}" if size else None
    return {name: str(value) for name, value in known.items() if value}


def metrics_of(row: Mapping[str, Any]) -> list[tuple[str, float]]:
    """Numbers of a row, by their names in MLflow; what was not measured is left out."""
    found = {name: _value(row, place) for name, place in METRICS.items()}
    for kind in ("accuracy", "delta"):
        found |= {f"{kind}/{name}": value for name, value in (row.get(kind) or {}).items()}
    for use in ((row.get("sustained") or {}).get("energy") or ())[:1]:
        found["energy/mj"] = use.get("mj_per_inference")
    return [
        (name, float(value))
        for name, value in found.items()
        if isinstance(value, (int, float)) and math.isfinite(value)
    ]


def _value(row: Mapping[str, Any], place: tuple[str, ...]) -> Any:
    value: Any = row
    for key in place:
        value = (value or {}).get(key)
    return value
