"""The float form of a model that every target starts from, and the FP32 reference behind it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..contract import InputContract, OutputContract
from ..errors import ParityError
from ..lazy import require
from ..metrics.agreement import CALIBRATE, Agreement, Predictor, compare_predictions, require_parity
from ..models import ModelSpec
from ..progress import SILENT, Progress
from ..storage.cache import get_or_make

if TYPE_CHECKING:
    from torch import nn

ONNX_TOLERANCE = 1e-4  # of a probability, between torch and ONNX Runtime on one machine
FLOAT_ADVICE = (
    "Take out of the network what depends on chance or on the values of the image: a graph holds "
    "one way through the network."
)
ONNX_NAME = "model.onnx"


class FloatReference(Protocol):
    """The FP32 reference: whatever computes the network as its author meant it."""

    @property
    def packages(self) -> tuple[str, ...]:
        """Import names that it needs to answer and to be exported."""

    def answer(self, pairs: Sequence[Any]) -> ReferenceImages:
        """Its probabilities for some pairs of a data set.

        Raises:
            UsageError: It fails, or what it gives are no probabilities.
        """

    def predictor(self) -> Predictor:
        """What computes it: prepared image (1, C, H, W) to probabilities (1, C, H, W)."""

    def write_graph(self, path: Path) -> None:
        """Write it as an ONNX file of the contracts' form.

        Raises:
            EdgesegError: It cannot be brought to that form.
        """

    def save_weights(self, path: Path) -> None:
        """Write its weights as safetensors."""


@dataclass(frozen=True)
class ExportedGraph:
    """The ONNX file of a network, and how it agrees with its reference on the images at hand."""

    path: Path
    agreement: Agreement


@dataclass(frozen=True)
class ReferenceImages:
    """Real images with the FP32 reference's answer.

    Attributes:
        names: Of the images.
        inputs: Prepared, (1, 3, H, W) each.
        masks: Its probabilities, (1, C, H, W) each.
    """

    names: tuple[str, ...]
    inputs: tuple[NDArray[np.float32], ...]
    masks: tuple[NDArray[np.float32], ...]

    def compare(
        self, candidate: Predictor, outputs: OutputContract, what: str, advice: str = CALIBRATE
    ) -> Agreement:
        """See `edgeseg.metrics.agreement.compare_predictions`."""
        return compare_predictions(
            self.masks, candidate, self.inputs, self.names, outputs, what, advice
        )


def torch_predictor(network: nn.Module) -> Predictor:
    """Run a torch network on prepared numpy images, on one thread.

    Threads of one small network wait for each other at every operator; on a machine that does
    other work too, that was measured to take a hundred times as long as one thread takes.
    """
    import torch

    from ..models.logits import failing_network

    def predict(image: NDArray[np.float32]) -> NDArray[np.float32]:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            with torch.inference_mode(), failing_network(network):
                # A copy: a first layer that works in place would change the caller's image.
                mask: NDArray[np.float32] = network(torch.from_numpy(image).clone()).numpy()
        finally:
            torch.set_num_threads(threads)
        return mask

    return predict


def onnx_predictor(path: Path, outputs: OutputContract, inputs: InputContract) -> Predictor:
    """Run an ONNX file with ONNX Runtime on the CPU."""
    onnxruntime = require("onnxruntime", purpose="Checking the ONNX graph")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        str(path), sess_options=options, providers=["CPUExecutionProvider"]
    )

    def predict(image: NDArray[np.float32]) -> NDArray[np.float32]:
        result: NDArray[np.float32] = session.run([outputs.name], {inputs.name: image})[0]
        return result

    return predict


def reference_images(network: nn.Module, spec: ModelSpec, pairs: Sequence[Any]) -> ReferenceImages:
    """Ask the torch model about some pairs of a data set.

    Raises:
        UsageError: Its code fails, or its answers are not what its spec says; see
            `edgeseg.reference.soundness.require_sound_answers`.
    """
    from .soundness import require_sound_answers

    predict = torch_predictor(network)
    inputs = tuple(spec.inputs.prepare(pair.read_image(spec.inputs)) for pair in pairs)
    answers = tuple(predict(image) for image in inputs)
    require_sound_answers(network, spec.name, predict, inputs, answers)
    return ReferenceImages(tuple(pair.name for pair in pairs), inputs, answers)


def export_checked(
    reference: FloatReference,
    spec: ModelSpec,
    weights_sha256: str,
    answers: Callable[[], ReferenceImages],
    *,
    progress: Progress = SILENT,
    use_cache: bool = True,
) -> ExportedGraph:
    """ONNX file of a network, from the cache when the same was exported before.

    It is compared with its reference in either case, on the images at hand. A kept graph that
    disagrees is exported once more: the network may read what its key does not know.

    Raises:
        ExportError: The network does not export.
        ParityError: The graph computes something else than the network.
    """
    record = {
        "weights_sha256": weights_sha256,
        "model": spec.to_json(),
        "source": spec.code_digest(),
    }

    def make(folder: Path) -> None:
        with progress.stage("export to ONNX"):
            reference.write_graph(folder / ONNX_NAME)

    def checked(folder: Path) -> ExportedGraph:
        path = folder / ONNX_NAME
        with progress.stage("check ONNX against the FP32 reference"):
            return ExportedGraph(path, check_graph(path, spec, answers(), "The ONNX graph"))

    folder, found = get_or_make("onnx", record, make, enabled=use_cache)
    try:
        return checked(folder)
    except ParityError:
        if not found:
            raise
    return checked(get_or_make("onnx", record, make, enabled=False)[0])


def check_graph(path: Path, spec: ModelSpec, reference: ReferenceImages, what: str) -> Agreement:
    """Compare a float ONNX file, run by ONNX Runtime, with the FP32 reference.

    Raises:
        ParityError: It computes something else.
    """
    predict = onnx_predictor(path, spec.outputs, spec.inputs)
    agreement = reference.compare(predict, spec.outputs, what, FLOAT_ADVICE)
    require_parity(agreement, ONNX_TOLERANCE, what)
    return agreement


@dataclass(frozen=True)
class TorchRunner:
    """The torch model behind the interface of a compiled one."""

    predictor: Predictor

    def run(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        return self.predictor(image)


def open_torch(model: dict[str, Any], weights: str, folder: str | None = None) -> TorchRunner:
    """Load a model by plain values, as another process receives them.

    Args:
        model: As `ModelSpec.to_json` gives it.
        weights: Path of the checkpoint.
        folder: Where else to look for the class of a user's model.
    """
    if folder is not None:
        sys.path.append(folder)
    return TorchRunner(torch_predictor(ModelSpec.from_json(model).load_network(Path(weights))))
