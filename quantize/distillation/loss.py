"""Distance of the quantized network from the FP32 reference on one image."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from edgeseg.errors import CalibrationError
from edgeseg.metrics.agreement import PER

from .graph import Step, TorchGraph

DICE_SMOOTHING = 1.0  # pixels: keeps the Dice of an empty mask defined


def logits_of(graph: TorchGraph, label: str) -> str:
    """The tensor that the graph's last Sigmoid or Softmax reads.

    Args:
        label: Name of the graph, for messages.

    Raises:
        CalibrationError: Another operator computes the first output.
    """
    maker: Step = next(step for step in graph.steps if graph.output_names[0] in step.outputs)
    if maker.kind not in ("Sigmoid", "Softmax"):
        raise CalibrationError(
            f"{label} ends in {maker.kind}; distillation needs the logits that a Sigmoid or a "
            "Softmax reads at the end. Calibrate with --method mse."
        )
    return maker.inputs[0]


def count_flips(student: Tensor, teacher: Tensor) -> float:
    """Pixels per 10,000 whose labels differ between two logits (1, C, H, W)."""
    if teacher.shape[1] == 1:
        differ = (student > 0) != (teacher > 0)
    else:
        differ = student.argmax(1) != teacher.argmax(1)
    return float(differ.float().mean()) * PER


def distillation_loss(student: Tensor, teacher: Tensor, band_weight: float) -> Tensor:
    """Divergence from the teacher, weighted towards its uncertain pixels, plus soft Dice.

    The weight of a pixel is 1 + band_weight * u. The uncertainty u of a teacher with the
    probability p is 4 p (1 - p) for one channel, and 1 - (p1 - p2)^2 of the two largest
    probabilities for several: it is 1 in the band along borders, and rounding flips pixels there
    and nowhere else.

        loss = sum(w KL(teacher || student)) / sum(w) + 1 - soft Dice(teacher, student)

    Args:
        student, teacher: Logits (1, C, H, W): one channel is a Bernoulli, more are a softmax.

    Source: Hinton et al. 2015, arXiv:1503.02531, at temperature 1; Milletari et al. 2016,
    arXiv:1606.04797, Dice. The band is ours.
    """
    if teacher.shape[1] == 1:
        target, answer = torch.sigmoid(teacher), torch.sigmoid(student)
        uncertainty = 4 * target * (1 - target)
        divergence = F.binary_cross_entropy_with_logits(student, target, reduction="none")
        divergence = divergence - F.binary_cross_entropy_with_logits(
            teacher, target, reduction="none"
        )
    else:
        log_target, log_answer = F.log_softmax(teacher, 1), F.log_softmax(student, 1)
        target, answer = log_target.exp(), log_answer.exp()
        best = target.topk(2, dim=1).values
        uncertainty = 1 - (best[:, :1] - best[:, 1:]) ** 2
        divergence = (target * (log_target - log_answer)).sum(1, keepdim=True)
    weight = 1 + band_weight * uncertainty
    # The background of several classes counts like the others.
    overlap = (target * answer).sum((0, 2, 3))
    sizes = target.square().sum((0, 2, 3)) + answer.square().sum((0, 2, 3))
    dice = (2 * overlap + DICE_SMOOTHING) / (sizes + DICE_SMOOTHING)
    return (weight * divergence).sum() / weight.sum() + (1 - dice).mean()
