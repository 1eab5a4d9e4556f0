"""An ONNX file as the FP32 reference: ONNX Runtime computes that very file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..contract import resize_plane
from ..errors import UsageError, reason_of
from ..formats.map_sizes import contract_of_maps
from ..formats.onnx_files.contract_graph import contract_graph, output_layout
from ..formats.onnx_files.reading import (
    Port,
    choose_output,
    image_input,
    layout_of,
    read_graph,
)
from ..lazy import require
from ..metrics.agreement import Predictor
from ..models import ModelSpec
from ..storage.atomic import write_bytes
from .reference import ReferenceImages


class OnnxReference:
    """The network in an ONNX file, whose answers are those of ONNX Runtime on that file.

    Args:
        spec: Of the network; `ModelSpec.graph` is the file.
    """

    packages = ("onnx", "onnx_ir", "onnxscript", "onnxruntime")

    def __init__(self, spec: ModelSpec) -> None:
        assert spec.graph is not None
        self.spec = spec
        self.path: Path = spec.graph

    def answer(self, pairs: Sequence[Any]) -> ReferenceImages:
        """Its probabilities for some pairs of a data set.

        Raises:
            UsageError: ONNX Runtime does not run the file on an image of the size, or what it gives
                are no probabilities.
        """
        from .soundness import require_sound_values

        predict = self.predictor()
        contract = self.spec.inputs
        inputs = tuple(contract.prepare(pair.read_image(contract)) for pair in pairs)
        answers = tuple(predict(image) for image in inputs)
        require_sound_values(self.spec.name, predict, inputs, answers)
        return ReferenceImages(tuple(pair.name for pair in pairs), inputs, answers)

    def predictor(self) -> Predictor:
        """Runs the file as it is; prepared image (1, C, H, W) to probabilities (1, C, H, W)."""
        file = read_graph(self.path)
        model = file.model
        source = image_input(model, self.path)
        target = choose_output(model, self.spec.output, self.path)
        layout, _ = layout_of(source, self.path)
        session = file.open_session(is_plain=True)

        def predict(image: NDArray[np.float32]) -> NDArray[np.float32]:
            fed = image if layout == "NCHW" else image.transpose(0, 2, 3, 1)
            fed = np.ascontiguousarray(fed)
            try:
                (result,) = session.run([target.name], {source.name: fed})
            except Exception as error:
                raise UsageError(
                    f"ONNX Runtime does not run {self.path} on an image {fed.shape} "
                    f"({reason_of(error)}). Give the size that it was exported for."
                ) from error
            return self._probabilities(np.asarray(result), target, layout)

        return predict

    def _probabilities(
        self, result: NDArray[Any], target: Port, layout: str
    ) -> NDArray[np.float32]:
        inputs, outputs = self.spec.inputs, self.spec.outputs
        given = Port(target.name, str(result.dtype), tuple(result.shape))
        where = output_layout(given, layout, outputs, self.path)
        maps = result.astype(np.float32)
        if where == "NHW":
            maps = maps[:, None]
        if where == "NHWC":
            maps = maps.transpose(0, 3, 1, 2)
        contract_of_maps(maps.shape, inputs, outputs, str(self.path))
        if maps.shape[2:] != (inputs.height, inputs.width):
            planes = resize_plane(maps[0].transpose(1, 2, 0), inputs.height, inputs.width)
            maps = planes.transpose(2, 0, 1)[None]
        if self.spec.returns == "logits":
            maps = _sigmoid(maps) if outputs.channels == 1 else _softmax(maps)
        return np.ascontiguousarray(maps, np.float32)

    def write_graph(self, path: Path) -> None:
        """Write it in the form that targets start from."""
        spec = self.spec
        model, _ = contract_graph(self.path, spec.inputs, spec.outputs, spec.returns, spec.output)
        write_bytes(path, model.SerializeToString())

    def save_weights(self, path: Path) -> None:
        """Write the float constants of the file as safetensors, by their names."""
        from safetensors.numpy import save

        onnx = require("onnx", purpose="Reading an ONNX file")
        model = read_graph(self.path).model
        arrays = {
            tensor.name: np.ascontiguousarray(onnx.numpy_helper.to_array(tensor))
            for tensor in model.graph.initializer
        }
        floats = {name: array for name, array in arrays.items() if array.dtype.kind == "f"}
        write_bytes(path, save(floats))


def _sigmoid(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):
        return np.asarray(1 / (1 + np.exp(-maps)), np.float32)


def _softmax(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    powers = np.exp(maps - maps.max(1, keepdims=True))
    return np.asarray(powers / powers.sum(1, keepdims=True), np.float32)
