"""One forward pass of a user's network, which tells what its spec leaves open."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import torch
from torch import nn

from ..contract import InputContract, OutputContract
from ..errors import UsageError
from .complexity import count_parameters, try_forward
from .foreign_code import foreign_code
from .outputs import (
    choose_output,
    contract_of_maps,
    count_sources,
    ends_in_probabilities,
    pick_output,
)


class Probe(NamedTuple):
    """What a forward pass told; the fields are those of `edgeseg.models.ModelSpec`."""

    parameters: int
    macs: int
    outputs: OutputContract
    output: str | int | None


def probe_network(
    network: nn.Module,
    name: str,
    inputs: InputContract,
    outputs: OutputContract,
    output: str | int | None,
    returns: str,
) -> Probe:
    """Count a network, and find the mask in what its forward returns.

    Args:
        network: Without what edgeseg wraps around it.
        name: Of the network, for messages.
        output, returns: As the spec says them.

    Raises:
        UsageError: The network does not take the image, does not return the mask that the contracts
            describe, or returns probabilities where the spec says logits.
    """
    with foreign_code(
        f"{name} does not take an image of {inputs.height}x{inputs.width}, or gives no tensor",
        "Correct height, width and stride in the spec; its forward returns a tensor, or a "
        "sequence, dict or object with one.",
    ):
        macs, result = try_forward(network, inputs)
        image = torch.rand(inputs.shape, generator=torch.Generator().manual_seed(0))
        sources = cache(lambda: count_sources(network, image))
        chosen = choose_output(result, output, outputs.channels, name, lambda key: sources()[key])
        shape = tuple(pick_output(result, chosen).shape)
        outputs = contract_of_maps(shape, inputs, outputs, name)
        if returns == "logits" and ends_in_probabilities(network, chosen, image):
            raise UsageError(
                f"{name} returns probabilities: a sigmoid or softmax is its last operation, and "
                'returns = "logits" in the spec would add it a second time. Write '
                'returns = "probabilities".'
            )
    if chosen == "0" and returns == "logits":
        chosen = output  # the first one is taken anyway
    return Probe(count_parameters(network), macs, outputs, chosen)
