"""How a network is trained: the settings that each network states beside its module."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from ..errors import UnknownNameError, UsageError

OPTIMIZERS = ("adamw", "adam", "sgd")
SCHEDULES = ("cosine", "one_cycle", "plateau", "poly", "triangle")
ROTATIONS = ("none", "quarter", "any")
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")


@dataclass(frozen=True)
class Recipe:
    """Every setting that decides a training run beside the model and the data.

    Attributes:
        name: Name of the recipe that it started from.
        loss: Key of `LOSSES` or `PERCEPTUAL_LOSSES` of `edgeseg.training.losses`.
        epochs: Number of times that the network is scored on val.
        epoch_steps: Batches of an epoch; 0 is one pass over the training images. With few labelled
            images a pass is short, so that an epoch should hold many passes.
        batch_size: Number of images in a batch.
        optimizer: "adamw", "adam" or "sgd" (Nesterov).
        learning_rate: Highest learning rate of the schedule.
        weight_decay: Weight decay of the optimiser.
        momentum: Momentum of "sgd".
        backbone: Submodule whose parameters learn more slowly; empty for none.
        backbone_rate: Learning rate of the backbone as a share of `learning_rate`.
        schedule: "cosine" (by epoch, down and up again every `2 * cosine_period`), "one_cycle"
            (by step), "plateau" (halved after 10 epochs without a better val Dice), "poly" (by
            step, power 0.9) or "triangle" (by step, up to the middle and down).
        cosine_period: Epochs from the highest to the lowest rate.
        min_learning_rate: Lowest learning rate of the cosine.
        scales: Factors of the input size; each batch is resized by one of them. Empty for none.
        flip_probability: Probability of a flip along each axis, in 0..1.
        rotation: "none", "quarter" (multiples of 90 degrees) or "any" (0 to 360, half of the
            time, border filled with zeros).
        precision: Name of the precision in Lightning Fabric.
        channels_last: Keep the channels of a pixel side by side in memory. Twice as fast on a
            CPU where depthwise convolutions rule; the same function.
        seed: Seed of the weights, the order of the images and the augmentation.
    """

    name: str
    loss: str = "deep_supervised_bce_dice"
    epochs: int = 300
    epoch_steps: int = 0
    batch_size: int = 8
    optimizer: str = "adamw"
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    momentum: float = 0.9
    backbone: str = ""
    backbone_rate: float = 1.0
    schedule: str = "cosine"
    cosine_period: int = 50
    min_learning_rate: float = 1e-5
    scales: tuple[float, ...] = ()
    flip_probability: float = 0.5
    rotation: str = "any"
    precision: str = "32-true"
    channels_last: bool = False
    seed: int = 42

    def __post_init__(self) -> None:
        object.__setattr__(self, "scales", tuple(self.scales))
        for name, known in (
            ("optimizer", OPTIMIZERS),
            ("schedule", SCHEDULES),
            ("rotation", ROTATIONS),
            ("precision", PRECISIONS),
        ):
            if getattr(self, name) not in known:
                raise UnknownNameError(name, str(getattr(self, name)), known)
        for name in ("epochs", "batch_size", "learning_rate", "cosine_period"):
            if not 0 < getattr(self, name) < math.inf:
                raise UsageError(
                    f"{name} is {getattr(self, name)}; it must be above zero and finite."
                )
        for name in ("seed", "epoch_steps"):
            if getattr(self, name) < 0:
                raise UsageError(f"{name} is {getattr(self, name)}; it must not be below zero.")
        if not 0 <= self.flip_probability <= 1:
            raise UsageError(f"flip_probability is {self.flip_probability}; it lies in 0..1.")

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "scales": list(self.scales)}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Recipe:
        known = {field.name for field in fields(cls)}
        for name in record:
            if name not in known:
                raise UnknownNameError("recipe setting", name, known)
        return cls(**record)

    def changed(self, **settings: Any) -> Recipe:
        """Copy with the settings that are not None replaced."""
        given = {name: value for name, value in settings.items() if value is not None}
        return replace(self, **given)
