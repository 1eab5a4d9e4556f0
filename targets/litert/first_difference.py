"""Finds the operator at which a TFLite model stops computing what its ONNX graph computes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeseg.formats.onnx import MODULE
from edgeseg.formats.tflite import observe_tensors
from edgeseg.lazy import require

from ..onnx_file import observe_values

if TYPE_CHECKING:
    import onnx

PURPOSE = "Comparing with the ONNX graph"
RELATIVE_TOLERANCE = 1e-3  # of a tensor's largest value
# Converters multiply and add these into what comes after them, where that can be done.
MERGED = frozenset(
    {"Add", "BatchNormalization", "Conv", "ConvTranspose", "Div", "Gemm", "MatMul", "Mul", "Pad"}
    | {"Sub"}
)
PROBES = 64  # places of a tensor that are looked at first


def first_difference(onnx_path: Path, tflite_path: Path, image: NDArray[np.float32]) -> str | None:
    """Name the first operator of the ONNX graph whose result the TFLite model does not hold.

    Tensors are matched by their values, as converters rename them, and as NCHW or NHWC. A result
    that is missing because it was fused with what follows is right when something that is
    computed from it is there.

    Args:
        image: Prepared, (1, 3, H, W).

    Returns:
        "Relu 'name'" as the graph has it, and the user's module where it is known; None when
        nothing differs. Of what is merged with the
        operator after it, nobody can tell which of the two differs: both are named.
    """
    model = require("onnx", purpose=PURPOSE).load(onnx_path)
    constants = {tensor.name for tensor in model.graph.initializer}
    varying = _names_that_depend_on(model.graph, model.graph.input[0].name)
    computed = [node for node in model.graph.node if varying.intersection(node.output)]
    names = [name for node in computed for name in node.output if name]
    (values,) = observe_tensors(tflite_path, [image])
    held = _HeldTensors(values.values())
    found = {name: held.contain(value) for name, value in observe_values(model, names, image)}
    right: set[str] = set()
    for node in reversed(computed):
        if any(found.get(name, False) or name in right for name in node.output):
            right.update(name for name in node.output)
            right.update(name for name in node.input if name not in constants)
    for node in computed:
        if not right.issuperset(name for name in node.output if found.get(name) is False):
            readers = [reader for reader in computed if set(node.output).intersection(reader.input)]
            if node.op_type in MERGED and len(readers) == 1:
                return f"{_label(node)} or {_label(readers[0])}, which may be merged with it"
            return _label(node)
    return None


def _label(node: onnx.NodeProto) -> str:
    module = next((entry.value for entry in node.metadata_props if entry.key == MODULE), "")
    where = f" of module '{module}'" if module else ""
    return f"{node.op_type} '{node.name or node.output[0]}'{where}"


class _HeldTensors:
    """The tensors of a TFLite model, flat, by size."""

    def __init__(self, tensors: Iterable[NDArray[np.float32]]) -> None:
        self._by_size: dict[int, list[NDArray[np.float32]]] = {}
        for tensor in tensors:
            self._by_size.setdefault(tensor.size, []).append(tensor.ravel())

    def contain(self, value: NDArray[Any]) -> bool | None:
        """Whether a tensor is there in either layout; None where equality would prove nothing."""
        if value.dtype != np.float32 or value.size < 2 or not value.any():
            return None
        limit = RELATIVE_TOLERANCE * float(np.abs(value).max())
        flats = [value.ravel()]
        if value.ndim > 2:
            flats.append(np.moveaxis(value, 1, -1).ravel())
        step = max(value.size // PROBES, 1)
        return any(
            _is_close(flat[::step], held[::step], limit) and _is_close(flat, held, limit)
            for held in self._by_size.get(value.size, [])
            for flat in flats
        )


def _is_close(one: NDArray[np.float32], other: NDArray[np.float32], limit: float) -> bool:
    # Written so that NaN is not close.
    return bool(np.abs(one - other).max() <= limit)


def _names_that_depend_on(graph: onnx.GraphProto, source: str) -> set[str]:
    reached = {source}
    for node in graph.node:
        if reached.intersection(node.input):
            reached.update(node.output)
    return reached
