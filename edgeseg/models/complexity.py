"""Counting what a network costs."""

from __future__ import annotations

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ..contract import InputContract


def count_parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def count_macs(network: nn.Module, inputs: InputContract) -> int:
    """Multiply-accumulates of convolutions and matrix products of one forward pass, batch 1.

    Normalisation, activations and resizing are not counted, as in the papers' figures.
    """
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        network.eval()(torch.zeros(inputs.shape))
    return int(counter.get_total_flops()) // 2
