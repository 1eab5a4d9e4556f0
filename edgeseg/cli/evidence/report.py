"""edgeseg report"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ...errors import OutputInUseError, UsageError
from ..terminal.console import print_result
from ..terminal.options import Overwrite, RequiredOutput
from .files import read_record, whole_records

if TYPE_CHECKING:
    from edgeseg.benchmarks.report import Report

MARK = "report.json"
SCHEMA_VERSION = 1
NAMES = ("name", "model", "target", "precision", "is_baseline")  # first columns of the CSV file


def report(
    files: Annotated[
        list[Path],
        typer.Argument(
            help="Files that edgeseg bench or profile wrote with --json-file; folders of sweeps."
        ),
    ],
    output: RequiredOutput,
    overwrite: Overwrite = False,
) -> None:
    """Write reports of benchmarks and profiles as one page, and as JSON, CSV and Markdown.

    report.html holds all that it shows: it can be sent, printed, and opened without a network.
    """
    from edgeseg.benchmarks.pages.page import report_page

    from ...bundle.bundle import require_free_output
    from ...records import VERSION
    from ...storage.atomic import writing_folder

    require_free_output(output, overwrite=overwrite, what="report", mark=MARK)
    _require_no_others(output)
    reports, profiles = read_runs(files)
    record = {
        "schema_version": SCHEMA_VERSION,
        "edgeseg_version": VERSION,
        "reports": [one.to_json() for one in reports],
        "profiles": profiles,
    }
    with whole_records(files):
        texts = {
            "report.html": report_page(reports, profiles),
            MARK: json.dumps(record) + "\n",
            "report.csv": csv_text(reports),
            "report.md": markdown_text(reports),
        }
    with writing_folder(output, replace=overwrite) as folder:
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")
        size = (folder / "report.html").stat().st_size
    count = sum(len(one.rows) for one in reports)
    print_result(f"{output / 'report.html'}: {count} rows, {size / 1e3:.0f} kB")


def _require_no_others(output: Path) -> None:
    """Refuse to replace a folder that holds other things than a report.

    Raises:
        OutputInUseError: It names some.
    """
    own = ("report.html", MARK, "report.csv", "report.md")
    others = (
        sorted(path.name for path in output.iterdir() if path.name not in own)
        if (output.is_dir())
        else []
    )
    if others:
        raise OutputInUseError(
            f"{output} holds other things beside a report, {', '.join(others[:3])}, which "
            "--overwrite would remove with it. Move them, or choose another --output."
        )


def read_runs(paths: Sequence[Path]) -> tuple[list[Report], list[dict[str, Any]]]:
    """Reports and profiles.

    Raises:
        UsageError: A file is neither.
    """
    from edgeseg.benchmarks.report import Report

    reports, profiles = [], []
    for path in paths:
        if path.is_dir():
            reports += sweep_reports(path)
            continue
        record = read_record(path)
        if isinstance(record, dict) and "layers" in record:
            profiles.append(_profile(record, path))
        else:
            reports.append(Report.from_json(record))
    return reports, profiles


def sweep_reports(folder: Path) -> list[Report]:
    """What a sweep measured.

    Raises:
        UsageError: The folder holds no sweep, or one that has measured nothing.
    """
    from edgeseg.benchmarks.report import Failure, Report

    from ...pipeline.sweep import SWEEP_NAME

    path = folder / SWEEP_NAME
    if not path.is_file():
        raise UsageError(
            f"{folder} holds no sweep: it has no {SWEEP_NAME}. Name the folder of edgeseg sweep; "
            "where that was ended, edgeseg sweep --status writes the file."
        )
    record = read_record(path)
    with whole_records([path]):
        found = [Report.from_json(one) for one in record["reports"].values()]
        missing = [
            Failure(
                "-".join(cell[name] for name in ("model", "target", "precision")),
                cell["model"],
                cell["target"],
                f"{cell.get('state', 'refused')}: {cell['refusal']}",
            )
            for cell in record["cells"]
            if cell["refusal"]
        ]
    if not found:
        raise UsageError(f"{path} has no measured cell. Look at edgeseg sweep --status.")
    return [replace(found[0], failures=[*found[0].failures, *missing]), *found[1:]]


def _profile(record: dict[str, Any], path: Path) -> dict[str, Any]:
    try:
        for layer in record["layers"]:
            float(layer["milliseconds"]), str(layer["module"])
        float(record["sum_ms"]), float(record["run_ms"]), float(record["named_share"])
        str(record["name"])
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(
            f"{path} is no profile. Take the file that edgeseg profile --json-file has written, "
            "unchanged."
        ) from error
    return record


def csv_text(reports: Sequence[Report]) -> str:
    """A line for each row."""
    from edgeseg.benchmarks.report import COLUMNS, column_values

    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*NAMES, *COLUMNS])
    for one in reports:
        for row in one.rows:
            names = ["" if row.get(name) is None else row[name] for name in NAMES]
            writer.writerow([*map(_csv_cell, names), *column_values(row)])
    return file.getvalue()


def _csv_cell(value: Any) -> Any:
    """A text that begins like a formula gets an apostrophe: spreadsheets would compute it."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@") else value


def markdown_text(reports: Sequence[Report]) -> str:
    """The table of `edgeseg bench`, for a page or a pull request."""
    from ..terminal.bench_table import bench_titles, markdown_cell, row_cells

    rows = [row for one in reports for row in one.rows]
    titles = bench_titles(rows)
    lines = [titles, ["---"] * len(titles), *map(row_cells, rows)]
    return "".join(f"| {' | '.join(map(markdown_cell, cells))} |\n" for cells in lines)
