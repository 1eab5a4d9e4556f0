"""Optimisers and learning-rate schedules of the recipes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.optim import lr_scheduler

from .recipes import Recipe

POLY_POWER = 0.9
PLATEAU_FACTOR = 0.5
PLATEAU_PATIENCE = 10  # epochs


def make_optimizer(
    network: nn.Module, recipe: Recipe, others: Sequence[nn.Parameter] = ()
) -> torch.optim.Optimizer:
    """The recipe's optimiser; parameters of `recipe.backbone` get their own rate.

    Args:
        others: Learn with the network, at its rate.
    """
    groups: list[dict[str, Any]] = []
    named = list(network.named_parameters())
    prefix = f"{recipe.backbone}." if recipe.backbone else None
    inside = [p for name, p in named if prefix and name.startswith(prefix)]
    outside = [p for name, p in named if not (prefix and name.startswith(prefix))]
    groups.append({"params": [*outside, *others]})
    if inside:
        groups.append({"params": inside, "lr": recipe.learning_rate * recipe.backbone_rate})
    shared: dict[str, Any] = {"lr": recipe.learning_rate, "weight_decay": recipe.weight_decay}
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, momentum=recipe.momentum, nesterov=True, **shared)
    if recipe.optimizer == "adam":
        return torch.optim.Adam(groups, **shared)
    return torch.optim.AdamW(groups, **shared)


class Schedule:
    """Learning rate over a run.

    Args:
        optimizer: Whose rates are changed; each group keeps its ratio to the others.
        steps_per_epoch: Batches in an epoch.
    """

    def __init__(
        self, optimizer: torch.optim.Optimizer, recipe: Recipe, steps_per_epoch: int
    ) -> None:
        self.name = recipe.schedule
        total = recipe.epochs * steps_per_epoch
        peaks = [group["lr"] for group in optimizer.param_groups]
        self.scheduler: Any
        if self.name == "one_cycle":
            self.scheduler = lr_scheduler.OneCycleLR(optimizer, peaks, total_steps=total)
        elif self.name == "poly":
            self.scheduler = lr_scheduler.LambdaLR(
                optimizer, lambda step: max(1 - step / total, 0.0) ** POLY_POWER
            )
        elif self.name == "triangle":
            self.scheduler = lr_scheduler.LambdaLR(
                optimizer, lambda step: 1 - abs(2 * min((step + 1) / (total + 1), 1.0) - 1)
            )
        elif self.name == "plateau":
            self.scheduler = lr_scheduler.ReduceLROnPlateau(
                optimizer, mode="max", factor=PLATEAU_FACTOR, patience=PLATEAU_PATIENCE
            )
        else:
            self.scheduler = lr_scheduler.CosineAnnealingLR(
                optimizer, recipe.cosine_period, recipe.min_learning_rate
            )

    def end_step(self) -> None:
        if self.name in ("one_cycle", "poly", "triangle"):
            self.scheduler.step()

    def end_epoch(self, val_dice: float) -> None:
        if self.name == "plateau":
            self.scheduler.step(val_dice)
        elif self.name == "cosine":
            self.scheduler.step()

    def state_dict(self) -> dict[str, Any]:
        state: dict[str, Any] = self.scheduler.state_dict()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.scheduler.load_state_dict(state)
