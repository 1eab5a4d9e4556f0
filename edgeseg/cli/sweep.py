"""edgeseg sweep"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import UsageError
from ..records import short_name
from .terminal.bench_table import (
    bench_titles,
    describe_report,
    markdown_table,
    reference_cells,
    row_cells,
)
from .terminal.console import make_progress, print_json, print_note, print_result
from .terminal.options import AsJson, RequiredOutput, Runs, Split, Threads

if TYPE_CHECKING:
    from edgeseg.benchmarks.report import Report

    from ..pipeline.sweep import Cell

DEFAULT_PRECISIONS = ["fp32", "int8"]
TABLE_NAME = "table.md"


def sweep(
    output: RequiredOutput,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model", "-m", help="Network; may be repeated (default: the ones with weights)."
        ),
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(
            "--target", "-t", help="Device; may be repeated (default: the ones that build here)."
        ),
    ] = None,
    precision: Annotated[
        list[str] | None,
        typer.Option(
            "--precision", "-p", help="Precision; may be repeated (default: fp32 and int8)."
        ),
    ] = None,
    weights: Annotated[
        list[str] | None,
        typer.Option(
            help="Checkpoint of a network, MODEL=FILE; may be repeated (default: the shipped ones)."
        ),
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(
            help="Data folder of a network, MODEL=FOLDER; may be repeated (default: the sample)."
        ),
    ] = None,
    split: Split = None,
    threads: Threads = 1,
    runs: Runs = 100,
    as_json: AsJson = False,
) -> None:
    """Build, verify and measure networks on targets in precisions, and print one table.

    Refused builds are rows with their reason. Equal builds come from the cache.
    """
    from edgeseg.benchmarks.settings import BenchSettings

    from ..models import list_models
    from ..pipeline.bench import BenchRequest
    from ..pipeline.build import BuildRequest, open_split
    from ..pipeline.sweep import (
        SWEEP_NAME,
        build_cells,
        measure_cells,
        sweep_record,
        targets_that_build_here,
        write_sweep,
    )

    weights_of = _paths_by_model(weights or [], "--weights")
    data_of = _paths_by_model(data or [], "--data")
    models = list(dict.fromkeys(model or ())) or [
        spec.name for spec in list_models() if spec.weights or spec.name in weights_of
    ]
    for option, named in (("--weights", weights_of), ("--data", data_of)):
        for name in named:
            if name not in models:
                raise UsageError(f"{option} names {name}, which is not swept. Add --model {name}.")
    requests = [
        BuildRequest(
            model=name,
            target=target_name,
            precision=precision_name,
            output=output / f"{short_name(name)}-{target_name}-{precision_name}",
            weights=weights_of.get(name),
            data=data_of.get(name),
            overwrite=True,
        )
        for name in models
        for target_name in target or targets_that_build_here()
        for precision_name in precision or DEFAULT_PRECISIONS
    ]
    settings = BenchSettings(threads=threads, runs=runs)
    # What can be wrong with the measurement is told before anything is built.
    settings.require_cores()
    datasets = {
        name: open_split(data_of.get(name), *(split or BenchRequest.splits)) for name in models
    }
    progress = make_progress()
    cells = build_cells(requests, progress)
    cells, reports = measure_cells(cells, datasets, settings, progress)
    write_sweep(output / SWEEP_NAME, cells, reports)
    from ..storage.atomic import write_text

    text = sweep_table(cells, reports)
    write_text(output / TABLE_NAME, text)
    if as_json:
        print_json(sweep_record(cells, reports))
        return
    print_result(text.rstrip("\n"))
    for report in reports.values():
        for line in describe_report(report):
            print_note(line)


def sweep_table(cells: Sequence[Cell], reports: dict[str, Report]) -> str:
    """Markdown: a row for each FP32 reference, each baseline, each bundle, each refusal."""
    titles = bench_titles([row for report in reports.values() for row in report.rows])
    rows = []
    for model in dict.fromkeys(cell.request.model for cell in cells):
        if model in reports:
            report = reports[model]
            rows += [reference_cells(row) for row in report.reference]
            rows += [row_cells(row) for row in report.rows]
        rows += [
            [cell.name, f"refused: {cell.refusal}", *[""] * (len(titles) - 2)]
            for cell in cells
            if cell.request.model == model and cell.refusal
        ]
    return markdown_table(titles, rows)


def _paths_by_model(words: Sequence[str], option: str) -> dict[str, Path]:
    """Read "MODEL=PATH" words.

    Raises:
        UsageError: A word of another form, or a path that does not exist.
    """
    found = {}
    for word in words:
        model, equals, text = word.partition("=")
        if not (model and equals and text):
            raise UsageError(f"{option} {word} is not MODEL=PATH. Write it as egeunet=PATH.")
        if not Path(text).exists():
            raise UsageError(f"{option} {word}: there is no {text}. Check the path.")
        found[model] = Path(text)
    return found
