"""The FP32 reference of a model, in torch or in an ONNX file."""

from __future__ import annotations

from collections.abc import Callable

from ..models import ModelSpec, TrainedModel
from .onnx_reference import OnnxReference
from .reference import FloatReference
from .torch_reference import TorchReference


def reference_packages(spec: ModelSpec) -> tuple[str, ...]:
    """Import names that the reference of a model needs."""
    return (TorchReference if spec.graph is None else OnnxReference).packages


def open_reference(model: TrainedModel, note: Callable[[str], object] = len) -> FloatReference:
    """The reference of a model; for `note` see `ModelSpec.load_network`.

    Raises:
        WeightsError: The checkpoint does not fit.
    """
    if model.spec.graph is not None:
        return OnnxReference(model.spec)
    return TorchReference(model.load_network(note), model.spec)
