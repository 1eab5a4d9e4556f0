"""Networks of users, which return logits or several maps, behind the interface of edgeseg's."""

from __future__ import annotations

import contextlib

import torch
from torch import Tensor, nn

from .foreign_code import foreign_code
from .outputs import pick_output, resize_to_image


class WrappedNetwork(nn.Module):
    """A network around another network; parameters are saved under the names of the inner one."""

    network: nn.Module


class LogitsNetwork(WrappedNetwork):
    """Adds the sigmoid or softmax to a network that returns logits.

    Args:
        network: Its `forward(image)` gives logits (N, channels, H, W), or a sequence, mapping or
            object that holds them. Logits of a smaller size are resized.
        output: Which entry they are, see `edgeseg.models.outputs`; None takes the first.
    """

    def __init__(self, network: nn.Module, output: str | int | None = None) -> None:
        super().__init__()
        self.network = network
        self.output = output

    def forward_logits(self, image: Tensor) -> Tensor:
        logits = pick_output(self.network(image), self.output)
        if self.training and logits.ndim == 5:
            logits = logits[:, 0]  # deep supervision that stacks heads, the finest first
        return resize_to_image(logits, image)

    def forward(self, image: Tensor) -> Tensor:
        """Probabilities (N, channels, H, W), in 0..1."""
        logits = self.forward_logits(image)
        return torch.sigmoid(logits) if logits.shape[1] == 1 else torch.softmax(logits, dim=1)


class ProbabilityNetwork(WrappedNetwork):
    """Takes the map out of what a network returns that computes probabilities itself.

    Args:
        network, output: As those of `LogitsNetwork`, of probabilities.
    """

    def __init__(self, network: nn.Module, output: str | int | None = None) -> None:
        super().__init__()
        self.network = network
        self.output = output

    def forward(self, image: Tensor) -> Tensor:
        """Probabilities (N, channels, H, W)."""
        return resize_to_image(pick_output(self.network(image), self.output), image)


def inner_network(network: nn.Module) -> nn.Module:
    """The network inside all wrappers, to which weights belong."""
    while isinstance(network, WrappedNetwork):
        network = network.network
    return network


def failing_network(network: nn.Module) -> contextlib.AbstractContextManager[None]:
    """Run a network's forward; what it raises becomes a message that names it.

    Raises:
        UsageError: The network's code raised an exception.
    """
    name = type(inner_network(network)).__name__
    return foreign_code(f"The forward of {name} fails on an image", "Correct its code.")
