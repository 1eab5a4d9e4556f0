"""edgeseg calibration-study"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ..terminal.console import make_progress, parse_options, print_json, print_table
from ..terminal.options import AsJson, CalibrationImages, Data, MethodOption, Model, Seeds, Weights


def calibration_study(
    model: Model,
    target: Annotated[
        list[str], typer.Option("--target", "-t", help="Device or runtime; may be repeated.")
    ],
    data: Data = None,
    weights: Weights = None,
    seed: Seeds = None,
    calibration_images: CalibrationImages = 64,
    check_images: Annotated[
        int, typer.Option(help="Largest number of val images to compare on.", min=1)
    ] = 40,
    method_option: MethodOption = None,
    distill_option: Annotated[
        list[str] | None,
        typer.Option(help="Option of the method distill, NAME=VALUE; may be repeated."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare calibrators by the pixels that flip against the FP32 reference.

    Options of --method-option must be ones that all calibrators have. Seeds matter to calibrators
    that learn (default: 0).
    """
    from edgeseg.pipeline.studies.calibration import StudyRequest, study_calibration

    progress = make_progress()
    tables = {}
    for name in target:
        request = StudyRequest(
            model=model,
            target=name,
            data=data,
            weights=weights,
            seeds=tuple(seed or (0,)),
            calibration_images=calibration_images,
            check_images=check_images,
            method_options=parse_options(method_option or [], "--method-option"),
            distill_options=parse_options(distill_option or [], "--distill-option"),
        )
        tables[name] = list(study_calibration(request, progress))
    if as_json:
        print_json(tables)
        return
    from rich.table import Table

    for name, rows in tables.items():
        table = Table(title=f"{model} on {name}, {check_images} images")
        titles = ("calibration", "flips/10k (95 %)", "by seed", "worst image", "of default (95 %)")
        for title in titles:
            table.add_column(title)
        for row in rows:
            table.add_row(
                row["calibration"],
                f"{row['flips_per_10k']:.1f} ({_range(row['interval'], 1)})",
                ", ".join(f"{value:.1f}" for value in row["by_seed"]),
                f"{row['worst_image']:.0f}",
                _ratio(row),
            )
        print_table(table)


def _ratio(row: dict[str, Any]) -> str:
    if row["ratio_to_default"] is None:
        return "-"  # the vendor quantiser flips nothing
    return f"{row['ratio_to_default']:.2f} ({_range(row['ratio_interval'], 2)})"


def _range(interval: tuple[float, float], digits: int) -> str:
    return f"{interval[0]:.{digits}f}..{interval[1]:.{digits}f}"
