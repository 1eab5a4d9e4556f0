"""A network in torch as the FP32 reference."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..metrics.agreement import Predictor
from ..models import ModelSpec
from .reference import ReferenceImages, reference_images, torch_predictor

if TYPE_CHECKING:
    from torch import nn


class TorchReference:
    """A network in torch with its weights.

    Args:
        network: In eval mode; its forward gives probabilities.
        spec: Of the network.
    """

    packages = ("torch", "onnx", "onnxscript", "onnxruntime")

    def __init__(self, network: nn.Module, spec: ModelSpec) -> None:
        self.network = network
        self.spec = spec

    def answer(self, pairs: Sequence[Any]) -> ReferenceImages:
        """See `edgeseg.reference.reference.FloatReference`."""
        return reference_images(self.network, self.spec, pairs)

    def predictor(self) -> Predictor:
        """See `edgeseg.reference.reference.torch_predictor`."""
        return torch_predictor(self.network)

    def write_graph(self, path: Path) -> None:
        """Export it.

        Raises:
            ExportError: The network does not export.
        """
        from .onnx_export import onnx_from_torch

        onnx_from_torch(self.network, self.spec.inputs, self.spec.outputs, path)

    def save_weights(self, path: Path) -> None:
        """Write its state as safetensors."""
        from ..models.weights import save_weights

        save_weights(path, self.network)
