"""edgeseg distill-study"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..distill import parse_weights
from ..terminal.console import make_progress, parse_size, print_json, print_note, print_table
from ..terminal.training_options import Accelerator, Workers

if TYPE_CHECKING:
    from edgeseg.pipeline.studies.gains import StudyRow


def distill_study(
    data: Annotated[Path, typer.Option(help="Folder with images/ and masks/.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder of the runs; a killed study goes on.")
    ],
    seed: Annotated[
        list[int] | None, typer.Option(help="May be repeated (default: 0, 1 and 2).")
    ] = None,
    teacher: Annotated[
        list[str] | None,
        typer.Option(help="Several teach by their mean (default: ulite)."),
    ] = None,
    student: Annotated[str, typer.Option(help="See edgeseg models.")] = "egeunet",
    teacher_weights: Annotated[
        list[Path] | None,
        typer.Option(help="Checkpoint of each teacher (default: they are trained for each seed)."),
    ] = None,
    teacher_backbone: Annotated[
        Path | None,
        typer.Option(help="Image classifier to start the teachers' backbone from."),
    ] = None,
    labels: Annotated[float, typer.Option(help="Share of the train labels to use.")] = 0.05,
    method: Annotated[str, typer.Option(help="As of edgeseg distill.")] = "pseudo-labels",
    weight: Annotated[
        list[str] | None, typer.Option(help="NAME=VALUE, as of edgeseg distill.")
    ] = None,
    critic_width: Annotated[int | None, typer.Option(help="As of edgeseg distill.")] = None,
    views: Annotated[int | None, typer.Option(help="As of edgeseg distill.")] = None,
    cutmix: Annotated[float | None, typer.Option(help="As of edgeseg distill.")] = None,
    ablation: Annotated[
        bool, typer.Option("--ablation", help="Add the method's terms one after another.")
    ] = False,
    generations: Annotated[
        int,
        typer.Option(
            min=1, help="Distil so often, each time with the student before as a further teacher."
        ),
    ] = 1,
    size: Annotated[
        str | None, typer.Option(help="Input size of the student, HxW (default: the model's).")
    ] = None,
    teacher_size: Annotated[
        str | None, typer.Option(help="Input size of the teacher (default: the student's).")
    ] = None,
    recipe: Annotated[str, typer.Option(help="Of the students.")] = "short",
    teacher_recipe: Annotated[str, typer.Option(help="Of the teachers.")] = "short",
    epochs: Annotated[int | None, typer.Option(help="Of the students.")] = None,
    epoch_steps: Annotated[
        int | None,
        typer.Option(help="Batches an epoch, of all (default: one pass over all train images)."),
    ] = None,
    teacher_epochs: Annotated[int | None, typer.Option(help="Of the teachers.")] = None,
    split: Annotated[str, typer.Option(help="That is scored.")] = "test",
    workers: Workers = 1,
    accelerator: Accelerator = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare students with and without a teacher, seed by seed: same labels, same steps."""
    from dataclasses import asdict

    from edgeseg.pipeline.studies.distillation import RESULTS_NAME, StudyRequest, run_study

    parsed = parse_size(size)
    request = StudyRequest(
        data=data,
        output=output,
        seeds=tuple(seed or (0, 1, 2)),
        teachers=tuple(teacher or ("ulite",)),
        student=student,
        teacher_weights=tuple(teacher_weights or ()),
        teacher_backbone=teacher_backbone,
        labels=labels,
        method=method,
        settings={
            **parse_weights(weight or []),
            "critic_width": critic_width,
            "views": views,
            "cutmix": cutmix,
        },
        ablation=ablation,
        generations=generations,
        size=parsed,
        teacher_size=parse_size(teacher_size, "--teacher-size") or parsed,
        recipe=recipe,
        teacher_recipe=teacher_recipe,
        epochs=epochs,
        epoch_steps=epoch_steps,
        teacher_epochs=teacher_epochs,
        split=split,
        workers=workers,
        accelerator=accelerator,
    )
    rows = run_study(request, make_progress())
    if as_json:
        print_json([asdict(row) for row in rows])
    else:
        _print_rows(rows, request.seeds)
    print_note(f"Everything: {output / RESULTS_NAME}")


def _print_rows(rows: list[StudyRow], seeds: tuple[int, ...]) -> None:
    from rich.table import Table

    table = Table(title="Pooled Dice")
    for title in ("network", *(f"seed {seed}" for seed in seeds), "mean", "gain (95 %)", "gains"):
        table.add_column(title)
    for row in rows:
        gain = ""
        if row.gain is not None and row.gain_ci95 is not None:
            gain = f"{row.gain:+.4f} ({row.gain_ci95[0]:+.4f}..{row.gain_ci95[1]:+.4f})"
        table.add_row(
            row.name,
            *(f"{dice:.4f}" for dice in row.dice),
            f"{sum(row.dice) / len(row.dice):.4f}",
            gain,
            ", ".join(f"{value:+.4f}" for value in row.gains),
        )
    print_table(table)
