"""edgeseg sweep"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InterruptedCommandError, OutputInUseError, UsageError
from ..storage.atomic import write_text
from .terminal.console import make_progress, print_json, print_note, print_result
from .terminal.options import AsJson, Mlflow, Output, Runs, Split, Threads
from .terminal.sweep_table import describe_sweep, print_sweep, status_line, sweep_table

if TYPE_CHECKING:
    from ..pipeline.fleet.plan import SweepPlan
    from ..pipeline.fleet.results import SweepResult
    from ..pipeline.sweep import SweepRequest

TABLE_NAME = "table.md"
CSV_NAME = "sweep.csv"
# What a SWEEP.toml says, by the name of the parameter.
IN_FILE = ("model", "target", "precision", "weights", "data", "split", "threads", "runs")
RUNS = Path("runs")


def sweep(
    context: typer.Context,
    file: Annotated[
        Path | None,
        typer.Argument(help="TOML file with the cells; --write makes a first one.", metavar="FILE"),
    ] = None,
    output: Output = None,
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
    write: Annotated[
        Path | None,
        typer.Option(help="Write what the options say as a TOML file, and do nothing else."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the cells and what is done; do nothing.")
    ] = False,
    status: Annotated[
        bool, typer.Option("--status", help="Show what is done so far, as a table.")
    ] = False,
    address: Annotated[
        str | None,
        typer.Option(
            help="Ray cluster to work on: HOST:PORT, auto for the one that this machine belongs "
            "to, or local to start one here (default: this process)."
        ),
    ] = None,
    build_elsewhere: Annotated[
        bool,
        typer.Option(
            "--build-elsewhere", help="On a cluster, build on no machine that measures itself."
        ),
    ] = False,
    timeout: Annotated[
        float,
        typer.Option(
            help="Longest time that a step on a cluster may take, or wait for its start, in "
            "seconds."
        ),
    ] = 3600.0,
    mlflow: Mlflow = None,
    as_json: AsJson = False,
) -> None:
    """Build, verify and measure networks on targets in precisions, and print one table.

    Refused builds are rows with their reason. A sweep that was ended goes on where it stopped: what
    is finished is kept in the output folder, runs/NAME for NAME.toml, else runs/sweep. Exit code 1
    says that a cell failed, 130 that the sweep was interrupted.
    """
    from ..pipeline.fleet.sweep_file import read_sweep_file, sweep_file_text
    from ..pipeline.measuring.mlflow_runs import require_mlflow
    from ..pipeline.sweep import BUNDLES, SweepRequest

    if file is not None:
        _require_no_axes(context, file)
        plan = read_sweep_file(file)
    else:
        plan = _plan_of_options(
            model, target, precision, weights or [], data or [], split, threads, runs
        )
    if write is not None:
        if write.exists():
            raise OutputInUseError(f"{write} exists. Name another file, or remove it.")
        write_text(write, sweep_file_text(plan))
        print_result(f"{write}: {len(plan.points())} cells. Start it with edgeseg sweep {write}")
        return
    request = SweepRequest(
        plan,
        output or RUNS / (file.stem if file else "sweep"),
        bundles=BUNDLES if file else "",  # where they were before there were files
        address=address,
        build_elsewhere=build_elsewhere,
        timeout_s=timeout,
    )
    if mlflow is not None:
        require_mlflow(mlflow)
    if dry_run or status:
        _show(request, as_json=as_json, is_status=status, mlflow=mlflow)
    else:
        _run(request, as_json=as_json, mlflow=mlflow)


def _require_no_axes(context: typer.Context, file: Path) -> None:
    for name in IN_FILE:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            raise UsageError(
                f"--{name} and {file} both say what is swept. Leave --{name} out, and change the "
                "file."
            )


def _plan_of_options(
    model: list[str] | None,
    target: list[str] | None,
    precision: list[str] | None,
    weights: Sequence[str],
    data: Sequence[str],
    split: list[str] | None,
    threads: int,
    runs: int,
) -> SweepPlan:
    from ..models import list_models
    from ..pipeline.fleet.plan import PRECISIONS, SweepPlan
    from ..pipeline.sweep import targets_that_build_here

    weights_of = _paths_by_model(weights, "--weights")
    data_of = _paths_by_model(data, "--data")
    models = tuple(dict.fromkeys(model or ())) or tuple(
        spec.name for spec in list_models() if spec.weights or spec.name in weights_of
    )
    for option, named in (("--weights", weights_of), ("--data", data_of)):
        for name in named:
            if name not in models:
                raise UsageError(f"{option} names {name}, which is not swept. Add --model {name}.")
    return SweepPlan(
        models=models,
        targets=tuple(dict.fromkeys(target or targets_that_build_here())),
        precisions=tuple(dict.fromkeys(precision or PRECISIONS)),
        threads=(threads,),
        weights=weights_of,
        data=data_of,
        splits=tuple(split or SweepPlan.splits),
        runs=runs,
    )


def _show(request: SweepRequest, *, as_json: bool, is_status: bool, mlflow: str | None) -> None:
    """Where a sweep stands; a status writes the table's files anew."""
    from ..pipeline.sweep import seconds_left, sweep_status

    result = sweep_status(request)
    if is_status and result.reports:
        _write_files(request, result)
        _export(result, mlflow)
    if as_json:
        print_json(result.to_json())
        return
    if is_status:
        print_sweep(result)
    else:
        for outcome in result.outcomes:
            print_result(f"{outcome.cell.words}  {outcome.state}")
    print_note(status_line(result, seconds_left(request, result)))


def _run(request: SweepRequest, *, as_json: bool, mlflow: str | None) -> None:
    from ..pipeline.sweep import run_sweep, sweep_status

    try:
        result = run_sweep(request, make_progress(), print_note)
    except KeyboardInterrupt:
        done = status_line(sweep_status(request), None)
        print_note(f"Interrupted. {done} The same command goes on from there.")
        raise typer.Exit(InterruptedCommandError.exit_code) from None
    _write_files(request, result)
    _export(result, mlflow)
    if as_json:
        print_json(result.to_json())
    else:
        print_sweep(result)
        for line in describe_sweep(result):
            print_note(line)
        if len(result.reports) > 1:
            print_note(f"edgeseg report {request.output} --output PAGE shows all of it.")
    if result.count("failed"):
        print_note(f"{status_line(result, None)} The same command tries what failed once more.")
        raise typer.Exit(1)


def _export(result: SweepResult, mlflow: str | None) -> None:
    from ..pipeline.sweep import export_to_mlflow

    if mlflow is not None:
        print_note(f"MLflow at {mlflow}: {export_to_mlflow(result, mlflow)} new runs.")


def _write_files(request: SweepRequest, result: SweepResult) -> None:
    from ..pipeline.fleet.results import csv_text
    from ..pipeline.sweep import SWEEP_NAME

    folder = request.output
    write_text(folder / SWEEP_NAME, json.dumps(result.to_json(), indent=2) + "\n")
    write_text(folder / TABLE_NAME, sweep_table(result))
    write_text(folder / CSV_NAME, csv_text(result))


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
