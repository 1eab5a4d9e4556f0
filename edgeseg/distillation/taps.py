"""Features of any network, by the names of its modules."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..contract import InputContract
from ..errors import TrainingError, UnknownNameError, UsageError
from ..models import ModelSpec
from ..models.logits import inner_network
from ..models.variants import split_twin_name

# Two layers of the encoder, the deepest, two of the decoder; of equal strides in all networks.
DEFAULT_TAPS: dict[str, tuple[str, ...]] = {
    "egeunet": ("encoder3", "encoder5", "encoder6", "decoder3", "decoder5"),
    "ulite": ("e2", "e4", "b5", "d4", "d2"),
    "efficientunet": (
        "encoder._blocks.2",
        "encoder._blocks.10",
        "encoder._blocks.15",
        "decoder.0",
        "decoder.2",
    ),
    "msnet": ("resnet.layer1", "resnet.layer3", "resnet.layer4", "output3", "output1"),
    "m2snet": ("resnet.layer1", "resnet.layer3", "resnet.layer4", "output3", "output1"),
}


def find_taps(spec: ModelSpec, names: Sequence[str], option: str) -> tuple[str, ...]:
    """Names as given, or those that edgeseg has for a model of its own or its twin.

    Raises:
        UsageError: Neither.
    """
    if names:
        return tuple(names)
    original, _ = split_twin_name(spec.name)
    if not spec.is_own or original not in DEFAULT_TAPS:
        raise UsageError(
            f"No layers are known whose features of {spec.name} to compare. Name two or more of "
            f"its modules, from the input to the output, with {option}."
        )
    return DEFAULT_TAPS[original]


class FeatureTaps:
    """Listens to modules of a network.

    Args:
        network: Any.
        names: Of submodules, as `named_modules` gives them.
        what: The network in error messages.

    Raises:
        UnknownNameError: No such module.
    """

    def __init__(self, network: nn.Module, names: Sequence[str], what: str) -> None:
        inner = inner_network(network)
        modules = dict(inner.named_modules())
        for name in names:
            if not name or name not in modules:
                raise UnknownNameError(f"module of {what}", name, [key for key in modules if key])
        self.modules = {name: modules[name] for name in names}
        self.what = what
        self._found: dict[str, Tensor] = {}

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """While open, forward passes leave their features here; the last one's count."""
        self._found = {}
        handles = [
            module.register_forward_hook(self._listener(name))
            for name, module in self.modules.items()
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def take(self) -> list[Tensor]:
        """What was heard, (N, C, H, W) each in the order of the names; forgotten afterwards.

        Raises:
            TrainingError: A module was not run.
        """
        silent = [name for name in self.modules if name not in self._found]
        if silent:
            raise TrainingError(
                f"The module '{silent[0]}' of {self.what} takes no part in its forward pass. Tap "
                "another."
            )
        found = [self._found[name] for name in self.modules]
        self._found = {}
        return found

    def count_channels(self, network: nn.Module, inputs: InputContract) -> list[int]:
        """Channels of the features, from one pass over a black image."""
        was_training = network.training
        network.eval()
        with self.listening(), torch.no_grad():
            network(torch.zeros(inputs.shape))
        network.train(was_training)
        return [features.shape[1] for features in self.take()]

    def _listener(self, name: str) -> Any:
        def listen(module: nn.Module, arguments: Any, output: Any) -> None:
            features = output
            while isinstance(features, (tuple, list)) and features:
                features = features[0]
            if not isinstance(features, Tensor) or features.ndim != 4:
                shape = tuple(features.shape) if isinstance(features, Tensor) else "no tensor"
                raise TrainingError(
                    f"The module '{name}' of {self.what} gives {shape}, not a feature map "
                    "(N, C, H, W). Tap another."
                )
            self._found[name] = features

        return listen


class Projections(nn.Module):
    """Learned 1x1 convolutions that bring features to `width` channels each.

    Args:
        channels: Of the features of each layer.
    """

    def __init__(self, channels: Sequence[int], width: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv2d(count, width, 1) for count in channels)

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        return [layer(one.float()) for layer, one in zip(self.layers, features, strict=True)]
