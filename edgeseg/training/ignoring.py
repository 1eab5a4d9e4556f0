"""A loss that learns nothing from pixels of which nothing is known."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..contract import IGNORED
from .losses import Loss

CERTAIN = 30.0  # a logit whose probability is 0 or 1 within 1e-13


class IgnoringLoss:
    """Another loss, to which ignored pixels look like background that the network is sure of.

    They then add next to nothing to any loss on logits, and no gradient.
    """

    def __init__(self, loss: Loss) -> None:
        self.loss = loss

    def __call__(self, logits: Any, truth: Tensor) -> Tensor:
        unknown = truth == IGNORED
        return self.loss(_certain(logits, unknown), truth.masked_fill(unknown, 0))


def _certain(logits: Any, unknown: Tensor) -> Any:
    """The same logits, in the same tuples, with certain background where `unknown` (N, H, W)."""
    if isinstance(logits, Tensor):
        size = logits.shape[2:]
        where = unknown[:, None]
        if where.shape[2:] != size:
            where = F.interpolate(where.float(), size=size, mode="nearest") > 0
        if logits.shape[1] == 1:
            return logits.masked_fill(where, -CERTAIN)
        background = torch.zeros_like(logits)
        background[:, 0] = CERTAIN
        return torch.where(where, background, logits)
    parts = [_certain(part, unknown) for part in logits]
    return type(logits)(*parts) if hasattr(logits, "_fields") else type(logits)(parts)
