"""edgeseg adapt"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import UnknownNameError
from .terminal.build_after import build_after, require_targets
from .terminal.console import make_progress, parse_size, print_note, print_result
from .terminal.training_options import (
    Accelerator,
    BatchSize,
    BuildPrecision,
    BuildTargets,
    Epochs,
    EpochSteps,
    LearningRate,
    Precision,
    Resume,
    Seed,
    Workers,
    recipe_settings,
)

ENDINGS = {"hard-swish": "-twin", "relu": "-twin-relu"}


def adapt(
    model: Annotated[str, typer.Option("--model", "-m", help="See edgeseg models.")],
    unlabeled: Annotated[
        Path, typer.Option(help="Folder with images/: its train images teach, without masks.")
    ],
    weights: Annotated[
        Path | None, typer.Option(help="Checkpoint of the original; left out, the shipped weights.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Folder with labelled val images (default: scored against the original)."
        ),
    ] = None,
    twin_weights: Annotated[
        Path | None, typer.Option(help="Checkpoint of a twin to teach further.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Run folder (default: runs/MODEL-twin).")
    ] = None,
    activation: Annotated[str, typer.Option(help="hard-swish or relu.")] = "hard-swish",
    mixup: Annotated[
        float, typer.Option(help="Chance of an image to be blended with another.")
    ] = 0.0,
    recipe: Annotated[
        str | None, typer.Option(help="Of the original (default: its first).")
    ] = None,
    epochs: Epochs = None,
    epoch_steps: EpochSteps = None,
    batch_size: BatchSize = None,
    learning_rate: LearningRate = None,
    precision: Precision = None,
    seed: Seed = None,
    size: Annotated[
        str | None, typer.Option(help="Input size, HxW (default: the model's).")
    ] = None,
    build: BuildTargets = None,
    build_precision: BuildPrecision = "int8",
    resume: Resume = False,
    cache: Annotated[bool, typer.Option(help="Reuse the original's answers.")] = True,
    workers: Workers = 1,
    accelerator: Accelerator = "auto",
) -> None:
    """Make the edge twin of a network: cheap forms of its slow parts, taught by the original."""
    from ..pipeline.adapt import AdaptRequest, adapt_model

    if activation not in ENDINGS:
        raise UnknownNameError("activation", activation, ENDINGS)
    ending = ENDINGS[activation]
    request = AdaptRequest(
        model=model,
        unlabeled=unlabeled,
        output=output or Path("runs") / f"{model}{ending}",
        weights=weights,
        data=data,
        twin_weights=twin_weights,
        ending=ending,
        size=parse_size(size),
        mixup=mixup,
        recipe=recipe,
        recipe_settings=recipe_settings(
            epochs, epoch_steps, batch_size, learning_rate, precision, seed
        ),
        resume=resume,
        workers=workers,
        accelerator=accelerator,
        use_cache=cache,
    )
    require_targets(build or [])
    result = adapt_model(request, make_progress())
    record = result.record
    for name, network in record["networks"].items():
        low, high = network["accuracy_ci95"]["dice_pooled"]
        dice = network["accuracy"]["dice_pooled"]
        print_result(f"{name}: pooled Dice {dice:.4f} ({low:.4f}..{high:.4f})")
    low, high = record["difference_ci95"]["dice_pooled"]
    print_result(
        f"difference {record['difference']['dice_pooled']:+.4f} ({low:+.4f}..{high:+.4f}) on "
        f"{record['images']} val images, truth: {record['truth']}"
    )
    if not build:
        print_note(f"edgeseg build --model {result.model} --weights {result.weights_path} ...")
        return
    build_after(
        result.model,
        result.weights_path,
        build,
        build_precision,
        data=data or unlabeled,
        size=request.size,
    )
