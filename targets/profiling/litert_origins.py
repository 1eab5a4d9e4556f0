"""Which values of an ONNX graph the operators of a TFLite model compute.

Converters rename tensors, and files that are shipped have numbers for names. What the tensors hold
for one image tells which value of the ONNX graph each is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeseg.formats.tflite import TfliteModel, observe_tensors
from edgeseg.lazy import require

from ..onnx_file import observe_values

if TYPE_CHECKING:
    import onnx

PROBES = 2048  # places of a tensor that are looked at
LEAST = 4  # elements: what is smaller equals others by chance
# Root mean square of the difference against that of the value. Codes of 8 bits add up errors.
LARGEST_DIFFERENCE = 0.4
Probed = NDArray[np.float64]


def find_origins(
    onnx_path: Path, model: TfliteModel, tflite_path: Path, image: NDArray[np.float32]
) -> list[tuple[str, ...]]:
    """Names of the ONNX values that each operator computes, in the order of the operators.

    An operator that was fused of several computes what lies between the tensors that it reads and
    the one that it writes. One whose result is no value of the graph helps to compute the first
    value behind it.

    Args:
        onnx_path: The graph that was converted.
        image: Prepared, (1, C, H, W).
    """
    graph = require("onnx", purpose="Naming operators").load(onnx_path)
    found = _match(graph, model, tflite_path, image)
    known = {*found.values(), graph.graph.input[0].name}
    producers = {name: node for node in graph.graph.node for name in node.output}
    own = [
        tuple(
            name
            for tensor in operator.outputs
            if tensor in found
            for name in _computed_between(found[tensor], known, producers)
        )
        for operator in model.operators
    ]
    return _handed_back(own, model)


def _match(
    graph: onnx.ModelProto, model: TfliteModel, tflite_path: Path, image: NDArray[np.float32]
) -> dict[int, str]:
    """The ONNX value that each computed tensor holds, where there is one."""
    results = [tensor for operator in model.operators for tensor in operator.outputs]
    (held,) = observe_tensors(tflite_path, [image], {*results}, decoded=True)
    probed = {index: _probe(value) for index, value in held.items() if value.size >= LEAST}
    wanted: dict[int, list[int]] = {}
    for index, value in held.items():
        wanted.setdefault(value.size, []).append(index)
    names = [name for node in graph.graph.node for name in node.output if name]
    differences: dict[int, dict[str, float]] = {}
    for name, value in observe_values(graph, names, image):
        if value.dtype != np.float32 or value.size < LEAST:
            continue
        layouts = [_probe(value)]
        if value.ndim > 2:
            layouts.append(_probe(np.moveaxis(value, 1, -1)))
        for index in wanted.get(value.size, ()):
            least = min(_difference(layout, probed[index]) for layout in layouts)
            if least <= LARGEST_DIFFERENCE:
                differences.setdefault(index, {})[name] = least
    found: dict[int, str] = {}
    taken: set[str] = set()
    for index in results:
        # Values that are equal, such as one and its flat form, are taken in their order.
        near = differences.get(index, {})
        best = min(
            near, key=lambda name: (name in taken and near[name] == 0, near[name]), default=""
        )
        if best:
            found[index] = best
            taken.add(best)
    return found


def _probe(value: NDArray[Any]) -> Probed:
    flat = value.ravel()
    if flat.size > PROBES:
        # The same places for all of a size; a fixed step would see few channels only.
        flat = flat[np.random.default_rng(flat.size).integers(0, flat.size, PROBES)]
    return flat.astype(np.float64)


def _difference(expected: Probed, held: Probed) -> float:
    size = float(np.sqrt(np.mean(expected**2)))
    if not size > 0:
        return np.inf  # zeros prove nothing
    return float(np.sqrt(np.mean((expected - held) ** 2))) / size


def _computed_between(
    result: str, known: set[str], producers: Mapping[str, onnx.NodeProto]
) -> tuple[str, ...]:
    """A value and those that it is computed from, back to values that are known."""
    names, waiting = [], [result]
    while waiting:
        name = waiting.pop()
        if name in producers and name not in names:
            names.append(name)
            waiting += [source for source in producers[name].input if source not in known]
    return tuple(names)


def _handed_back(own: Sequence[tuple[str, ...]], model: TfliteModel) -> list[tuple[str, ...]]:
    """Names for the operators without any: those of the first reader that has some."""
    readers: dict[int, list[int]] = {}
    for place, operator in enumerate(model.operators):
        for tensor in operator.inputs:
            readers.setdefault(tensor, []).append(place)
    named = list(own)
    # From the end, so that readers come before what they read.
    for place in reversed(range(len(named))):
        if not named[place]:
            behind = (
                named[reader]
                for tensor in model.operators[place].outputs
                for reader in readers.get(tensor, ())
            )
            named[place] = next(filter(None, behind), ())
    return named
