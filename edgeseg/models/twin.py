"""Edge twins: a network with cheap forms in place of what edge runtimes are slow at.

A twin is another network than its original and has its own weights; `edgeseg adapt` makes them
from the original's. What is replaced:

    GroupNorm                           BatchNorm, which folds into the convolution before it
    LayerNorm over channels before a    nothing: the convolution learns the scale
    convolution of the same Sequential
    any other LayerNorm over channels   a learned factor and summand for each channel
    GELU                                hard-swish or ReLU

Statistics of each pixel or group, which a LayerNorm or GroupNorm computes anew for every image,
are thus constants.
"""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from .egeunet import ChannelLayerNorm
from .logits import WrappedNetwork

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {"hard_swish": nn.Hardswish, "relu": nn.ReLU}


class ChannelAffine(nn.Module):
    """x * weight + bias for each channel of (N, C, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight[:, None, None] + self.bias[:, None, None]


class Twin(WrappedNetwork):
    """The twin of a network.

    Args:
        place: "module:class" of the original.
        arguments: Of the original.
        activation: Key of `ACTIVATIONS`.
    """

    def __init__(
        self, place: str, arguments: Mapping[str, Any] | None = None, activation: str = "hard_swish"
    ) -> None:
        super().__init__()
        module, _, attribute = place.partition(":")
        self.network = getattr(importlib.import_module(module), attribute)(**(arguments or {}))
        self.replaced = replace_slow_parts(self.network, ACTIVATIONS[activation])

    def forward_logits(self, image: Tensor) -> Any:
        """What the original returns."""
        network: Any = self.network
        return network.forward_logits(image)

    def forward(self, image: Tensor) -> Any:
        """What the original returns."""
        return self.network(image)


def replace_slow_parts(network: nn.Module, activation: Callable[[], nn.Module]) -> dict[str, str]:
    """Replace modules in place.

    Returns:
        Names of the replaced modules, and what each has become.
    """
    absorbed = set(absorbing_convolutions(network))
    replaced: dict[str, str] = {}
    for parent_name, parent in list(network.named_modules()):
        for child_name, child in list(parent.named_children()):
            name = f"{parent_name}.{child_name}" if parent_name else child_name
            new: nn.Module | None = None
            if isinstance(child, nn.GroupNorm):
                new = nn.BatchNorm2d(child.num_channels)
            elif isinstance(child, ChannelLayerNorm):
                channels = len(child.weight)
                new = nn.Identity() if name in absorbed else ChannelAffine(channels)
            elif isinstance(child, nn.GELU):
                new = activation()
            if new is not None:
                setattr(parent, child_name, new)
                replaced[name] = type(new).__name__
    return replaced


def absorbing_convolutions(network: nn.Module) -> dict[str, str]:
    """Names of the LayerNorms that are followed by a convolution, with the name of that."""
    found = {}
    for name, module in network.named_modules():
        if not isinstance(module, nn.Sequential):
            continue
        for (first, norm), (second, layer) in itertools.pairwise(module.named_children()):
            if isinstance(norm, ChannelLayerNorm) and isinstance(layer, nn.Conv2d):
                found[f"{name}.{first}"] = f"{name}.{second}"
    return found
