"""Options that the commands share which train something."""

from __future__ import annotations

from typing import Annotated, Any

import typer

Epochs = Annotated[int | None, typer.Option(help="Instead of the recipe's.")]
EpochSteps = Annotated[
    int | None, typer.Option(help="Batches an epoch, instead of one pass over the images.")
]
BatchSize = Annotated[int | None, typer.Option(help="Instead of the recipe's.")]
LearningRate = Annotated[float | None, typer.Option(help="Instead of the recipe's.")]
Precision = Annotated[str | None, typer.Option(help="32-true, bf16-mixed or 16-mixed.")]
Seed = Annotated[int | None, typer.Option(help="Instead of the recipe's.")]
Resume = Annotated[bool, typer.Option(help="Continue a run in --output.")]
Workers = Annotated[int, typer.Option(help="Threads that load images ahead.", min=0)]
Accelerator = Annotated[str, typer.Option(help="auto, cpu, cuda, mps.")]
BuildTargets = Annotated[
    list[str] | None,
    typer.Option(help="Target to build a bundle for in the end; may be repeated."),
]
BuildPrecision = Annotated[str, typer.Option(help="Of the bundles.")]


def recipe_settings(
    epochs: int | None,
    epoch_steps: int | None,
    batch_size: int | None,
    learning_rate: float | None,
    precision: str | None,
    seed: int | None,
) -> dict[str, Any]:
    """What replaces a recipe's own, by name; None leaves that."""
    return {
        "epochs": epochs,
        "epoch_steps": epoch_steps,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "precision": precision,
        "seed": seed,
    }
