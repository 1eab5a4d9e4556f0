"""Counting the parameters and the arithmetic of a network."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ..contract import InputContract


def count_parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


class ForwardPass(NamedTuple):
    """Cost and result of one forward pass.

    Attributes:
        macs: Multiply-accumulates of convolutions and matrix products. Normalisation, activations
            and resizing are not counted, as in the papers' figures.
        result: What `forward` returned.
    """

    macs: int
    result: Any


def try_forward(network: nn.Module, inputs: InputContract) -> ForwardPass:
    """One forward pass of an empty image, in eval mode."""
    # In inference mode the counter fails at parametrisations, whose input is a parameter.
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        result = network.eval()(torch.zeros(inputs.shape))
    return ForwardPass(int(counter.get_total_flops()) // 2, result)


def count_macs(network: nn.Module, inputs: InputContract) -> int:
    """Multiply-accumulates of one forward pass, see `ForwardPass`."""
    return try_forward(network, inputs).macs
