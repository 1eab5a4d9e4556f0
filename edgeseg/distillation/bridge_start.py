"""Where the convolutions of an edge twin's bridge start: at the least squares of what it lost."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..models.egeunet.network import resize_bilinear
from ..models.twin import ConvolutionBridge

RIDGE = 1e-2
KERNEL = 3
TAPS = KERNEL * KERNEL


class BridgeFit:
    """Ridge regression of a bridge's output over the pixels that its kernels reach.

    The columns are those of the weights: channel by channel the nine taps of `high`, `low` and the
    mask, then one for the bias. The penalty of a weight is `RIDGE` times the sum of squares of its
    column; the bias has none.
    """

    def __init__(self) -> None:
        self.products: Tensor = torch.zeros(0)  # columns x columns, float64
        self.answers: Tensor = torch.zeros(0)  # columns x output channels

    def add(self, inputs: Sequence[Tensor], y: Tensor) -> None:
        """Take in maps (N, C, H, W): what the bridge takes, and what it is to give."""
        high, low, mask_logit = inputs
        size = low.shape[2], low.shape[3]
        parts = [resize_bilinear(_taps(high), *size), _taps(low), _taps(mask_logit)]
        parts.append(torch.ones_like(mask_logit))
        columns = torch.cat(parts, dim=1).movedim(1, 3).flatten(0, 2).double()
        wanted = y.movedim(1, 3).flatten(0, 2).double()
        products, answers = columns.T @ columns, columns.T @ wanted
        if len(self.products):
            products, answers = self.products + products, self.answers + answers
        self.products, self.answers = products, answers

    def set_weights(self, bridge: nn.Module) -> None:
        """Give a `ConvolutionBridge` the solution."""
        assert isinstance(bridge, ConvolutionBridge)
        penalty = RIDGE * self.products.diagonal().clamp_min(torch.finfo(torch.float64).tiny)
        penalty[-1] = 0
        solved = torch.linalg.solve(self.products + penalty.diag(), self.answers)  # columns x out
        layers = (bridge.high, bridge.low, bridge.mask)
        parts = solved[:-1].split([TAPS * layer.in_channels for layer in layers])
        with torch.no_grad():
            for layer, part in zip(layers, parts, strict=True):
                layer.weight.copy_(part.T.reshape(layer.weight.shape))
            assert bridge.low.bias is not None
            bridge.low.bias.copy_(solved[-1])


def _taps(x: Tensor) -> Tensor:
    """The nine pixels about each, as channels: (N, 9 C, H, W)."""
    unfolded = F.unfold(x, KERNEL, padding=KERNEL // 2)
    return unfolded.view(x.shape[0], -1, *x.shape[2:])
