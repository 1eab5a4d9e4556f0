"""Where an edge twin starts: the straight lines nearest to what it has lost."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..models.logits import inner_network
from ..models.twin import ChannelAffine, absorbing_convolutions

SMALLEST_VARIANCE = 1e-12


@dataclass
class Line:
    """Least squares of a norm's output y over its input x, channel by channel: y = a x + d.

    Attributes:
        sums: Over images and pixels of 1, x, x^2, y, xy, each (C,); float64.
    """

    sums: list[Tensor]

    @classmethod
    def empty(cls) -> Line:
        return cls([])

    def add(self, x: Tensor, y: Tensor) -> None:
        """Take in maps (N, C, H, W)."""
        x, y = x.double(), y.double()
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


def start_twin(
    twin: nn.Module, original: nn.Module, replaced: Iterable[str], images: Sequence[Tensor]
) -> None:
    """Give a twin the original's weights, and for each replaced norm the line nearest to it.

    The norms are taken in the order in which they run, and each line leads from what arrives in
    the twin to what the original gives, so that it makes up for the approximations before it.

    A BatchNorm becomes that line with the statistics that it saw, a `ChannelAffine` its slope and
    offset. Where a convolution follows that takes the norm's place, the slope goes into its
    weights and the offset into its bias, which is exact but for the padded border.

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
    absorbers = absorbing_convolutions(theirs)
    for name in _order_of_norms(theirs, replaced, images[0]):
        line = Line.empty()
        for image in images:
            arriving, _ = _pass_of(ours, name, image)
            _, wanted = _pass_of(theirs, name, image)
            line.add(arriving, wanted)
        module = ours.get_submodule(name)
        with torch.no_grad():
            if isinstance(module, nn.BatchNorm2d):
                _set_batch_norm(module, line)
            elif isinstance(module, ChannelAffine):
                module.weight.copy_(line.slope)
                module.bias.copy_(line.offset)
            else:
                _absorb(ours.get_submodule(absorbers[name]), line)


def _order_of_norms(network: nn.Module, names: Iterable[str], image: Tensor) -> list[str]:
    """Those of the modules that have parameters, as norms do and activations do not."""
    order: list[str] = []

    def listener(name: str) -> Callable[..., None]:
        return lambda module, inputs, output: order.append(name)

    norms = [name for name in names if list(network.get_submodule(name).parameters())]
    handles = [network.get_submodule(name).register_forward_hook(listener(name)) for name in norms]
    with torch.no_grad():
        network(image)
    for handle in handles:
        handle.remove()
    return order


class _ReachedError(Exception):
    """Ends a forward pass where enough was seen."""


def _pass_of(network: nn.Module, name: str, image: Tensor) -> tuple[Tensor, Tensor]:
    """Input and output of a module in the forward pass of an image."""
    seen: list[Tensor] = []

    def listen(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        seen.extend((inputs[0], output))
        raise _ReachedError

    handle = network.get_submodule(name).register_forward_hook(listen)
    try:
        with torch.no_grad(), contextlib.suppress(_ReachedError):
            network(image)
    finally:
        handle.remove()
    return seen[0], seen[1]


def _set_batch_norm(module: nn.BatchNorm2d, line: Line) -> None:
    assert module.running_mean is not None
    assert module.running_var is not None
    module.running_mean.copy_(line.mean)
    module.running_var.copy_(line.variance)
    module.weight.copy_(line.slope * torch.sqrt(line.variance + module.eps))
    module.bias.copy_(line.offset + line.slope * line.mean)


def _absorb(layer: nn.Module, line: Line) -> None:
    assert isinstance(layer, nn.Conv2d)
    assert layer.bias is not None
    taken = layer.weight.shape[1]  # channels that one output channel reads
    group = torch.arange(layer.out_channels) // (layer.out_channels // layer.groups)
    read = group[:, None] * taken + torch.arange(taken)  # (out, taken)
    offsets = line.offset[read] * layer.weight.double().sum((2, 3))
    layer.bias.add_(offsets.sum(1))
    layer.weight.mul_(line.slope[read][:, :, None, None])
