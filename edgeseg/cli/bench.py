"""edgeseg bench"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from .bench_table import bench_table, describe_run, row_warnings
from .console import make_progress, print_note, print_table

DEFAULT_SPLITS = ["val", "test"]


def bench(
    bundles: Annotated[list[Path], typer.Argument(help="Bundles that edgeseg build wrote.")],
    data: Annotated[
        Path | None, typer.Option(help="Folder with images/ and masks/ (default: the sample).")
    ] = None,
    split: Annotated[
        list[str] | None,
        typer.Option(help="Split to measure on; may be repeated (default: val, test)."),
    ] = None,
    json_path: Annotated[Path | None, typer.Option("--json", help="Also write to FILE.")] = None,
    threads: Annotated[int, typer.Option(help="CPU threads of each artefact.", min=1)] = 1,
    runs: Annotated[int, typer.Option(help="Counted inferences of each artefact.", min=1)] = 200,
    record: Annotated[bool, typer.Option(help="Add the rows to the bundles' manifests.")] = False,
) -> None:
    """Measure speed, memory and accuracy of bundles against their float baseline."""
    from edgeseg.atomic import write_text
    from edgeseg.benchmarks.measure import BenchSettings
    from edgeseg.bundle import open_bundle
    from edgeseg.pipeline.bench import bench_bundles
    from edgeseg.pipeline.build import open_split

    opened = [open_bundle(folder) for folder in bundles]
    dataset = open_split(data, *(split or DEFAULT_SPLITS))
    settings = BenchSettings(threads=threads, runs=runs)
    report = bench_bundles(opened, dataset, settings, make_progress())
    if json_path is not None:
        write_text(json_path, json.dumps(report.to_json(), indent=2) + "\n")
    if record:
        for bundle in opened:
            bundle.with_measurements(
                {**row, "environment": report.environment, "data": report.data}
                for row in report.rows
                if row["key"] == str(bundle.folder.resolve())
            )
    print_table(bench_table(report.reference, report.rows))
    print_note(describe_run(report.environment, report.data))
    for warning in row_warnings(report.rows):
        print_note(f"Warning: {warning}")
