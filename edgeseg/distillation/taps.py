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


def find_taps(spec: ModelSpec, names: Sequence[str], option: str) -> tuple[str, ...]:
    """Names of the modules to compare: as given, else those that the model states.

    Args:
        names: Given by the user; may be empty.
        option: Option of the command line that `names` come from.

    Raises:
        UsageError: Neither the user nor the model names any.
    """
    taps = tuple(names) or spec.taps
    if not taps:
        raise UsageError(
            f"No layers are known whose features of {spec.name} to compare. Name two or more of "
            f"its modules, from the input to the output, with {option}."
        )
    return taps


class FeatureTaps:
    """Records the outputs of some modules of a network during its forward pass.

    Args:
        network: The network to listen to.
        names: Names of its submodules, as `named_modules` gives them.
        what: How error messages call the network.

    Raises:
        UnknownNameError: No such module.
    """

    def __init__(self, network: nn.Module, names: Sequence[str], what: str) -> None:
        inner = inner_network(network)
        modules = dict(inner.named_modules())
        for name in names:
            if not name or name not in modules:
                raise UnknownNameError("module", name, filter(None, modules), what)
        self.modules = {name: modules[name] for name in names}
        self.what = what
        self._heard: dict[str, Tensor] = {}

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """While this context is open, each forward pass replaces the recorded features."""
        self._heard = {}
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
        """The recorded features, each (N, C, H, W), in the order of the names; they are forgotten.

        Raises:
            TrainingError: A module was not run.
        """
        silent = [name for name in self.modules if name not in self._heard]
        if silent:
            raise TrainingError(
                f"The module '{silent[0]}' of {self.what} takes no part in its forward pass. Tap "
                "another."
            )
        features = [self._heard[name] for name in self.modules]
        self._heard = {}
        return features

    def count_channels(self, network: nn.Module, inputs: InputContract) -> list[int]:
        """Number of channels of each module's features, from one pass over a black image."""
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
            self._heard[name] = features

        return listen


class Projections(nn.Module):
    """Learned 1x1 convolutions that bring features to `width` channels each.

    Args:
        channels: Number of channels of each layer's features.
        width: Number of channels that every projection returns.
    """

    def __init__(self, channels: Sequence[int], width: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv2d(count, width, 1) for count in channels)

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        pairs = zip(self.layers, features, strict=True)
        return [layer(feature.float()) for layer, feature in pairs]
