"""Options that the commands which train share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from edgeseg.training.options import TrainingOptions

Recipe = Annotated[
    str | None,
    typer.Option(help="Recipe: published, short, ... (default: the first of the network)."),
]
Epochs = Annotated[int | None, typer.Option(help="Number of epochs (default: the recipe's).")]
EpochSteps = Annotated[
    int | None, typer.Option(help="Batches of an epoch (default: one pass over the images).")
]
BatchSize = Annotated[int | None, typer.Option(help="Images of a batch (default: the recipe's).")]
LearningRate = Annotated[
    float | None, typer.Option(help="Highest learning rate (default: the recipe's).")
]
Precision = Annotated[
    str | None,
    typer.Option(help="Arithmetic: 32-true, bf16-mixed or 16-mixed (default: the recipe's)."),
]
Resume = Annotated[bool, typer.Option(help="Continue the run in --output.")]
Workers = Annotated[int, typer.Option(help="Threads that load images ahead.", min=0)]
Accelerator = Annotated[str, typer.Option(help="Where to train: auto, cpu, cuda or mps.")]
BuildTargets = Annotated[
    list[str] | None,
    typer.Option(help="Target to build a bundle for in the end; may be repeated."),
]
BuildPrecision = Annotated[str, typer.Option(help="Precision of these bundles.")]


def training_options(
    recipe: str | None,
    epochs: int | None,
    epoch_steps: int | None,
    batch_size: int | None,
    learning_rate: float | None,
    precision: str | None,
    seed: int | None,
    *,
    resume: bool,
    workers: int,
    accelerator: str,
) -> TrainingOptions:
    """What was asked for; None leaves the recipe's own setting."""
    from edgeseg.training.options import TrainingOptions

    settings = {
        "epochs": epochs,
        "epoch_steps": epoch_steps,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "precision": precision,
        "seed": seed,
    }
    return TrainingOptions(recipe, settings, resume, workers, accelerator)
