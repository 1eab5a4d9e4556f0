"""Where an edge twin starts: the linear forms nearest to what it has lost."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ..models.logits import inner_network
from ..models.twin import ChannelAffine, ConvolutionBridge
from .kernel_start import KernelFit

SMALLEST_VARIANCE = 1e-12


@dataclass
class Line:
    """Least squares of a norm's output y over its input x, channel by channel: y = a x + d.

    Attributes:
        sums: Over images and pixels of 1, x, x^2, y, xy, each (C,); float64.
    """

    sums: list[Tensor] = field(default_factory=list)

    def add(self, inputs: Sequence[Tensor], y: Tensor) -> None:
        """Take in maps (N, C, H, W): the one that the norm takes, and what it is to give."""
        x, y = inputs[0].double(), y.double()
        parts = (torch.ones_like(x), x, x * x, y, x * y)
        sums = [part.sum((0, 2, 3)) for part in parts]
        if self.sums:
            sums = [old + new for old, new in zip(self.sums, sums, strict=True)]
        self.sums = sums

    @property
    def mean(self) -> Tensor:
        """Of x, (C,)."""
        return self.sums[1] / self.sums[0]

    @property
    def variance(self) -> Tensor:
        """Of x, (C,), not below 1e-12, which stands for none."""
        return (self.sums[2] / self.sums[0] - self.mean**2).clamp_min(SMALLEST_VARIANCE)

    @property
    def slope(self) -> Tensor:
        """a, (C,); 1 where x never changed.

        Any line through that one point is as near. A slope of 0 would kill the channel: it gives
        weights of zero, which learn nothing and which no scale of INT8 fits.
        """
        count, x, _, y, both = self.sums
        slope = (both / count - x * y / count**2) / self.variance
        return torch.where(self.variance > SMALLEST_VARIANCE, slope, torch.ones_like(slope))

    @property
    def offset(self) -> Tensor:
        """d, (C,)."""
        return self.sums[3] / self.sums[0] - self.slope * self.mean

    def set_weights(self, module: nn.Module) -> None:
        """Give a `BatchNorm2d` or a `ChannelAffine` this line."""
        with torch.no_grad():
            if isinstance(module, nn.BatchNorm2d):
                assert module.running_mean is not None
                assert module.running_var is not None
                module.running_mean.copy_(self.mean)
                module.running_var.copy_(self.variance)
                module.weight.copy_(self.slope * torch.sqrt(self.variance + module.eps))
                module.bias.copy_(self.offset + self.slope * self.mean)
            else:
                assert isinstance(module, ChannelAffine)
                module.weight.copy_(self.slope)
                module.bias.copy_(self.offset)


def start_twin(
    twin: nn.Module, original: nn.Module, replaced: Iterable[str], images: Sequence[Tensor]
) -> None:
    """Give a twin the original's weights, and each replaced part the linear form nearest to it.

    The parts are taken in the order in which they run, and each form leads from what arrives in the
    twin to what the original gives, so that it makes up for the approximations before it.

    A BatchNorm becomes a line for each channel with the statistics that it saw, a `ChannelAffine`
    its slope and offset, a `ConvolutionBridge` or a stem the least squares of its kernels.

    Args:
        replaced: Names of the modules that differ, see `edgeseg.models.twin.Twin.replaced`.
        images: Prepared images (N, 3, H, W) on which both are watched.
    """
    ours, theirs = inner_network(twin).eval(), inner_network(original).eval()
    state = ours.state_dict()
    known = {
        name: value
        for name, value in theirs.state_dict().items()
        if name in state and state[name].shape == value.shape
    }
    ours.load_state_dict({**state, **known})
    for name in _order_of_parts(ours, replaced, images[0]):
        module = ours.get_submodule(name)
        has_kernels = isinstance(module, (ConvolutionBridge, nn.Conv2d))
        fit: KernelFit | Line = KernelFit() if has_kernels else Line()
        for image in images:
            arriving, _ = _pass_of(ours, name, image)
            _, wanted = _pass_of(theirs, name, image)
            fit.add(arriving, wanted)
        fit.set_weights(module)


def _order_of_parts(network: nn.Module, names: Iterable[str], image: Tensor) -> list[str]:
    """Those of the modules that have parameters, as norms do and activations do not."""
    order: list[str] = []

    def listener(name: str) -> Callable[..., None]:
        return lambda module, inputs, output: order.append(name)

    parts = [name for name in names if list(network.get_submodule(name).parameters())]
    handles = [network.get_submodule(name).register_forward_hook(listener(name)) for name in parts]
    with torch.no_grad():
        network(image)
    for handle in handles:
        handle.remove()
    return order


class _ReachedError(Exception):
    """Ends a forward pass where enough was seen."""


def _pass_of(network: nn.Module, name: str, image: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
    """Inputs and output of a module in the forward pass of an image."""
    inputs: tuple[Tensor, ...] = ()
    result = image

    def listen(module: nn.Module, arriving: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal inputs, result
        inputs, result = arriving, output
        raise _ReachedError

    handle = network.get_submodule(name).register_forward_hook(listen)
    try:
        with torch.no_grad(), contextlib.suppress(_ReachedError):
            network(image)
    finally:
        handle.remove()
    return inputs, result
