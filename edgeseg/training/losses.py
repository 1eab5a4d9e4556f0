"""Losses on logits, by name.

A loss takes what the model's `forward_logits` returned and the true class indices (N, H, W),
int64, and returns a scalar.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import UnknownNameError, UsageError
from ..lazy import require
from .lossnet import LossNet, VggFeatures

Loss = Callable[[Any, Tensor], Tensor]

AUXILIARY_WEIGHT = 0.4
EDGE_WINDOW = 31  # pixels
EDGE_GAIN = 5.0
LOSSNET_WEIGHT = 0.1
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

    Source: arXiv:2307.08473. The weights of the published code are used, 0.1 for
    the deepest output to 0.5 for the shallowest.
    """

    def __call__(self, logits: Any, truth: Tensor) -> Tensor:
        total = super().__call__(logits.mask, truth)
        for weight, side in zip(SIDE_WEIGHTS, logits.side, strict=True):
            total = total + weight * super().__call__(side, truth)
        return total


class BatchDice:
    """Dice loss over all pixels of a batch at once, smoothing 1e-3, of a one-channel mask.

    Source: arXiv:2306.16103
    """

    def __init__(self) -> None:
        losses = require("monai.losses", purpose="Training")
        self.dice = losses.DiceLoss(sigmoid=True, batch=True, smooth_nr=1e-3, smooth_dr=1e-3)

    def __call__(self, logit: Any, truth: Tensor) -> Tensor:
        return torch.as_tensor(self.dice(logit, (truth > 0).unsqueeze(1).to(logit.dtype)))


class CrossEntropyDice:
    """Cross-entropy plus the mean Dice loss of all classes, of one channel a class."""

    def __init__(self) -> None:
        losses = require("monai.losses", purpose="Training")
        self.loss = losses.DiceCELoss(softmax=True, to_onehot_y=True, smooth_nr=1.0, smooth_dr=1.0)

    def __call__(self, logits: Any, truth: Tensor) -> Tensor:
        return torch.as_tensor(self.loss(logits, truth.unsqueeze(1)))


class DeepSupervisedCrossEntropy:
    """MiniSeg's loss: weighted cross-entropy of the main and the auxiliary outputs.

    Source: arXiv:2004.09750 A class with share p of the training pixels weighs
    1 / ln(1.10 + p); auxiliary outputs weigh 0.4 each.
    """

    def __init__(self, shares: Sequence[float]) -> None:
        self.class_weights = torch.tensor([1 / math.log(1.10 + share) for share in shares])

    def __call__(self, logits: Any, truth: Tensor) -> Tensor:
        weights = self.class_weights.to(truth.device)
        main, *auxiliary = [F.cross_entropy(output, truth, weights) for output in logits]
        return torch.as_tensor(main + AUXILIARY_WEIGHT * sum(auxiliary))


class WeightedBceIou:
    """MSNet's loss without its perceptual term: pixels near an edge weigh up to six times.

    The weight is 1 + 5 |mean of the mask over 31 x 31 - mask|; binary cross-entropy is averaged
    with it, and 1 - IoU computed with it (smoothing 1), per image.

    Source: Wei et al., "F3Net", AAAI 2020, arXiv:1911.11445, which arXiv:2303.10894 uses. The
    published code of the latter passes `reduce="none"`, which torch takes for the plain mean, so
    that only its IoU is weighted; here both are, as described.
    """

    def __call__(self, logit: Any, truth: Tensor) -> Tensor:
        target = (truth > 0).unsqueeze(1).to(logit.dtype)
        near = F.avg_pool2d(target, EDGE_WINDOW, stride=1, padding=EDGE_WINDOW // 2)
        weight = 1 + EDGE_GAIN * (near - target).abs()
        cross_entropy = F.binary_cross_entropy_with_logits(logit, target, reduction="none")
        mean_entropy = (weight * cross_entropy).sum((2, 3)) / weight.sum((2, 3))
        probability = torch.sigmoid(logit)
        shared = (probability * target * weight).sum((2, 3))
        joined = ((probability + target) * weight).sum((2, 3))
        iou = (shared + 1) / (joined - shared + 1)
        return torch.as_tensor((mean_entropy + 1 - iou).mean())


class WeightedBceIouLossNet(WeightedBceIou):
    """MSNet's and M2SNet's whole loss: `WeightedBceIou` plus 0.1 LossNet.

    Source: arXiv:2303.10894
    """

    def __init__(self, features: VggFeatures) -> None:
        self.lossnet = LossNet(features)

    def __call__(self, logit: Any, truth: Tensor) -> Tensor:
        target = (truth > 0).unsqueeze(1).to(logit.dtype)
        perceptual = self.lossnet(torch.sigmoid(logit), target)
        return super().__call__(logit, truth) + LOSSNET_WEIGHT * perceptual


ClassShares = Callable[[], Sequence[float]]

# Each takes a function that looks up the shares of the classes; few need them.
LOSSES: dict[str, Callable[[ClassShares], Loss]] = {
    "batch_dice": lambda _: BatchDice(),
    "bce_dice": lambda _: BceDice(),
    "cross_entropy_dice": lambda _: CrossEntropyDice(),
    "deep_supervised_bce_dice": lambda _: DeepSupervisedBceDice(),
    "deep_supervised_cross_entropy": lambda shares: DeepSupervisedCrossEntropy(shares()),
    "weighted_bce_iou": lambda _: WeightedBceIou(),
}

# Each compares masks in the features of VGG-16.
PERCEPTUAL_LOSSES: dict[str, Callable[[VggFeatures], Loss]] = {
    "weighted_bce_iou_lossnet": WeightedBceIouLossNet,
}


def find_features(loss: str, weights: Path | None) -> VggFeatures | None:
    """Features for a loss of that name; None where it takes none.

    Args:
        weights: torchvision's VGG-16 checkpoint; None gives random features.

    Raises:
        UsageError: `weights` for a loss that takes none.
        WeightsError: As `VggFeatures`.
    """
    if loss in PERCEPTUAL_LOSSES:
        return VggFeatures(weights)
    if weights is not None:
        raise UsageError(
            f"The loss {loss} has no perceptual term that could use --perceptual-weights "
            f"{weights}. Leave the option out, or choose a recipe with the loss "
            f"{', '.join(PERCEPTUAL_LOSSES)}: published of msnet or m2snet."
        )
    return None


def make_loss(name: str, class_shares: ClassShares, features: VggFeatures | None = None) -> Loss:
    """Loss by name.

    Args:
        class_shares: Gives the share of each class in the training pixels; asked only by the
            losses that weigh classes.
        features: Of the perceptual losses; None gives them random ones.

    Raises:
        UnknownNameError: No such loss.
    """
    if name in PERCEPTUAL_LOSSES:
        return PERCEPTUAL_LOSSES[name](features or VggFeatures())
    if name not in LOSSES:
        raise UnknownNameError("loss", name, {**LOSSES, **PERCEPTUAL_LOSSES})
    return LOSSES[name](class_shares)
