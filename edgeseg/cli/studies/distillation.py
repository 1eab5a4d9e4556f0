"""edgeseg distill-study"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...errors import UsageError
from ..distill import parse_weights
from ..terminal.console import make_progress, parse_size, print_json, print_note, print_table
from ..terminal.options import AsJson, Labels, RequiredOutput, Seeds, Size, Split, TrainingData
from ..terminal.training_options import Accelerator, Epochs, EpochSteps, Workers

if TYPE_CHECKING:
    from edgeseg.pipeline.studies.gains import StudyRow


def distill_study(
    data: TrainingData,
    output: RequiredOutput,
    seed: Seeds = None,
    teacher: Annotated[
        list[str] | None,
        typer.Option(help="Network that teaches; several teach by their mean (default: ulite)."),
    ] = None,
    student: Annotated[str, typer.Option(help="Network that learns.")] = "egeunet",
    teacher_weights: Annotated[
        list[Path] | None,
        typer.Option(help="Checkpoint of each teacher (default: trained anew for each seed)."),
    ] = None,
    teacher_backbone: Annotated[
        Path | None,
        typer.Option(help="Image classifier to start the backbone of the teachers from."),
    ] = None,
    labels: Labels = 0.05,
    method: Annotated[str, typer.Option(help="Method, as in edgeseg distill.")] = "pseudo-labels",
    weight: Annotated[
        list[str] | None,
        typer.Option(help="Weight of a term of the loss, NAME=VALUE, as in edgeseg distill."),
    ] = None,
    critic_width: Annotated[
        int | None, typer.Option(help="Channels of the critic's first stage.")
    ] = None,
    views: Annotated[
        int | None, typer.Option(help="Flips and turns that the teacher averages: 1, 2, 4 or 8.")
    ] = None,
    cutmix: Annotated[
        float | None,
        typer.Option(help="Probability that a box of another image is pasted into an unlabelled."),
    ] = None,
    ablation: Annotated[
        bool, typer.Option("--ablation", help="Add the terms of the method one after another.")
    ] = False,
    generations: Annotated[
        int,
        typer.Option(
            min=1,
            help="Number of distillations in a row; each student teaches the next one too.",
        ),
    ] = 1,
    size: Size = None,
    teacher_size: Annotated[
        str | None, typer.Option(help="Input size of the teachers, HxW (default: the student's).")
    ] = None,
    recipe: Annotated[str, typer.Option(help="Recipe of the students.")] = "short",
    teacher_recipe: Annotated[str, typer.Option(help="Recipe of the teachers.")] = "short",
    epochs: Epochs = None,
    epoch_steps: EpochSteps = None,
    teacher_epochs: Annotated[
        int | None, typer.Option(help="Number of epochs of the teachers (default: the recipe's).")
    ] = None,
    split: Split = None,
    workers: Workers = 1,
    accelerator: Accelerator = "auto",
    as_json: AsJson = False,
) -> None:
    """Compare students with and without a teacher, seed by seed, on the same labels and steps.

    Runs go to --output; a killed study goes on from there. Seeds are 0, 1 and 2 by default.
    """
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
        split=_one_split(split),
        workers=workers,
        accelerator=accelerator,
    )
    rows = run_study(request, make_progress())
    if as_json:
        print_json([asdict(row) for row in rows])
    else:
        _print_rows(rows, request.seeds)
    print_note(f"All figures are in {output / RESULTS_NAME}.")


def _one_split(names: list[str] | None) -> str:
    """The split that is scored, test by default.

    Raises:
        UsageError: There are several.
    """
    if names and len(names) > 1:
        raise UsageError(
            f"A study scores one split, and --split names {len(names)} ({', '.join(names)}). Name "
            "one of them."
        )
    return names[0] if names else "test"


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
