"""A float ONNX graph in torch, whose activations and constants can be exchanged."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgeseg.errors import CalibrationError
from edgeseg.formats.onnx import constant_of, name_of
from edgeseg.lazy import require

from ..qdq_onnx import quantizable_convolutions, quantized_output
from .operators import OPERATORS, Operator

if TYPE_CHECKING:
    import onnx_ir as ir

# Takes the name of a tensor and its value, and returns the value for its readers.
Exchange = Callable[[str, Tensor], Tensor]
TOLERANCE = 1e-3  # of the largest output


@dataclass(frozen=True)
class Step:
    """One operator.

    Attributes:
        kind, name: ONNX operator, and name of its first output.
        apply: The operator in torch.
        inputs, outputs: Names of tensors; empty for an input that is left out.
        attributes: The ONNX attributes.
    """

    kind: str
    name: str
    apply: Operator
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]


@dataclass(frozen=True)
class Place:
    """Tensors of a convolution that can be INT8.

    Attributes:
        weight, bias: Names of constants; a missing bias was added as zeros.
        source, result: Names of the activations that a plan quantizes: the input, and the output.
    """

    weight: str
    bias: str
    source: str
    result: str


@dataclass(frozen=True)
class TorchGraph:
    """A network as steps in the order in which they run.

    Attributes:
        steps: Operators that depend on the input.
        constants: Tensors that do not, by name.
        input_name, output_names: Names of the graph's input and outputs.
        convolutions: Convolutions that can be INT8, by the name of their output.
    """

    steps: tuple[Step, ...]
    constants: Mapping[str, Tensor]
    input_name: str
    output_names: tuple[str, ...]
    convolutions: Mapping[str, Place]

    def run(
        self,
        values: Mapping[str, Tensor],
        wanted: Collection[str],
        exchange: Exchange | None = None,
        constants: Mapping[tuple[str, str], Tensor] | None = None,
        steps: Sequence[Step] | None = None,
    ) -> dict[str, Tensor]:
        """Compute some tensors.

        Args:
            values: Tensors to start from; for the whole graph, its input.
            wanted: Names of the tensors to return.
            exchange: Applied to each activation that is computed or given.
            constants: (output of a step, name of a constant) -> tensor that the step reads instead.
            steps: A part of the graph; None runs all of it.

        Returns:
            The wanted tensors, before the exchange.
        """
        steps = self.steps if steps is None else steps
        known = dict(values)
        found = {name: known[name] for name in wanted if name in known}
        if exchange is not None:
            known = {name: exchange(name, value) for name, value in known.items()}
        last = {name: index for index, step in enumerate(steps) for name in step.inputs}
        for index, step in enumerate(steps):
            given = [self._input(step, name, known, constants) for name in step.inputs]
            results = step.apply(given, step.attributes)
            results = results if len(step.outputs) > 1 else (results,)
            for name, value in zip(step.outputs, results, strict=True):
                if name in wanted:
                    found[name] = value
                known[name] = value if exchange is None else exchange(name, value)
            for name in step.inputs:
                if last[name] == index:
                    known.pop(name, None)
        return found

    def _input(
        self,
        step: Step,
        name: str,
        known: Mapping[str, Tensor],
        constants: Mapping[tuple[str, str], Tensor] | None,
    ) -> Tensor | None:
        if not name:
            return None
        if name in known:
            return known[name]
        if constants is not None and (step.name, name) in constants:
            return constants[step.name, name]
        return self.constants[name]


def require_equal(graph: TorchGraph, onnx_path: Path, image: NDArray[np.float32]) -> None:
    """Refuse to learn from a graph if torch and ONNX Runtime compute different outputs.

    Args:
        image: Prepared image, (1, 3, H, W).

    Raises:
        CalibrationError: The outputs differ on this image.
    """
    onnxruntime = require("onnxruntime", purpose="Distillation")
    session = onnxruntime.InferenceSession(onnx_path, providers=["CPUExecutionProvider"])
    with torch.no_grad():
        found = graph.run({graph.input_name: torch.from_numpy(image)}, graph.output_names)
    for name, expected in zip(
        graph.output_names,
        session.run(list(graph.output_names), {graph.input_name: image}),
        strict=True,
    ):
        allowed = TOLERANCE * max(1.0, float(np.abs(expected).max()))
        if not np.abs(found[name].numpy() - expected).max() <= allowed:
            raise CalibrationError(
                f"Distillation computes another {name} of {onnx_path.name} than ONNX Runtime does. "
                "Calibrate with --method mse --method-option bias_correction=true, and report it "
                "as a bug."
            )


def load_graph(onnx_path: Path) -> TorchGraph:
    """Read a float ONNX graph, and compute the operators that depend on constants only.

    Raises:
        CalibrationError: The graph has an operator that `operators.py` does not know.
    """
    onnx_ir = require("onnx_ir", purpose="Distillation")
    graph = onnx_ir.load(onnx_path).graph
    constants = {
        name_of(value): torch.from_numpy(constant_of(value).copy())
        for value in graph.initializers.values()
    }
    convolutions = {}
    for node in quantizable_convolutions(graph):
        name, weight = name_of(node.outputs[0]), name_of(node.inputs[1])
        bias = node.inputs[2] if len(node.inputs) > 2 else None
        bias_name = name_of(bias) or f"{name}/no_bias"
        constants.setdefault(bias_name, torch.zeros(len(constants[weight])))
        convolutions[name] = Place(
            weight, bias_name, name_of(node.inputs[0]), name_of(quantized_output(node))
        )
    steps = []
    for node in graph:
        step = _step_of(node, onnx_path)
        if step.name in convolutions:
            place = convolutions[step.name]
            step = replace(step, inputs=(step.inputs[0], place.weight, place.bias))
        if all(not name or name in constants for name in step.inputs):
            results = step.apply(
                [constants[name] if name else None for name in step.inputs], step.attributes
            )
            results = results if len(step.outputs) > 1 else (results,)
            constants.update(zip(step.outputs, results, strict=True))
        else:
            steps.append(step)
    return TorchGraph(
        steps=tuple(steps),
        constants=constants,
        input_name=graph.inputs[0].name,
        output_names=tuple(value.name for value in graph.outputs),
        convolutions=convolutions,
    )


def _step_of(node: ir.Node, onnx_path: Path) -> Step:
    name = name_of(node.outputs[0])
    if node.op_type == "Constant":
        content = torch.from_numpy(node.attributes["value"].value.numpy().copy())
        return Step("Constant", name, lambda inputs, attributes: content, (), (name,), {})
    if node.op_type not in OPERATORS or node.domain not in ("", "ai.onnx"):
        raise CalibrationError(
            f"Distillation does not know the operator {node.op_type} of '{name}' in "
            f"{onnx_path.name}. Calibrate with --method mse --method-option bias_correction=true."
        )
    return Step(
        node.op_type,
        name,
        OPERATORS[node.op_type],
        tuple(map(name_of, node.inputs)),
        tuple(map(name_of, node.outputs)),
        {key: attribute.value for key, attribute in node.attributes.items()},
    )
