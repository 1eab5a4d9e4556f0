"""A float TFLite model in torch, whose activations and constants can be exchanged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgeseg.errors import CalibrationError
from edgeseg.formats.tflite import observe_tensors

from ....distillation.graph import TOLERANCE, Place, Step, TorchGraph
from ...file import TfliteFile
from ...matching import LAYOUTS
from ..kernels import JOINING, NEGATION
from .operators import ADVICE, OPERATORS, not_taught, planes

TABLES = frozenset({"LOGISTIC", "SOFTMAX"})
LOGITS = "logits"  # (1, C, H, W), at the end of every graph; others are named by numbers


def load_tflite_graph(file: TfliteFile) -> TorchGraph:
    """A TFLite file in torch. Tensors are named by their index in the file.

    Activations have the layout of TFLite, (N, H, W, C), weights of convolutions that of ONNX. One
    step is added, which gives `LOGITS`.

    Raises:
        CalibrationError: `operators.py` does not know an operator, or the model does not end in
            logits and a table.
    """
    constants: dict[str, Tensor] = {}
    convolutions: dict[str, Place] = {}
    steps = []
    for operator in file.operators:
        kind = file.kind_of(operator)
        inputs = [int(index) for index in operator.inputs]
        names = tuple(str(int(index)) for index in operator.outputs)
        if kind not in OPERATORS:
            raise not_taught(f"the operator {kind}")
        if kind in LAYOUTS:
            weight = file.onnx_weight(inputs[1], kind).copy()
            place = Place(f"{names[0]}/weight", f"{names[0]}/bias", str(inputs[0]), names[0])
            constants[place.weight] = torch.from_numpy(weight)
            constants[place.bias] = torch.from_numpy(file.bias_of(inputs, len(weight)).copy())
            convolutions[names[0]] = place
            read: tuple[str, ...] = (place.source, place.weight, place.bias)
        else:
            read = tuple(str(index) for index in inputs)
            for index in inputs:
                if file.is_constant(index):
                    constants[str(index)] = torch.from_numpy(file.constant(index).copy())
        options = vars(operator.builtinOptions) if operator.builtinOptions is not None else {}
        steps.append(Step(kind, names[0], OPERATORS[kind], read, names, options))
    head = _head(steps, str(file.outputs[0]))
    steps.append(
        Step("TRANSPOSE", LOGITS, lambda inputs, options: planes(inputs[0]), (head,), (LOGITS,), {})
    )
    return TorchGraph(tuple(steps), constants, str(file.inputs[0]), (LOGITS,), convolutions)


def pixels_of(image: NDArray[np.float32]) -> Tensor:
    """A prepared image (1, 3, H, W) as the graph takes it, (1, H, W, 3)."""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(0, 2, 3, 1)))


def require_equal(path: Path, image: NDArray[np.float32]) -> None:
    """Refuse a file of which torch and LiteRT compute different logits.

    Args:
        image: Prepared image, (1, 3, H, W).

    Raises:
        CalibrationError: They differ on this image, or see `load_tflite_graph`.
    """
    graph = load_tflite_graph(TfliteFile(path.read_bytes()))
    head = int(graph.steps[-1].inputs[0])
    pixels = pixels_of(image)
    with torch.no_grad():
        found = graph.run({graph.input_name: pixels}, [str(head)])[str(head)].numpy()
    expected = next(iter(observe_tensors(path, [image], [head])))[head]
    if np.abs(found - expected).max() > TOLERANCE * max(float(np.abs(expected).max()), 1e-6):
        raise CalibrationError(
            f"Torch and LiteRT compute different logits from {path.name}, so that what its "
            f"rounding does cannot be known. {ADVICE}"
        )


def _head(steps: list[Step], output: str) -> str:
    """What the model's last LOGISTIC or SOFTMAX reads.

    Of a pair of classes that end in p and 1 - p the logit of one of them.
    """
    makers = {name: step for step in steps for name in step.outputs}
    maker = makers[output]
    if maker.kind == JOINING:
        ends = [makers[name] for name in maker.inputs if name in makers]
        of_logits = [one for one in ends if one.kind == "LOGISTIC"]
        free = [one for one in of_logits if makers[one.inputs[0]].kind != NEGATION]
        if len(ends) == len(of_logits) == 2 and len(free) == 1:
            maker = free[0]
    if maker.kind not in TABLES:
        raise CalibrationError(
            f"The model ends in {maker.kind}; what changes its logits cannot be known without a "
            f"LOGISTIC or a SOFTMAX at the end. {ADVICE}"
        )
    return maker.inputs[0]
