"""edgeseg train"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .terminal.console import make_progress, parse_size, print_result, short_name
from .terminal.training_options import (
    Accelerator,
    BatchSize,
    Epochs,
    EpochSteps,
    LearningRate,
    Precision,
    Resume,
    Seed,
    Workers,
    recipe_settings,
)


def train(
    model: Annotated[
        str, typer.Option("--model", "-m", help="See edgeseg models; or package.module:Class.")
    ],
    data: Annotated[Path, typer.Option(help="Folder with images/ and masks/.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Run folder (default: runs/MODEL).")
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(help="published, short, ... (default: the model's first).")
    ] = None,
    spec: Annotated[
        Path | None, typer.Option(help="TOML that describes a network of your own.")
    ] = None,
    epochs: Epochs = None,
    epoch_steps: EpochSteps = None,
    batch_size: BatchSize = None,
    learning_rate: LearningRate = None,
    precision: Precision = None,
    seed: Seed = None,
    weights: Annotated[Path | None, typer.Option(help="Checkpoint to start from.")] = None,
    backbone_weights: Annotated[
        Path | None,
        typer.Option(help="Image classifier to start the backbone from (default: random)."),
    ] = None,
    perceptual_weights: Annotated[
        Path | None,
        typer.Option(help="torchvision's VGG-16 for the LossNet term (default: random features)."),
    ] = None,
    size: Annotated[
        str | None, typer.Option(help="Input size, HxW (default: the model's).")
    ] = None,
    labels: Annotated[
        float, typer.Option(help="Share of the train labels to use, chosen by --seed.")
    ] = 1.0,
    resume: Resume = False,
    workers: Workers = 1,
    accelerator: Accelerator = "auto",
) -> None:
    """Train a network; the weights of the epoch with the best val Dice are kept."""
    from ..pipeline.train import TrainRequest, train_model

    settings = recipe_settings(epochs, epoch_steps, batch_size, learning_rate, precision, seed)
    request = TrainRequest(
        model=model,
        data=data,
        output=output or Path("runs") / short_name(model),
        recipe=recipe,
        spec=spec,
        settings=settings,
        weights=weights,
        backbone_weights=backbone_weights,
        perceptual_weights=perceptual_weights,
        size=parse_size(size),
        labels=labels,
        resume=resume,
        workers=workers,
        accelerator=accelerator,
    )
    result = train_model(request, make_progress())
    print_result(
        f"{result.weights_path}: epoch {result.best_epoch} of {len(result.history)}, "
        f"pooled Dice {result.best_dice:.4f} on val"
    )
