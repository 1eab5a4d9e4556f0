"""What networks return: logits alone, or main logits with side outputs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import UsageError


def main_logits(outputs: Any) -> Tensor:
    """The logits that become the mask, (N, C, H, W), of what `forward_logits` returned."""
    if isinstance(outputs, Tensor):
        return outputs
    first: Tensor = outputs[0]
    return first


def some_images(outputs: Any, part: slice) -> Any:
    """The same outputs for some images of the batch only."""
    if isinstance(outputs, Tensor):
        return outputs[part]
    parts = [some_images(one, part) for one in outputs]
    is_named = hasattr(outputs, "_fields")
    return type(outputs)(*parts) if is_named else type(outputs)(parts)


def match_channels(logits: Tensor, channels: int) -> Tensor:
    """Say the same with another number of channels.

    A sigmoid of z is a softmax of (0, z), and a softmax of (a, b) a sigmoid of b - a.

    Raises:
        UsageError: The numbers of classes differ.
    """
    given = logits.shape[1]
    if given == channels:
        return logits
    if (given, channels) == (2, 1):
        return logits[:, 1:] - logits[:, :1]
    if (given, channels) == (1, 2):
        return torch.cat((torch.zeros_like(logits), logits), dim=1)
    raise UsageError(
        f"The teacher gives {given} channels, the student {channels}: they know different classes. "
        "Train a teacher for the student's classes."
    )


def match_size(logits: Tensor, like: Tensor) -> Tensor:
    """Bring (N, C, H, W) bilinearly to the height and width of another."""
    if logits.shape[2:] == like.shape[2:]:
        return logits
    return F.interpolate(logits, size=like.shape[2:], mode="bilinear", align_corners=False)
