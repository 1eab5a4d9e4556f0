"""Operators that take or put elements at places that are constant."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..ir import Concat, Gather
from .importer import Importer, Rule, title_of
from .moves import moved

if TYPE_CHECKING:
    import onnx_ir as ir


def _places(importer: Importer, node: ir.Node) -> NDArray[np.int64]:
    places = importer.constant(node, 1)
    assert places is not None
    return np.asarray(places, np.int64)


def _gather(importer: Importer, node: ir.Node) -> None:
    places = _places(importer, node)
    axis = int(importer.attribute(node, "axis", 0))
    moved(importer, node, lambda order: np.take(order, places, axis))


def _gather_elements(importer: Importer, node: ir.Node) -> None:
    places = _places(importer, node)
    axis = int(importer.attribute(node, "axis", 0))
    moved(importer, node, lambda order: np.take_along_axis(order, places, axis))


def _gather_nd(importer: Importer, node: ir.Node) -> None:
    places = _places(importer, node)
    if importer.attribute(node, "batch_dims", 0):
        raise importer.refusal(node, "takes other places of each image of a batch")
    moved(importer, node, lambda order: order[tuple(np.moveaxis(places, -1, 0))])


def _scatter(importer: Importer, node: ir.Node) -> None:
    """ScatterND and ScatterElements: both tensors one behind the other, and of them the right."""
    if importer.attribute(node, "reduction", "none") != "none":
        raise importer.refusal(node, "computes with what was there before")
    places = _places(importer, node)
    shapes = [importer.shape(node.inputs[index]) for index in (0, 2)]
    sizes = [math.prod(shape) for shape in shapes]
    old = np.arange(sizes[0], dtype=np.int32).reshape(shapes[0])
    new = np.arange(sizes[0], sum(sizes), dtype=np.int32).reshape(shapes[1])
    if node.op_type == "ScatterND":
        old[tuple(np.moveaxis(places, -1, 0))] = new
    else:
        np.put_along_axis(old, places, new, int(importer.attribute(node, "axis", 0)))
    parts = [
        importer.reshaped(node, importer.tensor(node.inputs[index]), (size, 1, 1))
        for index, size in zip((0, 2), sizes, strict=True)
    ]
    together = importer.new("together", (sum(sizes), 1, 1))
    importer.add(Concat(title_of(node), parts, together))
    importer.add(Gather(title_of(node), together, importer.result(node), old.ravel()))


INDEX_RULES: dict[str, Rule] = {
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "GatherND": _gather_nd,
    **dict.fromkeys(("ScatterND", "ScatterElements"), _scatter),
}
