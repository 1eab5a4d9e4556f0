"""Training a network on a data folder."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ..data.depth import tell_depth
from ..data.folder import open_folder, tell_files
from ..data.label_subset import split_labels
from ..lazy import require
from ..models import find_model
from ..progress import SILENT, Progress
from ..training.options import TrainingOptions

if TYPE_CHECKING:
    from ..training.loop import TrainingResult


@dataclass(frozen=True)
class TrainRequest:
    """What to train.

    Attributes:
        model: Name, or "package.module:Class".
        spec: Describes a model of the user's own.
        data: Folder with train and val.
        output: Run folder.
        weights: Checkpoint to start from; None starts from random weights.
        backbone_weights: Checkpoint of an image classifier, for the recipe's backbone only.
        perceptual_weights: VGG-16 checkpoint of a perceptual loss; None gives it random features.
        size: (height, width) of the input; None is the model's default.
        labels: Share of the labelled train images to use, chosen by the recipe's seed.
        training: Recipe of the run, and how it is carried out.
    """

    model: str
    data: Path
    output: Path
    spec: Path | None = None
    weights: Path | None = None
    backbone_weights: Path | None = None
    perceptual_weights: Path | None = None
    size: tuple[int, int] | None = None
    labels: float = 1.0
    training: TrainingOptions = field(default_factory=TrainingOptions)


def train_model(request: TrainRequest, progress: Progress = SILENT) -> TrainingResult:
    """Train, or go on training.

    Raises:
        EdgesegError: Of any kind; an epoch that was finished stays in `output`.
    """
    spec = find_model(request.model, request.spec, request.size)
    recipe = request.training.find_recipe(spec)
    axis = spec.inputs.axis
    images = open_folder(request.data, ["train"], axis=axis)
    train, _ = split_labels(images, request.labels, recipe.seed)
    val = open_folder(request.data, ["val"], axis=axis)
    tell_files(train, progress)
    tell_depth([pair.image_path for pair in train], spec.inputs, progress)
    require("monai", purpose="Training")
    require("lightning_fabric", purpose="Training")
    torch = require("torch", purpose="Training")

    from ..models.weights import load_backbone, load_weights
    from ..training.checkpoint import describe_start
    from ..training.loop import Trainer

    with progress.stage("load packages and model") as stage:
        torch.manual_seed(recipe.seed)
        network = spec.make_network()
        notes = []
        if request.weights is not None:
            notes.append(load_weights(network, request.weights))
        if request.backbone_weights is not None:
            notes.append(load_backbone(network, recipe.backbone, request.backbone_weights))
        trainer = Trainer(
            network,
            spec.inputs,
            spec.outputs,
            recipe,
            request.output,
            workers=request.training.workers,
            accelerator=request.training.accelerator,
            perceptual_weights=request.perceptual_weights,
            identity=describe_start(
                spec, weights=request.weights, backbone=request.backbone_weights
            ),
        )
        if trainer.features is not None:
            given = request.perceptual_weights
            notes.append(
                "random VGG-16 features, no --perceptual-weights"
                if given is None
                else f"VGG-16 features of {given.name}"
            )
        if any(notes):
            stage.note("; ".join(filter(None, notes)))
    return trainer.run(train, val, resume=request.training.resume, progress=progress)
