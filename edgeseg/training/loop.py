"""The training loop: Lightning Fabric for device and precision, resumable after any kill."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import nn

from ..contract import InputContract, OutputContract
from ..data.folder import FolderDataset
from ..errors import TrainingError, UnknownNameError, UsageError
from ..lazy import require
from ..models.foreign_code import foreign_code
from ..models.weights import save_weights
from ..progress import SILENT, Progress, Stage
from .batches import Feed, rescale_batch
from .checkpoint import RunFolder, describe_images
from .ignoring import IgnoringLoss
from .losses import ClassShares, find_features, make_loss
from .objective import MakeObjective, Objective
from .optimization import Schedule, make_optimizer
from .predict import predict_overlap
from .recipes import Recipe
from .samples import TrainingImages, class_shares

UNLABELLED_STREAM = 2


ACCELERATORS = ("auto", "cpu", "cuda", "gpu", "mps")  # names of Lightning Fabric


@dataclass(frozen=True)
class TrainingResult:
    """What a finished run left.

    Attributes:
        weights_path: Weights of the epoch with the highest pooled Dice on val.
        best_epoch: That epoch, from 1.
        best_dice: Its pooled Dice on val, 0..1.
        history: One record an epoch: `epoch`, `loss`, `loss_TERM` where it has several,
            `dice_pooled`, `dice_image`, ...
    """

    weights_path: Path
    best_epoch: int
    best_dice: float
    history: list[dict[str, float]]

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "weights_path": str(self.weights_path)}


class Trainer:
    """One run in one folder.

    Args:
        network: Freshly initialised, or with weights to start from. It offers
            `forward_logits(image)` for the loss and `forward(image)` for probabilities.
        inputs, outputs: The contracts it is trained under.
        recipe: The settings.
        folder: Receives `last.pt` (all that resuming needs), `best.safetensors`,
            `history.json` and `curves.png`, each written atomically at the end of an epoch.
        workers: Threads that load images ahead; 0 loads on demand.
        accelerator: As Lightning Fabric names it; "auto" takes a GPU where there is one.
        perceptual_weights: VGG-16 checkpoint of a perceptual loss; None gives it random features.
        make_objective: Makes what each step minimises from the recipe's loss, on the device.
        class_shares: Gives the share of each class in what teaches; None counts the masks.
        identity: What else makes the run this run, beside recipe, contracts, images and
            objective: only an equal one resumes it. JSON types.

    Raises:
        UsageError: A device that is not there, or lacks the precision; perceptual weights for a
            loss that takes none.
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
        make_objective: MakeObjective = Objective,
        class_shares: ClassShares | None = None,
        identity: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        if not hasattr(network, "forward_logits"):
            raise TrainingError(
                f"{type(network).__name__} has no forward_logits(image), which training needs. "
                'Let its forward return logits and say returns = "logits" in the spec.'
            )
        fabric_package = require("lightning_fabric", purpose="Training")
        if accelerator not in ACCELERATORS:
            raise UnknownNameError("accelerator", accelerator, ACCELERATORS)
        try:
            self.fabric = fabric_package.Fabric(
                accelerator=accelerator, devices=1, precision=recipe.precision
            )
        except Exception as error:
            # Fabric raises several kinds for a device that is not there.
            raise UsageError(
                f"This machine cannot train on --accelerator {accelerator} with precision "
                f"{recipe.precision}. Use --accelerator cpu."
            ) from error
        if self.fabric.device.type == "cpu" and recipe.precision == "16-mixed":
            raise UsageError(
                "CPUs do not train in 16-mixed. Use --precision bf16-mixed or 32-true, or a GPU."
            )
        self.network = network
        self.inputs = inputs
        self.outputs = outputs
        self.recipe = recipe
        self.folder = folder
        self.workers = workers
        self.features = find_features(recipe.loss, perceptual_weights)
        self.make_objective = make_objective
        self.class_shares = class_shares
        self.identity = dict(identity)
        self.history: list[dict[str, float]] = []

    def run(
        self,
        train: FolderDataset,
        val: FolderDataset,
        *,
        unlabelled: FolderDataset | None = None,
        resume: bool = False,
        progress: Progress = SILENT,
    ) -> TrainingResult:
        """Train to the recipe's last epoch.

        Args:
            unlabelled: Fills half of each batch; the objective must know what to do with it.

        Raises:
            OutputInUseError: The folder holds a run and `resume` is false.
            UsageError: The checkpoint belongs to another run.
            TrainingError: The checkpoint is damaged, or the loss is not finite.
        """
        folder = RunFolder(self.folder)
        folder.require_free(resume=resume)
        objective = self._make_objective(train)
        identity = {**self._identity(train, val, unlabelled), **objective.identity()}
        state = folder.read_checkpoint(identity)
        feed = self._make_feed(train, unlabelled, objective)
        optimizer = make_optimizer(self.network, self.recipe, objective.parameters())
        if self.recipe.channels_last:
            self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        network, optimizer = self.fabric.setup(self.network, optimizer)
        network.mark_forward_method("forward_logits")
        schedule = Schedule(optimizer, self.recipe, feed.steps)
        parts = {
            "network": network,
            "optimizer": optimizer,
            "schedule": schedule,
            "objective": objective,
            "precision": self.fabric.strategy.precision,  # scale of the loss
        }
        if state is not None:
            self._restore(parts, state, folder)
        for epoch in range(len(self.history) + 1, self.recipe.epochs + 1):
            title = f"epoch {epoch}/{self.recipe.epochs}"
            with progress.stage(title, total=feed.steps + len(val)) as stage:
                losses = self._train_epoch(
                    network, optimizer, schedule, objective, feed, epoch, stage
                )
                scores = self._score(network, val, stage)
                stage.note(f"loss {losses['loss']:.4f}, val Dice {scores['dice_pooled']:.4f}")
            schedule.end_epoch(scores["dice_pooled"])
            self.history.append({"epoch": epoch, **losses, **scores})
            states = {name: part.state_dict() for name, part in parts.items()}
            folder.write_checkpoint(identity, {**states, "history": self.history})
            # After the checkpoint, which makes up for a kill in between.
            if _is_best(self.history):
                save_weights(folder.weights_path, self.network)
        best_row = max(self.history, key=lambda row: row["dice_pooled"])
        return TrainingResult(
            folder.weights_path, int(best_row["epoch"]), best_row["dice_pooled"], self.history
        )

    def _make_objective(self, train: FolderDataset) -> Objective:
        """What the recipe's loss, and whatever else teaches, adds up to."""
        shares = self.class_shares or (lambda: class_shares(train, self.outputs))
        task_loss = make_loss(self.recipe.loss, shares, self.features)
        if self.outputs.ignore is not None:
            task_loss = IgnoringLoss(task_loss)
        return self.make_objective(task_loss, self.fabric.device)

    def _restore(self, parts: dict[str, Any], state: dict[str, Any], folder: RunFolder) -> None:
        """Go on from a checkpoint."""
        for name, part in parts.items():
            part.load_state_dict(state[name])
        self.history = state["history"]
        if _is_best(self.history):
            save_weights(folder.weights_path, self.network)

    def _score(self, network: Any, val: FolderDataset, stage: Stage) -> dict[str, float]:
        """Overlap scores of the network on val, by metric."""
        table = predict_overlap(
            network, val, self.inputs, self.outputs, device=self.fabric.device, stage=stage
        )
        return table.scores()

    def _make_feed(
        self, train: FolderDataset, unlabelled: FolderDataset | None, objective: Objective
    ) -> Feed:
        def images_of(dataset: FolderDataset, stream: int) -> TrainingImages:
            return TrainingImages(
                dataset,
                self.inputs,
                self.outputs,
                self.recipe,
                companions=objective.companions,
                stream=stream,
            )

        without = None if unlabelled is None else images_of(unlabelled, UNLABELLED_STREAM)
        return Feed(images_of(train, 0), without, workers=self.workers)

    def _train_epoch(
        self,
        network: Any,
        optimizer: Any,
        schedule: Schedule,
        objective: Objective,
        feed: Feed,
        epoch: int,
        stage: Stage,
    ) -> dict[str, float]:
        """Means over the steps: `loss`, and `loss_TERM` of each term."""
        network.train()
        # Dropout and the like draw from torch's generator: start it anew each epoch, so that a
        # resumed run draws the same numbers.
        torch.manual_seed(self.recipe.seed * 100_003 + epoch)
        rows: list[dict[str, float]] = []
        for loaded in feed.batches(epoch):
            batch = self.fabric.to_device(loaded)
            batch = rescale_batch(batch, self.recipe, self.inputs.stride, epoch, len(rows))
            if self.recipe.channels_last:
                image = batch.image.contiguous(memory_format=torch.channels_last)
                batch = batch._replace(image=image)
            with foreign_code(
                f"A training step on {len(batch.image)} images fails",
                "Correct the network's code, or raise --batch-size where a norm needs more.",
            ):
                value, terms = objective.compute(network, batch)
            row = {"loss": float(value.detach())}
            row.update((f"loss_{name}", float(term.detach())) for name, term in terms.items())
            if not np.isfinite(row["loss"]):
                raise TrainingError(
                    f"The loss became {row['loss']} in epoch {epoch}, step {len(rows) + 1}. "
                    "Lower --learning-rate, or look for broken images in the data set."
                )
            rows.append(row)
            optimizer.zero_grad(set_to_none=True)
            self.fabric.backward(value)
            optimizer.step()
            schedule.end_step()
            stage.advance()
        return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}

    def _identity(
        self, train: FolderDataset, val: FolderDataset, unlabelled: FolderDataset | None
    ) -> dict[str, Any]:
        features = {} if self.features is None else {"perceptual features": self.features.origin}
        datasets = {"train": train, "val": val}
        if unlabelled is not None:
            datasets["unlabelled"] = unlabelled
        return {
            **self.recipe.to_json(),
            **features,
            **self.identity,
            "input size": f"{self.inputs.height}x{self.inputs.width}",
            "normalization": self.inputs.normalization.to_json(),
            "classes": list(self.outputs.classes),
            **{f"{name} images": describe_images(dataset) for name, dataset in datasets.items()},
        }


def _is_best(history: list[dict[str, float]]) -> bool:
    """Whether the last epoch is the first of the best: its weights are those to keep."""
    dices = [row["dice_pooled"] for row in history]
    return all(dices[-1] > one for one in dices[:-1])
