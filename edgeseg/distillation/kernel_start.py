"""Where an edge twin's 3x3 convolutions start: at the least squares of what it lost."""

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


class KernelFit:
    """Ridge regression of what a part gives over the pixels that its 3x3 kernels reach.

    The columns are those of the weights: channel by channel the nine taps of each input (of a
    bridge `high`, `low` and the mask), then one for the bias. The penalty of a weight is `RIDGE`
    times the sum of squares of its column; the bias has none.
    """

    def __init__(self) -> None:
        self.products: Tensor = torch.zeros(0)  # columns x columns, float64
        self.answers: Tensor = torch.zeros(0)  # columns x output channels

    def add(self, inputs: Sequence[Tensor], y: Tensor) -> None:
        """Take in maps (N, C, H, W): what the part takes, and what it is to give."""
        height, width = y.shape[2:]
        parts = [resize_bilinear(_taps(x), height, width) for x in inputs]
        parts.append(torch.ones_like(y[:, :1]))
        columns = torch.cat(parts, dim=1).movedim(1, 3).flatten(0, 2).double()
        wanted = y.movedim(1, 3).flatten(0, 2).double()
        products, answers = columns.T @ columns, columns.T @ wanted
        if len(self.products):
            products, answers = self.products + products, self.answers + answers
        self.products, self.answers = products, answers

    def set_weights(self, module: nn.Module) -> None:
        """Give a `ConvolutionBridge` or a 3x3 convolution the solution."""
        penalty = RIDGE * self.products.diagonal().clamp_min(torch.finfo(torch.float64).tiny)
        penalty[-1] = 0
        solved = torch.linalg.solve(self.products + penalty.diag(), self.answers)  # columns x out
        layers = _layers_of(module)
        parts = solved[:-1].split([TAPS * layer.in_channels for layer in layers])
        with torch.no_grad():
            for layer, part in zip(layers, parts, strict=True):
                layer.weight.copy_(part.T.reshape(layer.weight.shape))
                if layer.bias is not None:
                    layer.bias.copy_(solved[-1])


def _layers_of(module: nn.Module) -> tuple[nn.Conv2d, ...]:
    """The convolutions whose sum a part gives, in the order of its inputs."""
    if isinstance(module, ConvolutionBridge):
        return module.high, module.low, module.mask
    assert isinstance(module, nn.Conv2d)
    return (module,)


def _taps(x: Tensor) -> Tensor:
    """The nine pixels about each, as channels: (N, 9 C, H, W)."""
    unfolded = F.unfold(x, KERNEL, padding=KERNEL // 2)
    return unfolded.view(x.shape[0], -1, *x.shape[2:])
