"""edgeseg bench"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from edgeseg.benchmarks.settings import BenchSettings

from ..errors import OutputInUseError
from ..pipeline.builder.device_settings import DeviceSettings
from ..storage.atomic import is_special, write_text
from ..storage.reading import parse_json, read_text_file
from .terminal.bench_table import bench_table, describe_report
from .terminal.console import (
    is_standard_output,
    make_progress,
    parse_counts,
    print_json,
    print_note,
    print_table,
    table_width,
)
from .terminal.device_options import (
    DeviceAddress,
    DeviceProgram,
    DevicePython,
    Timeout,
    device_settings,
)
from .terminal.metric_options import parse_max_change
from .terminal.options import AsJson, Data, Images, Mlflow, Runs, Split, Threads
from .terminal.output_files import require_file_places


def bench(
    bundles: Annotated[list[Path], typer.Argument(help="Bundle folders.")],
    data: Data = None,
    split: Split = None,
    json_file: Annotated[
        Path | None,
        typer.Option("--json-file", "--output", "-o", help="File to write the report to, as JSON."),
    ] = None,
    as_json: AsJson = False,
    threads: Threads = BenchSettings.threads,
    runs: Runs = BenchSettings.runs,
    sustain: Annotated[
        str | None,
        typer.Option(help="Let each bundle run so long without a pause afterwards: 90s, 10m."),
    ] = None,
    sweep_threads: Annotated[
        str | None,
        typer.Option(
            help="Other numbers of threads to measure each bundle on in the same run: 2,4."
        ),
    ] = None,
    record: Annotated[bool, typer.Option(help="Add the rows to the bundles' manifests.")] = False,
    baseline: Annotated[
        str | None,
        typer.Option(
            help="Baseline of the speed-up: plain (the exported graph through the runtime's own "
            "tool, the default) or target (the same graph, repaired)."
        ),
    ] = None,
    images: Images = None,
    max_change: Annotated[
        list[str] | None,
        typer.Option(
            help="METRIC=VALUE, the largest loss of a metric against the FP32 reference; the "
            "command ends with 1 where an artefact does not keep it; may be repeated."
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            help="Class of a network of your own, package.module:Class, to be imported for the "
            "FP32 reference (default: the bundle's FP32 graph; nothing of a bundle is imported).",
        ),
    ] = None,
    toolkit: Annotated[
        list[str] | None,
        typer.Option(
            "--toolkit",
            "--peer",
            help="External toolkit to measure beside, NAME=PYTHON: executorch, litert-torch, mnn, "
            "ncnn or torch, run by that interpreter; may be repeated.",
        ),
    ] = None,
    device: DeviceAddress = None,
    device_python: DevicePython = DeviceSettings.python,
    device_program: DeviceProgram = None,
    timeout: Timeout = DeviceSettings.timeout_s,
    mlflow: Mlflow = None,
) -> None:
    """Measure speed, memory and accuracy of bundles against the plain export.

    An artefact keeps a margin where the whole 95 % interval of the paired difference lies within.

    "--json FILE" writes the report to FILE, as it did before --json-file.
    """
    from edgeseg.benchmarks.margins import keeps_margins
    from edgeseg.benchmarks.sustained import parse_duration

    from ..pipeline.bench import BenchRequest, run_bench
    from ..pipeline.measuring.external_toolkits import parse_toolkits
    from ..pipeline.measuring.mlflow_runs import export_rows, require_mlflow, tracked_rows

    if as_json and json_file is None:
        bundles, json_file = _older_json_file(bundles)
        as_json = json_file is None
    if json_file is not None and is_standard_output(json_file):
        json_file, as_json = None, True
    if json_file is not None:
        _require_report_place(json_file)
    remote = device_settings(device, device_python, device_program, timeout)
    request = BenchRequest(
        bundles=tuple(bundles),
        data=data,
        splits=tuple(split or BenchRequest.splits),
        images=images,
        threads=threads,
        runs=runs,
        baseline=baseline or BenchRequest.baseline,
        toolkits=parse_toolkits(toolkit or []),
        device=remote,
        record=record,
        model=model,
        sustain_s=parse_duration(sustain) if sustain is not None else BenchRequest.sustain_s,
        sweep_threads=()
        if sweep_threads is None
        else parse_counts(sweep_threads, "--sweep-threads"),
        max_change=parse_max_change(max_change or [], {}),
    )
    if mlflow is not None:
        require_mlflow(mlflow)
    report = run_bench(request, make_progress())
    if json_file is not None:
        write_text(json_file, json.dumps(report.to_json(), indent=2) + "\n")
    if mlflow is not None:
        count = export_rows(tracked_rows(report, request.bundles), mlflow)
        print_note(f"MLflow at {mlflow}: {count} new runs.")
    if as_json:
        print_json(report.to_json())
    else:
        print_table(bench_table(report.reference, report.rows, table_width()))
        for line in describe_report(report):
            print_note(line)
    if not keeps_margins(report, request.max_change):
        raise typer.Exit(1)


def _require_report_place(path: Path) -> None:
    """Refuse to replace anything but a report of an earlier run.

    Raises:
        UsageError: `path` is a folder, or a file with something else in it.
    """
    require_file_places({"--json-file": path})
    if not path.exists() or is_special(path):  # reading a pipe would wait for what is written
        return
    try:
        record = parse_json(read_text_file(path) or "{}")
        is_report = isinstance(record, dict) and (not record or "rows" in record)
    except ValueError:
        is_report = False
    if not is_report:
        raise OutputInUseError(
            f"--json-file {path} holds something else than a report of edgeseg bench. Choose "
            "another file, or remove this one."
        )


def _older_json_file(words: list[Path]) -> tuple[list[Path], Path | None]:
    """Take FILE out of the bundles: "--json FILE" wrote it before --json printed.

    A bundle is a folder, so that FILE, which ends in .json or is a device or a pipe, cannot be
    meant as one.
    """
    files = [
        word for word in words if is_special(word) or (word.suffix == ".json" and not word.is_dir())
    ]
    if len(files) != 1:
        return words, None
    return [word for word in words if word != files[0]], files[0]
