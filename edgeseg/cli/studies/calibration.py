"""edgeseg calibration-study"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..terminal.console import make_progress, parse_options, print_json, print_table


def calibration_study(
    model: Annotated[str, typer.Option("--model", "-m", help="See edgeseg models.")],
    target: Annotated[
        list[str], typer.Option("--target", "-t", help="May be repeated: onnxruntime, jetson, ...")
    ],
    data: Annotated[
        Path | None, typer.Option(help="Folder with images/ (default: the sample).")
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="Checkpoint; left out, the shipped weights.")
    ] = None,
    seed: Annotated[
        list[int] | None, typer.Option(help="Of what is learned; may be repeated (default: 0).")
    ] = None,
    calibration_images: Annotated[int, typer.Option(help="Use at most so many.", min=2)] = 64,
    check_images: Annotated[int, typer.Option(help="Of the val split.", min=1)] = 40,
    method_option: Annotated[
        list[str] | None,
        typer.Option(help="NAME=VALUE, which all calibrators have, as results; repeatable."),
    ] = None,
    distill_option: Annotated[
        list[str] | None, typer.Option(help="NAME=VALUE, of the method distill; repeatable.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare ways to calibrate by the pixels that flip against the float network."""
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
                f"{row['ratio_to_default']:.2f} ({_range(row['ratio_interval'], 2)})",
            )
        print_table(table)


def _range(interval: tuple[float, float], digits: int) -> str:
    return f"{interval[0]:.{digits}f}..{interval[1]:.{digits}f}"
