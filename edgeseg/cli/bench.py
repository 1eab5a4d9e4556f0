"""edgeseg bench"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from edgeseg.benchmarks.settings import BenchSettings

from ..errors import UsageError
from ..pipeline.devices.settings import DeviceSettings
from .terminal.bench_table import bench_table, describe_report
from .terminal.console import make_progress, print_note, print_table


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
    threads: Annotated[
        int, typer.Option(help="CPU threads of each artefact.", min=1)
    ] = BenchSettings.threads,
    runs: Annotated[
        int, typer.Option(help="Least number of counted inferences of each artefact.", min=1)
    ] = BenchSettings.runs,
    record: Annotated[bool, typer.Option(help="Add the rows to the bundles' manifests.")] = False,
    baseline: Annotated[
        str | None,
        typer.Option(
            help="What speed is compared with: plain (the exported graph through the runtime's own "
            "tool, the default) or target (the same, repaired)."
        ),
    ] = None,
    images: Annotated[
        int | None, typer.Option(help="Largest number of images to measure on.", min=1)
    ] = None,
    toolkit: Annotated[
        list[str] | None,
        typer.Option(
            "--toolkit",
            "--peer",
            help="NAME=PYTHON: also measure the FP32 network in an external toolkit (litert-torch, "
            "executorch, torch), run by that interpreter; may be repeated.",
        ),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(help="Device to measure on: ssh://USER@HOST[:PORT] or adb://SERIAL."),
    ] = None,
    device_python: Annotated[
        str, typer.Option(help="Python interpreter of an ssh device.")
    ] = DeviceSettings.python,
    device_program: Annotated[
        str | None,
        typer.Option(
            "--device-program",
            "--benchmark-model",
            help="Program that runs artefacts over adb, such as LiteRT's benchmark_model: a file "
            "here, or its path on the device.",
        ),
    ] = None,
    timeout: Annotated[
        float, typer.Option(help="Longest time that one step on the device may take, in seconds.")
    ] = DeviceSettings.timeout_s,
) -> None:
    """Measure speed, memory and accuracy of bundles against their FP32 baseline."""
    from ..pipeline.external_toolkits import parse_toolkits
    from ..pipeline.measure import BenchRequest, run_bench
    from ..storage.atomic import write_text

    if json_path is not None and json_path.is_dir():
        raise UsageError(f"--json {json_path} is a folder. Name a file in it.")
    remote = DeviceSettings(device or "", device_python, device_program, timeout)
    if device is None and remote != DeviceSettings(""):
        raise UsageError(
            "--device-python, --device-program and --timeout say how to measure on a device. Name "
            "it with --device."
        )
    request = BenchRequest(
        bundles=tuple(bundles),
        data=data,
        splits=tuple(split or BenchRequest.splits),
        images=images,
        threads=threads,
        runs=runs,
        baseline=baseline or BenchRequest.baseline,
        toolkits=parse_toolkits(toolkit or []),
        device=None if device is None else remote,
        record=record,
    )
    report = run_bench(request, make_progress())
    print_table(bench_table(report.reference, report.rows))
    for line in describe_report(report):
        print_note(line)
    if json_path is not None:
        write_text(json_path, json.dumps(report.to_json(), indent=2) + "\n")
