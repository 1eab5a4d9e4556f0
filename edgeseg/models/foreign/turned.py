"""Networks that were trained on turned pictures, behind upright ones.

MONAI's readers give a picture's columns first, (C, W, H), so that its axes are those of a volume. A
network that was trained so takes upright pictures (C, H, W) for pictures turned about a diagonal.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ..construction import make_module
from ..logits import WrappedNetwork


class Turned(WrappedNetwork):
    """Turns the image, runs the network, and turns its maps back.

    Args:
        place: "module:class" of the network. Manifests hold the name `place`.
        arguments: Keyword arguments of its class, as specs write them.
    """

    def __init__(self, place: str, arguments: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self.network = make_module(place, arguments or {})

    def forward(self, image: Tensor) -> Any:
        """What the network gives for an image (N, C, H, W), each map upright again."""
        return _turned(self.network(image.transpose(-1, -2)))


def _turned(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.transpose(-1, -2)
    if isinstance(value, Mapping):
        return {name: _turned(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_turned(one) for one in value]
    return value
