"""Edge twins: a network with cheap forms in place of what edge runtimes are slow at.

A twin is another network than its original and has its own weights; `edgeseg adapt` makes them
from the original's. What is replaced:

    group aggregation bridge    the sum of three 3x3 convolutions
    GroupNorm of large maps     BatchNorm, which folds into the convolution before it
    LayerNorm of large maps     a factor and a summand for each channel
    GELU                        hard-swish or ReLU
    PReLU                       ReLU, which runtimes fuse with the convolution before it
    first convolution, 7x7      3x3: it runs on every pixel of the image

Statistics of each pixel or group, which a LayerNorm or GroupNorm computes anew for every image,
are thus constants. A bridge of EGE-UNet splits two maps, brings the parts together in groups of an
odd number of channels, and filters each with another dilation: little arithmetic, but a third of
the network's time. Without its norms it is linear. See `parts_that_stay` for what is kept.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from .egeunet.network import ChannelLayerNorm, Gab, resize_bilinear
from .logits import WrappedNetwork

KEPT_STRIDE = 8
STEM_KERNEL, WIDE_KERNEL = 3, 7
IMAGE_CHANNELS = 4  # at most
PROBE_SIDE = 128  # a multiple of every network's stride
NORMS_AND_BRIDGES = (nn.GroupNorm, ChannelLayerNorm, Gab)
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {"hard_swish": nn.Hardswish, "relu": nn.ReLU}


class ChannelAffine(nn.Module):
    """x * weight + bias for each channel of (N, C, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight[:, None, None] + self.bias[:, None, None]


class ConvolutionBridge(nn.Module):
    """resize(H * high) + L * low + M * mask_logit, with 3x3 kernels H, L and M; L has a bias.

    Its inputs are those of `edgeseg.models.egeunet.network.Gab`. H runs at the size of `high`,
    where it reaches twice as far.
    """

    def __init__(self, high_channels: int, low_channels: int) -> None:
        super().__init__()
        self.high = nn.Conv2d(high_channels, low_channels, 3, padding=1, bias=False)
        self.low = nn.Conv2d(low_channels, low_channels, 3, padding=1)
        self.mask = nn.Conv2d(1, low_channels, 3, padding=1, bias=False)

    def forward(self, high: Tensor, low: Tensor, mask_logit: Tensor) -> Tensor:
        high = resize_bilinear(self.high(high), low.shape[2], low.shape[3])
        result: Tensor = high + self.low(low) + self.mask(mask_logit)
        return result


class Twin(WrappedNetwork):
    """The twin of a network.

    Args:
        place: Import path "module:class" of the original. Manifests hold the name `place`.
        arguments: Keyword arguments of the original's class.
        activation: Key of `ACTIVATIONS`.
    """

    def __init__(
        self,
        place: str,
        arguments: Mapping[str, Any] | None = None,
        activation: str = "hard_swish",
    ) -> None:
        super().__init__()
        module, _, attribute = place.partition(":")
        self.network = getattr(importlib.import_module(module), attribute)(**(arguments or {}))
        self.replaced = replace_slow_parts(
            self.network, ACTIVATIONS[activation], parts_that_stay(self.network)
        )

    def forward_logits(self, image: Tensor) -> Any:
        """The result of the original's method, with the parts replaced."""
        network: Any = self.network
        return network.forward_logits(image)

    def forward(self, image: Tensor) -> Any:
        """The result of the original's method, with the parts replaced."""
        return self.network(image)


def replace_slow_parts(
    network: nn.Module, activation: Callable[[], nn.Module], kept: Collection[str] = ()
) -> dict[str, str]:
    """Replace modules in place, but for those of the names in `kept`.

    Returns:
        Names of the replaced modules, and what each has become.
    """
    replaced: dict[str, str] = {}

    def visit(parent: nn.Module, prefix: str) -> None:
        for child_name, child in list(parent.named_children()):
            name = prefix + child_name
            if name in kept:
                continue
            new = _cheap_form(child, activation)
            if new is None:
                visit(child, f"{name}.")
            else:
                setattr(parent, child_name, new)
                replaced[name] = type(new).__name__

    visit(network, "")
    return replaced


def parts_that_stay(network: nn.Module) -> set[str]:
    """Names of modules that cost little as they are.

    These are norms and bridges of maps with at most 1 / `KEPT_STRIDE` of the rows of the image, and
    activations that do not depend on the image, which are constants of the deployed graph.
    """
    channels = next(
        (layer.in_channels for layer in network.modules() if isinstance(layer, nn.Conv2d)), 3
    )
    probes = torch.rand(2, 1, channels, PROBE_SIDE, PROBE_SIDE, generator=torch.Generator())
    outputs: dict[str, list[Tensor]] = {}

    def listener(name: str) -> Callable[..., None]:
        return lambda module, inputs, output: outputs.setdefault(name, []).append(output)

    modules = {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, (nn.GELU, *NORMS_AND_BRIDGES))
    }
    handles = [part.register_forward_hook(listener(name)) for name, part in modules.items()]
    was_training = network.training
    network.eval()
    with torch.no_grad():
        for probe in probes:
            network(probe)
    network.train(was_training)
    for handle in handles:
        handle.remove()
    stays = set()
    for name, seen in outputs.items():
        if isinstance(modules[name], NORMS_AND_BRIDGES):
            if all(output.shape[2] * KEPT_STRIDE <= PROBE_SIDE for output in seen):
                stays.add(name)
        else:
            half = len(seen) // 2
            pairs = zip(seen[:half], seen[half:], strict=True)
            if all(torch.equal(first, second) for first, second in pairs):
                stays.add(name)
    return stays


def _cheap_form(module: nn.Module, activation: Callable[[], nn.Module]) -> nn.Module | None:
    if isinstance(module, nn.GroupNorm):
        return nn.BatchNorm2d(module.num_channels)
    if isinstance(module, ChannelLayerNorm):
        return ChannelAffine(len(module.weight))
    if isinstance(module, nn.GELU):
        return activation()
    if isinstance(module, nn.PReLU):
        return nn.ReLU()
    if isinstance(module, nn.Conv2d) and _is_wide_stem(module):
        return nn.Conv2d(module.in_channels, module.out_channels, STEM_KERNEL, padding=1)
    if isinstance(module, Gab):
        return ConvolutionBridge(module.pre_project.in_channels, module.pre_project.out_channels)
    return None


def _is_wide_stem(layer: nn.Conv2d) -> bool:
    """Whether a convolution takes each pixel of an image and many about it."""
    same_size = layer.stride == (1, 1) and layer.padding == tuple(k // 2 for k in layer.kernel_size)
    plain = same_size and layer.groups == 1 and layer.dilation == (1, 1)
    return plain and layer.in_channels <= IMAGE_CHANNELS and min(layer.kernel_size) >= WIDE_KERNEL
