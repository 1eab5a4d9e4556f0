"""Training and evaluating registered models on data folders."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..data.folder import FolderDataset, open_folder
from ..lazy import require
from ..metrics import score_intervals, scores_from_counts
from ..models import ModelSpec, find_model
from ..progress import SILENT, Progress
from ..train.recipes import find_recipe

if TYPE_CHECKING:
    from ..train.loop import TrainingResult


@dataclass(frozen=True)
class TrainRequest:
    """What to train.

    Attributes:
        model: Name, or "package.module:Class".
        recipe: Name; None takes the model's first.
        spec: Describes a model of the user's own.
        data: Folder with train and val.
        output: Run folder.
        settings: Recipe settings that differ from the preset; None keeps the preset's.
        weights: Checkpoint to start from; None starts from random weights.
        size: (height, width) of the input; None is the model's default.
        resume: Continue the run in `output`.
        workers: Threads that load images ahead.
        accelerator: As Lightning Fabric names it.
    """

    model: str
    data: Path
    output: Path
    recipe: str | None = None
    spec: Path | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    weights: Path | None = None
    size: tuple[int, int] | None = None
    resume: bool = False
    workers: int = 0
    accelerator: str = "auto"


def train_model(request: TrainRequest, progress: Progress = SILENT) -> TrainingResult:
    """Train, or go on training.

    Raises:
        EdgesegError: Of any kind; an epoch that was finished stays in `output`.
    """
    spec = find_model(request.model, request.spec)
    spec = spec.at_size(*request.size) if request.size else spec
    recipe = find_recipe(spec.name, request.recipe, spec.outputs.channels)
    recipe = recipe.changed(**request.settings)
    train = open_folder(request.data, ["train"])
    val = open_folder(request.data, ["val"])
    require("monai", purpose="Training")
    require("lightning_fabric", purpose="Training")
    torch = require("torch", purpose="Training")

    from ..models.weights import load_weights
    from ..train.loop import Trainer

    with progress.stage("load packages and model"):
        torch.manual_seed(recipe.seed)
        network = spec.make_network()
        if request.weights is not None:
            load_weights(network, request.weights)
        trainer = Trainer(
            network,
            spec.inputs,
            spec.outputs,
            recipe,
            request.output,
            workers=request.workers,
            accelerator=request.accelerator,
        )
    return trainer.run(train, val, resume=request.resume, progress=progress)


def evaluate_model(
    spec: ModelSpec, weights: Path | None, dataset: FolderDataset, progress: Progress = SILENT
) -> dict[str, Any]:
    """Score the float torch network.

    Returns:
        JSON record: `model`, `images`, `accuracy` and `accuracy_ci95` by score.
    """
    weights_path = spec.resolve_weights(weights)
    with progress.stage("load the model"):
        network = spec.load_network(weights_path)
    from ..train.loop import predict_counts

    with progress.stage("evaluate", total=len(dataset)) as stage:
        counts = predict_counts(network, dataset, spec.inputs, spec.outputs, stage=stage)
    return {
        "model": spec.name,
        "weights": weights_path.name,
        "splits": list(dataset.splits),
        "images": len(dataset),
        "accuracy": scores_from_counts(counts),
        "accuracy_ci95": score_intervals(counts),
    }
