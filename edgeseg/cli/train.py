"""edgeseg train"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..records import short_name
from .terminal.console import make_progress, parse_size, print_json, print_result
from .terminal.options import (
    AsJson,
    Labels,
    Model,
    Output,
    Seed,
    Size,
    Spec,
    StartWeights,
    TrainingData,
)
from .terminal.training_options import (
    Accelerator,
    BatchSize,
    Epochs,
    EpochSteps,
    LearningRate,
    Precision,
    Recipe,
    Resume,
    Workers,
    training_options,
)


def train(
    model: Model,
    data: TrainingData,
    output: Output = None,
    recipe: Recipe = None,
    spec: Spec = None,
    epochs: Epochs = None,
    epoch_steps: EpochSteps = None,
    batch_size: BatchSize = None,
    learning_rate: LearningRate = None,
    precision: Precision = None,
    seed: Seed = None,
    weights: StartWeights = None,
    backbone_weights: Annotated[
        Path | None,
        typer.Option(help="Image classifier to start the backbone from (default: random)."),
    ] = None,
    perceptual_weights: Annotated[
        Path | None,
        typer.Option(help="VGG-16 of torchvision for the LossNet term (default: random features)."),
    ] = None,
    size: Size = None,
    labels: Labels = 1.0,
    resume: Resume = False,
    workers: Workers = 1,
    accelerator: Accelerator = "auto",
    as_json: AsJson = False,
) -> None:
    """Train a network, and keep the weights of the epoch with the best Dice on val.

    The run goes to runs/MODEL unless --output names another folder.
    """
    from ..pipeline.train import TrainRequest, train_model

    request = TrainRequest(
        model=model,
        data=data,
        output=output or Path("runs") / short_name(model),
        spec=spec,
        weights=weights,
        backbone_weights=backbone_weights,
        perceptual_weights=perceptual_weights,
        size=parse_size(size),
        labels=labels,
        training=training_options(
            recipe,
            epochs,
            epoch_steps,
            batch_size,
            learning_rate,
            precision,
            seed,
            resume=resume,
            workers=workers,
            accelerator=accelerator,
        ),
    )
    result = train_model(request, make_progress())
    if as_json:
        print_json(result.to_json())
        return
    print_result(
        f"{result.weights_path}: epoch {result.best_epoch} of {len(result.history)}, "
        f"pooled Dice {result.best_dice:.4f} on val"
    )
