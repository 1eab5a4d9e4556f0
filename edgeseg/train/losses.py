"""Losses on logits, by name.

A loss takes what the model's `forward_logits` returned and the true class indices (N, H, W),
int64, and returns a scalar.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import UnknownNameError
from ..lazy import require

Loss = Callable[[Any, Tensor], Tensor]

SIDE_WEIGHTS = (0.1, 0.2, 0.3, 0.4, 0.5)  # deep to shallow


class BceDice:
    """Binary cross-entropy plus Dice loss per sample with smoothing 1, of a one-channel mask."""

    def __init__(self) -> None:
        losses = require("monai.losses", purpose="Training")
        self.dice = losses.DiceLoss(sigmoid=True, smooth_nr=1.0, smooth_dr=1.0)

    def __call__(self, logit: Tensor, truth: Tensor) -> Tensor:
        target = (truth > 0).unsqueeze(1).to(logit.dtype)
        cross_entropy = F.binary_cross_entropy_with_logits(logit, target)
        return cross_entropy + torch.as_tensor(self.dice(logit, target))


class DeepSupervisedBceDice(BceDice):
    """EGE-UNet's loss: main output plus weighted side outputs.

    Source: arXiv:2307.08473, equations 3-5. The weights of the published code are used, 0.1 for
    the deepest output to 0.5 for the shallowest.
    """

    def __call__(self, logits: Any, truth: Tensor) -> Tensor:
        total = super().__call__(logits.mask, truth)
        for weight, side in zip(SIDE_WEIGHTS, logits.side, strict=True):
            total = total + weight * super().__call__(side, truth)
        return total


class BatchDice:
    """Dice loss over all pixels of a batch at once, smoothing 1e-3, of a one-channel mask.

    Source: arXiv:2306.16103, section III.
    """

    def __init__(self) -> None:
        losses = require("monai.losses", purpose="Training")
        self.dice = losses.DiceLoss(sigmoid=True, batch=True, smooth_nr=1e-3, smooth_dr=1e-3)

    def __call__(self, logit: Any, truth: Tensor) -> Tensor:
        return torch.as_tensor(self.dice(logit, (truth > 0).unsqueeze(1).to(logit.dtype)))


LOSSES: dict[str, Callable[[], Loss]] = {
    "batch_dice": BatchDice,
    "bce_dice": BceDice,
    "deep_supervised_bce_dice": DeepSupervisedBceDice,
}


def make_loss(name: str) -> Loss:
    if name not in LOSSES:
        raise UnknownNameError("loss", name, LOSSES)
    return LOSSES[name]()
