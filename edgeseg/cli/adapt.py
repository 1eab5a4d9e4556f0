"""edgeseg adapt"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeseg.errors import UnknownNameError

from .build_after import build_after, require_targets
from .console import make_progress, parse_size, print_note

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
    recipe: Annotated[
        str | None, typer.Option(help="Of the original (default: its first).")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Instead of the recipe's.")] = None,
    epoch_steps: Annotated[
        int | None, typer.Option(help="Batches an epoch, instead of one pass over the images.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="Instead of the recipe's.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Instead of the recipe's.")] = None,
    precision: Annotated[str | None, typer.Option(help="32-true, bf16-mixed or 16-mixed.")] = None,
    seed: Annotated[int | None, typer.Option(help="Instead of the recipe's.")] = None,
    size: Annotated[
        str | None, typer.Option(help="Input size, HxW (default: the model's).")
    ] = None,
    build: Annotated[
        list[str] | None,
        typer.Option(help="Target to build a bundle for in the end; may be repeated."),
    ] = None,
    build_precision: Annotated[str, typer.Option(help="Of the bundles.")] = "int8",
    resume: Annotated[bool, typer.Option(help="Continue a run in --output.")] = False,
    cache: Annotated[bool, typer.Option(help="Reuse the original's answers.")] = True,
    workers: Annotated[int, typer.Option(help="Threads that load images ahead.", min=0)] = 1,
    accelerator: Annotated[str, typer.Option(help="auto, cpu, cuda, mps.")] = "auto",
) -> None:
    """Make the edge twin of a network: cheap forms of its slow parts, taught by the original."""
    from edgeseg.pipeline.adapt import AdaptRequest, adapt_model

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
        recipe=recipe,
        recipe_settings={
            "epochs": epochs,
            "epoch_steps": epoch_steps,
            "batch_size": batch_size,
            "learning_rate": learning_rate,
            "precision": precision,
            "seed": seed,
        },
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
        print(f"{name}: pooled Dice {dice:.4f} ({low:.4f}..{high:.4f})")
    low, high = record["difference_ci95"]["dice_pooled"]
    print(
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
