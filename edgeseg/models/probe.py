"""One forward pass of a user's network, which tells what its spec leaves open."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

from ..contract import InputContract, OutputContract
from ..errors import UsageError
from ..formats.map_sizes import contract_of_maps
from .complexity import count_parameters, try_forward
from .foreign_code import foreign_code
from .logits import failing_network
from .outputs import (
    choose_output,
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
        mask = pick_output(result, chosen)
        if not mask.is_floating_point():
            raise UsageError(
                f"{name} returns {mask.dtype}: classes that are decided already. Let its forward "
                "return the logits before argmax or the threshold; the masks are made from these."
            )
        shape = tuple(mask.shape)
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


class _Trace(TorchDispatchMode):
    """Hashes each operator of a forward pass with its settings, and the constants that it takes.

    Args:
        known: Tensors whose values do not count: what a checkpoint holds, and the image.
    """

    def __init__(self, known: Mapping[str, Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.digest = hashlib.sha256()
        self._known = WeakIdKeyDictionary(dict.fromkeys(known.values()))

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        self.digest.update(f"{func}\n".encode())
        for leaf in tree_leaves((args, kwargs or {})):
            self.digest.update(self._describe(leaf) + b"\n")
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._known[leaf] = None
        return result

    def _describe(self, leaf: Any) -> bytes:
        if not isinstance(leaf, Tensor):
            return repr(leaf).encode(errors="replace")
        text = f"{tuple(leaf.shape)} {leaf.dtype}".encode()
        if leaf in self._known or leaf.layout != torch.strided or leaf.is_quantized:
            return text
        return (
            text + leaf.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        )


def trace_digest(network: nn.Module, inputs: InputContract) -> str:
    """Hash of what a network computes for an image: operators, their settings, and constants.

    A network may read numbers from a file, from the environment or from another module while it is
    made. What comes of them shows here. Parameters and buffers that a checkpoint holds do not
    count.

    Raises:
        UsageError: Its forward fails.
    """
    image = torch.rand(inputs.shape, generator=torch.Generator().manual_seed(0))
    trace = _Trace({**network.state_dict(keep_vars=True), "the image": image})
    with failing_network(network), torch.no_grad(), trace:
        network.eval()(image)
    return trace.digest.hexdigest()
