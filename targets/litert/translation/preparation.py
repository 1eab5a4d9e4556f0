"""Graphs for the translator: no functions, no constant that is still to be computed, all sizes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeseg.formats.onnx import add_constant, fixed_shape, name_of
from edgeseg.lazy import require
from edgeseg.lower.constants import fold_constants

if TYPE_CHECKING:
    import onnx_ir as ir

PURPOSE = "Building for litert"
MOST_ROUNDS = 20  # a size that is folded may make another one known


def prepare_for_translation(model: ir.Model) -> None:
    """Fold what does not depend on the image, sizes too, and state the size of every value."""
    passes = require("onnx_ir.passes.common", purpose=PURPOSE)
    passes.InlinePass()(model)
    for _ in range(MOST_ROUNDS):
        passes.ShapeInferencePass()(model)
        count = fold_sizes(model.graph) + fold_constants(model)
        passes.RemoveUnusedNodesPass()(model)
        if not count:
            break
    passes.NameFixPass()(model)


def fold_sizes(graph: ir.Graph) -> int:
    """Replace Shape and Size of values of known size by constants.

    Returns:
        How many were replaced.
    """
    onnx_ir = require("onnx_ir", purpose=PURPOSE)
    found = []
    for node in graph:
        shape = fixed_shape(node.inputs[0]) if node.op_type in ("Shape", "Size") else None
        if shape is None or node.domain or node.outputs[0].is_graph_output():
            continue
        if node.op_type == "Size":
            content = np.array(np.prod(shape, dtype=np.int64))
        else:
            end = node.attributes.get_int("end", len(shape))
            content = np.array(shape[node.attributes.get_int("start", 0) : end], np.int64)
        constant = add_constant(graph, f"{name_of(node.outputs[0])}_folded", content)
        onnx_ir.convenience.replace_all_uses_with(node.outputs[0], constant)
        found.append(node)
    graph.remove(found, safe=True)
    return len(found)
