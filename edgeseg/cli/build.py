"""edgeseg build"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import TargetError, UsageError
from ..pipeline.builder.device_settings import DeviceSettings
from ..records import is_onnx_file, short_name
from .terminal.console import (
    make_progress,
    parse_options,
    parse_size,
    print_json,
    print_note,
    print_result,
    print_table,
)
from .terminal.device_options import (
    DeviceAddress,
    DeviceProgram,
    DevicePython,
    Timeout,
    device_settings,
)
from .terminal.limit_options import (
    AcceptUncertain,
    MaxChange,
    MaxDiceDrop,
    MaxFlips,
    MaxHd95Growth,
    MaxWorstDiceDrop,
    MaxWorstFlips,
    MinAgreement,
    describe_choice,
    parse_limits,
)
from .terminal.options import (
    AsJson,
    Cache,
    CalibrationImages,
    Data,
    MethodOption,
    Output,
    Overwrite,
    Size,
    Spec,
    Weights,
)

if TYPE_CHECKING:
    from ..bundle.bundle import Bundle
    from ..pipeline.build import BuildRequest

ALL_TARGETS = "all"
SET_NAME = "set.json"
DEFAULT_SEARCH_SECONDS = 240

FEW_IMAGES = 16  # fewer calibrate with a warning


def build(
    *,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", "-m", help="Network: a name of edgeseg models, or package.module:Class."
        ),
    ] = None,
    onnx: Annotated[
        Path | None,
        typer.Option(help="ONNX file that is the network, described by --spec; no --model."),
    ] = None,
    target: Annotated[
        str,
        typer.Option(
            "--target", "-t", help="Device to build for; see edgeseg doctor; or all, for each one."
        ),
    ],
    precision: Annotated[
        str | None,
        typer.Option(
            "--precision",
            "-p",
            help="Precision: fp32, fp16, bf16, int8, or auto for the fastest by measurement "
            "(default: auto where the target runs here or a --device is named, else int8).",
        ),
    ] = None,
    runtime: Annotated[
        str | None,
        typer.Option(
            help="Runtime to compile for, or auto for the fastest here; see edgeseg doctor "
            "(default: the device's own)."
        ),
    ] = None,
    output: Output = None,
    weights: Weights = None,
    spec: Spec = None,
    data: Data = None,
    calibration_images: CalibrationImages = 64,
    method: Annotated[
        str | None, typer.Option(help="Quantisation method (default: the runtime's own).")
    ] = None,
    method_option: MethodOption = None,
    option: Annotated[
        list[str] | None,
        typer.Option(help="Option of the runtime, NAME=VALUE; may be repeated."),
    ] = None,
    size: Size = None,
    search_seconds: Annotated[
        float | None,
        typer.Option(
            help="Seconds that auto searches for a faster form, on a device those of its own; the "
            "export before and the last timing after it come on top (default: "
            f"{DEFAULT_SEARCH_SECONDS})."
        ),
    ] = None,
    max_dice_drop: MaxDiceDrop = None,
    max_hd95_growth: MaxHd95Growth = None,
    max_flips: MaxFlips = None,
    max_worst_dice_drop: MaxWorstDiceDrop = None,
    max_worst_flips: MaxWorstFlips = None,
    max_change: MaxChange = None,
    min_agreement: MinAgreement = None,
    accept_uncertain: AcceptUncertain = False,
    tuning: Annotated[
        Path | None,
        typer.Option(
            "--tuning",
            "--placement",
            help="Bundle whose form, chosen by auto, is built again without measuring.",
        ),
    ] = None,
    device: DeviceAddress = None,
    device_python: DevicePython = DeviceSettings.python,
    device_program: DeviceProgram = None,
    timeout: Timeout = DeviceSettings.timeout_s,
    explain: Annotated[
        bool, typer.Option(help="Print what auto tried, and why it was not taken.")
    ] = False,
    overwrite: Overwrite = False,
    cache: Cache = True,
    as_json: AsJson = False,
) -> None:
    """Build a bundle: a network compiled for a target, checked against the FP32 reference.

    It goes to bundles/MODEL-TARGET-PRECISION unless --output names another folder. With --json
    the manifest is printed.
    """
    from ..data.folder import SAMPLE_CLASSES
    from ..pipeline.build import BuildRequest, build_bundle
    from ..pipeline.builder.request import AUTO, default_precision

    if explain:
        is_one = target != ALL_TARGETS
        usual = default_precision(target, runtime, on_device=device is not None)
        if not is_one or (precision or usual) != AUTO:
            raise UsageError(
                "--explain tells how auto chose, for one target. Add --precision auto."
            )
    if search_seconds is not None and (precision or AUTO) != AUTO:
        raise UsageError(
            f"--search-seconds limits the search of --precision auto, and --precision {precision} "
            "does not search. Leave one of them out."
        )
    request = BuildRequest(
        model=named_model(model, onnx),
        target=target,
        runtime=runtime,
        precision=precision,
        output=output,
        weights=weights,
        data=data,
        spec=spec,
        calibration_images=calibration_images,
        method=method,
        method_options=parse_options(method_option or [], "--method-option"),
        options=parse_options(option or []),
        size=parse_size(size),
        search_seconds=DEFAULT_SEARCH_SECONDS if search_seconds is None else search_seconds,
        max_change=parse_limits(
            max_change or [],
            {
                "dice_pooled": max_dice_drop,
                "hd95_px": max_hd95_growth,
                "flips": max_flips,
                "worst_dice": max_worst_dice_drop,
                "worst_flips": max_worst_flips,
            },
        ),
        min_agreement=min_agreement,
        accept_uncertain=accept_uncertain,
        tuning=tuning,
        device=device_settings(device, device_python, device_program, timeout),
        overwrite=overwrite,
        use_cache=cache,
    )
    if target == ALL_TARGETS:
        _build_all(request, as_json=as_json)
        return
    bundle, was_cached = build_bundle(request, make_progress())
    manifest = bundle.manifest
    if as_json:
        print_json(manifest.model_dump(mode="json"))
        return
    if explain:
        _print_explanation(bundle)
    check = manifest.checks["artifact"]
    print_note(
        f"Checked against the FP32 reference on {check.images} images: probabilities differ by at "
        f"most {check.max_abs_diff:.1e}, {check.flips_per_10k:.1f} of 10,000 pixels flip."
    )
    for line in describe_choice(bundle):
        print_note(line)
    if manifest.checked_by != manifest.runtime:
        print_note(
            f"The check ran on {manifest.checked_by}, because {manifest.runtime} does not run on "
            "this machine."
        )
    if manifest.quantization and data is None and bundle.outputs.classes != SAMPLE_CLASSES:
        print_note(
            "Warning: calibrated on the sample, which shows skin lesions. Name images of the kind "
            "that the network will see with --data."
        )
    calibrated = len(manifest.quantization.images) if manifest.quantization else FEW_IMAGES
    if calibrated < FEW_IMAGES:
        print_note(
            f"Warning: INT8 was calibrated with {calibrated} image{'s' if calibrated > 1 else ''}, "
            f"whose ranges may not hold for others. Give {FEW_IMAGES} or more with --data and "
            "--calibration-images."
        )
    if manifest.model.weights_licence:
        print_note(f"The licence of the shipped weights is {manifest.model.weights_licence}.")
    kilobytes = bundle.artifact_bytes / 1e3
    source = " (from the cache)" if was_cached else ""
    print_result(f"{bundle.folder}: {bundle.name}, artefact {kilobytes:.0f} kB{source}")


def named_model(model: str | None, onnx: Path | None) -> str:
    """The network that --model or --onnx names.

    Raises:
        UsageError: Neither is given, or both are, or --onnx names no .onnx file.
    """
    if (model is None) == (onnx is None):
        given = "both" if onnx is not None else "neither"
        raise UsageError(
            f"--model names a network in torch and --onnx a file; {given} was given. Give one of "
            "them."
        )
    if onnx is None:
        return str(model)
    if not is_onnx_file(onnx.name):
        raise UsageError(f"--onnx {onnx} does not end in .onnx. Name the file that was exported.")
    return str(onnx)


def _print_explanation(bundle: Bundle) -> None:
    from rich.table import Table

    from ..tuning.explain import describe_race, rows, summary, titles

    tuning = bundle.manifest.tuning
    assert tuning is not None
    table = Table()
    for title in titles(tuning):
        table.add_column(title)
    for row in rows(tuning):
        table.add_row(*row)
    print_table(table)
    for line in (*summary(tuning), *describe_race(bundle.manifest.race)):
        print_result(line)


def _build_all(request: BuildRequest, *, as_json: bool) -> None:
    """Build for every target into one folder, and show each refusal with its reason."""
    from rich.table import Table

    from edgeseg.targets.devices import device_names

    from ..bundle.bundle import require_free_output
    from ..pipeline.builder.request import AUTO, BUNDLES, completed
    from ..pipeline.sweep import build_cells, write_cells

    of_one = (request.runtime, request.method, request.method_options, request.options)
    if any(of_one) or request.tuning or request.device:
        raise UsageError(
            "--runtime, --method, --method-option, --option, --tuning and --device belong to one "
            "target. Leave them out, or name that --target."
        )
    precision = request.precision or AUTO
    folder = request.output or BUNDLES / f"{short_name(request.model)}-all-{precision}"
    requests = [
        completed(replace(request, target=name, output=folder / name)) for name in device_names()
    ]
    for name in device_names():
        require_free_output(folder / name, overwrite=request.overwrite)
    cells = build_cells(requests, make_progress())
    write_cells(folder / SET_NAME, cells)
    if as_json:
        print_json([cell.to_json() for cell in cells])
    else:
        table = Table()
        for title in ("target", "precision", "artefact kB", "checked by", "flips/10k", "bundle"):
            table.add_column(title)
        for cell in cells:
            if cell.bundle is None:
                reason = f"refused: {cell.refusal}"
                table.add_row(cell.request.target, cell.request.precision, "", "", "", reason)
                continue
            manifest = cell.bundle.manifest
            table.add_row(
                manifest.target,
                manifest.precision,
                f"{cell.bundle.artifact_bytes / 1e3:.0f}",
                manifest.checked_by,
                f"{manifest.checks['artifact'].flips_per_10k:.1f}",
                str(cell.bundle.folder),
            )
        print_table(table)
        for cell in cells:
            for line in describe_choice(cell.bundle) if cell.bundle is not None else ():
                print_note(line)
    if all(cell.bundle is None for cell in cells):
        raise TargetError(
            f"No target builds {request.model} in {precision} here. See edgeseg doctor."
        )
