"""Networks whose `forward` gives logits, as most do, behind the interface that edgeseg uses."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class WrappedNetwork(nn.Module):
    """A network around another network; parameters are saved under the names of the inner one."""

    network: nn.Module


class LogitsNetwork(WrappedNetwork):
    """Adds the sigmoid or softmax to a network that returns logits.

    Args:
        network: Its `forward(image)` gives logits (N, channels, H, W), or a sequence whose first
            entry is that.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward_logits(self, image: Tensor) -> Tensor:
        logits: Any = self.network(image)
        first: Tensor = logits[0] if isinstance(logits, (tuple, list)) else logits
        return first

    def forward(self, image: Tensor) -> Tensor:
        """Probabilities (N, channels, H, W), in 0..1."""
        logits = self.forward_logits(image)
        return torch.sigmoid(logits) if logits.shape[1] == 1 else torch.softmax(logits, dim=1)


def inner_network(network: nn.Module) -> nn.Module:
    """The network inside all wrappers, to which weights belong."""
    while isinstance(network, WrappedNetwork):
        network = network.network
    return network
