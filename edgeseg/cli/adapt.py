"""edgeseg adapt"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import UnknownNameError
from .terminal.build_after import build_after, require_all, require_targets
from .terminal.console import make_progress, parse_size, print_json, print_note, print_result
from .terminal.options import AsJson, Cache, Model, Output, Seed, Size, Weights
from .terminal.training_options import (
    Accelerator,
    BatchSize,
    BuildPrecision,
    BuildTargets,
    Epochs,
    EpochSteps,
    LearningRate,
    Precision,
    Recipe,
    Resume,
    Workers,
    training_options,
)

if TYPE_CHECKING:
    from ..pipeline.adapt import AdaptResult

ENDINGS = {"hard-swish": "-twin", "relu": "-twin-relu"}


def adapt(
    model: Model,
    unlabeled: Annotated[
        Path, typer.Option(help="Folder with images/, whose train images teach, without masks.")
    ],
    weights: Weights = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Folder with labelled val images (default: the original's masks count)."),
    ] = None,
    twin_weights: Annotated[
        Path | None, typer.Option(help="Checkpoint of a twin to teach further.")
    ] = None,
    output: Output = None,
    activation: Annotated[
        str, typer.Option(help="Activation of the twin: hard-swish or relu.")
    ] = "hard-swish",
    mixup: Annotated[
        float, typer.Option(help="Probability that an image is blended with another.")
    ] = 0.0,
    recipe: Recipe = None,
    epochs: Epochs = None,
    epoch_steps: EpochSteps = None,
    batch_size: BatchSize = None,
    learning_rate: LearningRate = None,
    precision: Precision = None,
    seed: Seed = None,
    size: Size = None,
    teacher_size: Annotated[
        str | None, typer.Option(help="Input size of the original, HxW (default: --size).")
    ] = None,
    build: BuildTargets = None,
    build_precision: BuildPrecision = "int8",
    resume: Resume = False,
    cache: Cache = True,
    workers: Workers = 1,
    accelerator: Accelerator = "auto",
    as_json: AsJson = False,
) -> None:
    """Make the edge twin of a network: cheap forms of its slow parts, taught by the original.

    The run goes to runs/MODEL-twin unless --output names another folder.
    """
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
        teacher_size=parse_size(teacher_size, "--teacher-size"),
        mixup=mixup,
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
        use_cache=cache,
    )
    require_targets(build or [])
    result = adapt_model(request, make_progress())
    if not as_json:
        _print_twin(result)
        if not build:
            print_note(
                "To build a bundle, run edgeseg build --model "
                f"{result.model} --weights {result.weights_path} --target ..."
            )
    cells = build_after(
        result.model,
        result.weights_path,
        build or [],
        build_precision,
        data=data or unlabeled,
        size=request.size,
        is_told=not as_json,
    )
    if as_json:
        print_json({**result.to_json(), "bundles": [cell.to_json() for cell in cells]})
    require_all(cells, result.model, result.weights_path)


def _print_twin(result: AdaptResult) -> None:
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
