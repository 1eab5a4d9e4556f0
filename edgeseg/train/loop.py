"""The training loop: Lightning Fabric for device and precision, resumable after any kill."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ..atomic import write_text, writing_file
from ..contract import InputContract, OutputContract
from ..data.folder import FolderDataset
from ..errors import OutputInUseError, TrainingError, UsageError
from ..lazy import require
from ..metrics import Counts, count_overlap, scores_from_counts
from ..models.weights import save_weights
from ..progress import SILENT, Progress, Stage
from .batches import TrainingImages, class_shares, epoch_batches, rescale_batch, step_count
from .losses import Loss, find_features, make_loss
from .optimization import Schedule, make_optimizer
from .recipes import Recipe

CHECKPOINT_NAME = "last.pt"
WEIGHTS_NAME = "best.safetensors"
HISTORY_NAME = "history.json"


@dataclass(frozen=True)
class TrainingResult:
    """What a finished run left.

    Attributes:
        weights_path: Weights of the epoch with the highest pooled Dice on val.
        best_epoch: That epoch, from 1.
        best_dice: Its pooled Dice on val, 0..1.
        history: One record an epoch: `epoch`, `loss`, `dice_pooled`, `dice_image`, ...
    """

    weights_path: Path
    best_epoch: int
    best_dice: float
    history: list[dict[str, float]]


def predict_pairs(
    network: nn.Module,
    dataset: Iterable[Any],
    inputs: InputContract,
    outputs: OutputContract,
    device: torch.device | str = "cpu",
    stage: Stage | None = None,
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.uint8]]]:
    """Probabilities (1, C, H, W) and true labels (H, W) of labelled pairs, at the network's size.

    A step of the stage ends when the next pair is asked for.
    """
    network.eval()
    for pair in dataset:
        image, labels = pair.read_both(len(outputs.classes))
        truth = outputs.shrink_labels(labels, inputs.height, inputs.width)
        with torch.inference_mode():
            mask = network(torch.from_numpy(inputs.prepare(image)).to(device))
        yield mask.float().cpu().numpy(), truth
        if stage is not None:
            stage.advance()


def predict_counts(
    network: nn.Module,
    dataset: Iterable[Any],
    inputs: InputContract,
    outputs: OutputContract,
    device: torch.device | str = "cpu",
    stage: Stage | None = None,
) -> Counts:
    """Overlap counts of a network on labelled pairs, at the network's size."""
    pairs = predict_pairs(network, dataset, inputs, outputs, device, stage)
    count = len(outputs.classes)
    return np.stack([count_overlap(outputs.labels(mask), truth, count) for mask, truth in pairs])


class Trainer:
    """One run in one folder.

    Args:
        network: Freshly initialised, or with weights to start from. It offers
            `forward_logits(image)` for the loss and `forward(image)` for probabilities.
        inputs, outputs: The contracts it is trained under.
        recipe: The settings.
        folder: Receives `last.pt` (all that resuming needs), `best.safetensors` and
            `history.json`, each written atomically at the end of an epoch.
        workers: Threads that load images ahead; 0 loads on demand.
        accelerator: As Lightning Fabric names it; "auto" takes a GPU where there is one.
        perceptual_weights: VGG-16 checkpoint of a perceptual loss; None gives it random features.

    Raises:
        UsageError: A device that is not there; perceptual weights for a loss that takes none.
        WeightsError: The perceptual weights cannot be used.
    """

    def __init__(
        self,
        network: nn.Module,
        inputs: InputContract,
        outputs: OutputContract,
        recipe: Recipe,
        folder: Path,
        *,
        workers: int = 0,
        accelerator: str = "auto",
        perceptual_weights: Path | None = None,
    ) -> None:
        if not hasattr(network, "forward_logits"):
            raise TrainingError(
                f"{type(network).__name__} has no forward_logits(image), which training needs. "
                'Let its forward return logits and say returns = "logits" in the spec.'
            )
        fabric_package = require("lightning_fabric", purpose="Training")
        try:
            self.fabric = fabric_package.Fabric(
                accelerator=accelerator, devices=1, precision=recipe.precision
            )
        except Exception as error:
            # Fabric raises several kinds for a device that is not there.
            raise UsageError(
                f"Cannot train on --accelerator {accelerator} with precision {recipe.precision}: "
                f"{' '.join(str(error).split())[:200]}. Use --accelerator cpu."
            ) from error
        self.network = network
        self.inputs = inputs
        self.outputs = outputs
        self.recipe = recipe
        self.folder = folder
        self.workers = workers
        self.features = find_features(recipe.loss, perceptual_weights)
        self.history: list[dict[str, float]] = []

    @property
    def checkpoint_path(self) -> Path:
        return self.folder / CHECKPOINT_NAME

    @property
    def weights_path(self) -> Path:
        return self.folder / WEIGHTS_NAME

    def run(
        self,
        train: FolderDataset,
        val: FolderDataset,
        *,
        resume: bool = False,
        progress: Progress = SILENT,
    ) -> TrainingResult:
        """Train to the recipe's last epoch.

        Raises:
            OutputInUseError: The folder holds a run and `resume` is false.
            TrainingError: The checkpoint belongs to another run, or the loss is not finite.
        """
        identity = self._identity(train, val)
        state = self._read_checkpoint(resume, identity)
        steps = step_count(len(train), self.recipe.batch_size)
        optimizer = make_optimizer(self.network, self.recipe)
        if self.recipe.channels_last:
            self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        network, optimizer = self.fabric.setup(self.network, optimizer)
        network.mark_forward_method("forward_logits")
        schedule = Schedule(optimizer, self.recipe, steps)
        if state is not None:
            network.load_state_dict(state["network"])
            optimizer.load_state_dict(state["optimizer"])
            schedule.load_state_dict(state["schedule"])
            self.history = state["history"]
        loss = make_loss(self.recipe.loss, lambda: class_shares(train, self.outputs), self.features)
        best = max((row["dice_pooled"] for row in self.history), default=-1.0)
        for epoch in range(len(self.history) + 1, self.recipe.epochs + 1):
            images = TrainingImages(train, self.inputs, self.outputs, self.recipe, epoch)
            title = f"epoch {epoch}/{self.recipe.epochs}"
            with progress.stage(title, total=steps + len(val)) as stage:
                mean_loss = self._train_epoch(network, optimizer, schedule, loss, images, stage)
                counts = predict_counts(
                    network, val, self.inputs, self.outputs, self.fabric.device, stage
                )
                scores = scores_from_counts(counts)
                stage.note(f"loss {mean_loss:.4f}, val Dice {scores['dice_pooled']:.4f}")
            schedule.end_epoch(scores["dice_pooled"])
            self.history.append({"epoch": epoch, "loss": mean_loss, **scores})
            if scores["dice_pooled"] > best:
                best = scores["dice_pooled"]
                save_weights(self.weights_path, self.network)
            self._write_checkpoint(network, optimizer, schedule, identity)
        best_row = max(self.history, key=lambda row: row["dice_pooled"])
        return TrainingResult(
            self.weights_path, int(best_row["epoch"]), best_row["dice_pooled"], self.history
        )

    def _train_epoch(
        self,
        network: Any,
        optimizer: Any,
        schedule: Schedule,
        loss: Loss,
        images: TrainingImages,
        stage: Stage,
    ) -> float:
        network.train()
        # Dropout and the like draw from torch's generator: start it anew each epoch, so that a
        # resumed run draws the same numbers.
        torch.manual_seed(self.recipe.seed * 100_003 + images.epoch)
        losses: list[float] = []
        for image, labels in epoch_batches(images, self.workers):
            image, labels = self.fabric.to_device((image, labels))
            image, labels = rescale_batch(image, labels, self.recipe, images.epoch, len(losses))
            if self.recipe.channels_last:
                image = image.contiguous(memory_format=torch.channels_last)
            value = loss(network.forward_logits(image), labels)
            number = float(value.detach())
            if not np.isfinite(number):
                raise TrainingError(
                    f"The loss became {number} in epoch {images.epoch}, step {len(losses) + 1}. "
                    "Lower --learning-rate, or look for broken images in the data set."
                )
            losses.append(number)
            optimizer.zero_grad(set_to_none=True)
            self.fabric.backward(value)
            optimizer.step()
            schedule.end_step()
            stage.advance()
        return float(np.mean(losses))

    def _identity(self, train: FolderDataset, val: FolderDataset) -> dict[str, Any]:
        """What makes a run this run: resuming with anything else would mix two experiments."""
        features = {} if self.features is None else {"perceptual features": self.features.origin}
        return {
            **self.recipe.to_json(),
            **features,
            "network": type(self.network).__name__,
            "input size": f"{self.inputs.height}x{self.inputs.width}",
            "normalization": self.inputs.normalization.to_json(),
            "classes": list(self.outputs.classes),
            **{
                f"{name} images": f"{len(dataset)} ({_names_digest(dataset)})"
                for name, dataset in (("train", train), ("val", val))
            },
        }

    def _read_checkpoint(self, resume: bool, identity: dict[str, Any]) -> dict[str, Any] | None:
        names = (CHECKPOINT_NAME, WEIGHTS_NAME, HISTORY_NAME)
        present = [name for name in names if (self.folder / name).exists()]
        if present and not resume:
            raise OutputInUseError(
                f"{self.folder} already holds {present[0]}. Continue that run with --resume, "
                "or choose another --output."
            )
        if not self.checkpoint_path.exists():
            return None
        try:
            state: dict[str, Any] = torch.load(
                self.checkpoint_path, map_location="cpu", weights_only=True
            )
            theirs = dict(state["identity"])
        except Exception as error:
            raise TrainingError(
                f"Cannot resume from {self.checkpoint_path} ({type(error).__name__}). "
                "It was not written by edgeseg train; start a new run in another --output."
            ) from error
        if theirs != identity:
            changed = ", ".join(
                f"{key} {theirs.get(key)} -> {identity[key]}"
                for key in identity
                if theirs.get(key) != identity[key]
            )
            raise UsageError(
                f"The run in {self.folder} has other settings ({changed}). Resume it with its "
                "own, or start a new run in another --output."
            )
        return state

    def _write_checkpoint(
        self, network: Any, optimizer: Any, schedule: Schedule, identity: dict[str, Any]
    ) -> None:
        write_text(self.folder / HISTORY_NAME, json.dumps(self.history, indent=1) + "\n")
        state = {
            "identity": identity,
            "network": network.state_dict(),
            "optimizer": optimizer.state_dict(),
            "schedule": schedule.state_dict(),
            "history": self.history,
        }
        with writing_file(self.checkpoint_path) as file:
            torch.save(state, file)


def _names_digest(dataset: FolderDataset) -> str:
    names = "\n".join(pair.name for pair in dataset)
    return hashlib.sha256(names.encode()).hexdigest()[:8]
