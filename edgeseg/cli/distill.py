"""edgeseg distill"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import UsageError
from ..records import short_name
from .terminal.build_after import build_after, require_all, require_targets
from .terminal.console import make_progress, parse_size, print_json, print_result
from .terminal.options import AsJson, Cache, Labels, Output, Seed, Size, StartWeights, TrainingData
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


def distill(
    teacher: Annotated[
        list[str],
        typer.Option(help="Network that teaches, as in --model; several teach by their mean."),
    ],
    student: Annotated[str, typer.Option(help="Network that learns, as in --model.")],
    data: TrainingData,
    teacher_weights: Annotated[
        list[Path] | None,
        typer.Option(help="Checkpoint of each teacher (default: the shipped weights)."),
    ] = None,
    output: Output = None,
    unlabeled: Annotated[
        Path | None, typer.Option(help="Folder with more images/, whose masks are not used.")
    ] = None,
    labels: Labels = 1.0,
    method: Annotated[
        str,
        typer.Option(help="Method: graphflow, graphflow-normalized, logits, pseudo-labels, none."),
    ] = "graphflow",
    weight: Annotated[
        list[str] | None,
        typer.Option(
            help="Weight of a term of the loss, NAME=VALUE: vertices, edges, adversarial, logits "
            "or pseudo; may be repeated."
        ),
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(help="Softmax temperature of the distillation loss.")
    ] = None,
    nodes: Annotated[int | None, typer.Option(help="Nodes of a salience graph.")] = None,
    critic_width: Annotated[
        int | None, typer.Option(help="Channels of the critic's first stage.")
    ] = None,
    paraphraser_steps: Annotated[
        int | None, typer.Option(help="Batches that the paraphrasers learn from.")
    ] = None,
    views: Annotated[
        int | None, typer.Option(help="Flips and turns that the teacher averages: 1, 2, 4 or 8.")
    ] = None,
    mixup: Annotated[
        float | None,
        typer.Option(help="Probability that an unlabelled image is blended with another."),
    ] = None,
    cutmix: Annotated[
        float | None,
        typer.Option(help="Probability that a box of another image is pasted into an unlabelled."),
    ] = None,
    teacher_taps: Annotated[
        str | None, typer.Option(help="Modules of the teacher to compare features of, A,B,...")
    ] = None,
    student_taps: Annotated[
        str | None, typer.Option(help="Modules of the student, as many as --teacher-taps has.")
    ] = None,
    recipe: Recipe = None,
    teacher_spec: Annotated[
        Path | None, typer.Option(help="TOML file that describes a teacher of your own.")
    ] = None,
    student_spec: Annotated[
        Path | None, typer.Option(help="TOML file that describes a student of your own.")
    ] = None,
    epochs: Epochs = None,
    epoch_steps: EpochSteps = None,
    batch_size: BatchSize = None,
    learning_rate: LearningRate = None,
    precision: Precision = None,
    seed: Seed = None,
    weights: StartWeights = None,
    size: Size = None,
    teacher_size: Annotated[
        list[str] | None,
        typer.Option(help="Input size, HxW, of all teachers or of each (default: the network's)."),
    ] = None,
    build: BuildTargets = None,
    build_precision: BuildPrecision = "int8",
    resume: Resume = False,
    cache: Cache = True,
    workers: Workers = 1,
    accelerator: Accelerator = "auto",
    as_json: AsJson = False,
) -> None:
    """Teach a small network by a large one, with all labels or few.

    The run goes to runs/STUDENT-METHOD unless --output names another folder.
    """
    from ..pipeline.distill import DistillRequest, distill_model

    settings = {
        **parse_weights(weight or []),
        "temperature": temperature,
        "nodes": nodes,
        "critic_width": critic_width,
        "paraphraser_steps": paraphraser_steps,
        "views": views,
        "mixup": mixup,
        "cutmix": cutmix,
    }
    request = DistillRequest(
        teachers=tuple(teacher),
        student=student,
        data=data,
        output=output or Path("runs") / f"{short_name(student)}-{method}",
        teacher_weights=tuple(teacher_weights or ()),
        teacher_spec=teacher_spec,
        student_spec=student_spec,
        teacher_sizes=tuple(parse_size(one, "--teacher-size") for one in teacher_size or ()),
        student_size=parse_size(size),
        student_weights=weights,
        unlabeled=unlabeled,
        labels=labels,
        method=method,
        settings=settings,
        teacher_taps=parse_names(teacher_taps),
        student_taps=parse_names(student_taps),
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
    result = distill_model(request, make_progress())
    if not as_json:
        print_result(
            f"{result.weights_path}: epoch {result.best_epoch} of {len(result.history)}, "
            f"pooled Dice {result.best_dice:.4f} on val"
        )
    cells = build_after(
        student,
        result.weights_path,
        build or [],
        build_precision,
        data=data,
        spec=student_spec,
        size=request.student_size,
        is_told=not as_json,
    )
    if as_json:
        print_json({**result.to_json(), "bundles": [cell.to_json() for cell in cells]})
    require_all(cells, student, result.weights_path)


def parse_names(text: str | None) -> tuple[str, ...]:
    """Read "A,B,..."."""
    return tuple(name.strip() for name in text.split(",") if name.strip()) if text else ()


def parse_weights(words: list[str]) -> dict[str, float]:
    """Read "NAME=VALUE" words of the loss's terms.

    Raises:
        UsageError: No such term, or no number.
    """
    from ..distillation.settings import TERMS

    weights: dict[str, float] = {}
    for word in words:
        name, _, value = word.partition("=")
        try:
            weights[name] = float(value)
        except ValueError:
            raise UsageError(
                f"--weight {word} is no weight. Write NAME=NUMBER, NAME one of {', '.join(TERMS)}."
            ) from None
        if name not in TERMS:
            raise UsageError(f"--weight {name} is no term. Terms: {', '.join(TERMS)}.")
    return weights
