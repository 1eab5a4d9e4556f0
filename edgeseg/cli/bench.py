"""edgeseg bench"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ..errors import UsageError
from .terminal.bench_table import bench_table, describe_report
from .terminal.console import make_progress, print_note, print_table

DEFAULT_SPLITS = ["val", "test"]
DEFAULT_BASELINE = "plain"
DEFAULT_PYTHON = "python3"
DEFAULT_TIMEOUT_S = 600.0


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
    baseline: Annotated[
        str,
        typer.Option(
            help="What speed is compared with: plain (the exported graph through the runtime's own "
            "tool) or target (the same, mended)."
        ),
    ] = DEFAULT_BASELINE,
    images: Annotated[
        int | None, typer.Option(help="Measure on so many images at most.", min=1)
    ] = None,
    toolkit: Annotated[
        list[str] | None,
        typer.Option(
            "--toolkit",
            "--peer",
            help="NAME=PYTHON: also run the float network by another toolkit (litert-torch, "
            "executorch, torch) in that environment; may be repeated.",
        ),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(help="Measure there: ssh://USER@HOST[:PORT] or adb://SERIAL."),
    ] = None,
    device_python: Annotated[str, typer.Option(help="Python of an ssh device.")] = DEFAULT_PYTHON,
    benchmark_model: Annotated[
        str | None,
        typer.Option(help="LiteRT's benchmark_model, for adb: a file here, or its path there."),
    ] = None,
    timeout: Annotated[
        float, typer.Option(help="Seconds that one step on the device may take.")
    ] = DEFAULT_TIMEOUT_S,
) -> None:
    """Measure speed, memory and accuracy of bundles against their float baseline."""
    from ..pipeline.device_bench import DeviceSettings
    from ..pipeline.external_toolkits import parse_toolkits
    from ..pipeline.measure import BenchRequest, run_bench
    from ..storage.atomic import write_text

    if json_path is not None and json_path.is_dir():
        raise UsageError(f"--json {json_path} is a folder. Name a file in it.")
    remote = None
    if device is not None:
        remote = DeviceSettings(device, device_python, benchmark_model, timeout)
    elif (device_python, benchmark_model, timeout) != (DEFAULT_PYTHON, None, DEFAULT_TIMEOUT_S):
        raise UsageError(
            "--device-python, --benchmark-model and --timeout say how to measure on a device. Name "
            "it with --device."
        )
    request = BenchRequest(
        bundles=tuple(bundles),
        data=data,
        splits=tuple(split or DEFAULT_SPLITS),
        images=images,
        threads=threads,
        runs=runs,
        baseline=baseline,
        toolkits=parse_toolkits(toolkit or []),
        device=remote,
        record=record,
    )
    report = run_bench(request, make_progress())
    print_table(bench_table(report.reference, report.rows))
    for line in describe_report(report):
        print_note(line)
    if json_path is not None:
        write_text(json_path, json.dumps(report.to_json(), indent=2) + "\n")
