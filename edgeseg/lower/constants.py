"""Parts of a graph that no input reaches."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..lazy import require
from ..onnx_graph import add_constant, is_constant
from .patterns import tidy


def fold_constants(model: Any) -> int:
    """Compute what depends on weights only, such as EGE-UNet's gates at a fixed size.

    Pays where a runtime's own folding stops at an operator: OpenVINO 2026.4 keeps 18 convolutions
    of constants in EGE-UNet.

    Args:
        model: An `onnx_ir.Model`, changed in place.

    Returns:
        How many operators went.
    """
    ir = require("onnx_ir", purpose="Lowering")
    graph = model.graph
    before = len(graph)
    folded = set()
    for node in graph:
        if all(value is None or is_constant(value) or value in folded for value in node.inputs):
            folded.update(node.outputs)
    kept = {value for value in folded if any(_is_live(use.node, folded) for use in value.uses())}
    if not kept:
        return 0
    wanted = [value for node in graph for value in node.outputs if value in kept]
    for value, content in zip(wanted, _compute(model, [v.name for v in wanted]), strict=True):
        constant = add_constant(graph, f"{value.name}_folded", content)
        ir.convenience.replace_all_uses_with(value, constant)
    tidy(model)
    return before - len(graph)


def _is_live(node: Any, folded: set[Any]) -> bool:
    return not any(value in folded for value in node.outputs)


def _compute(model: Any, names: list[str]) -> list[np.ndarray[Any, Any]]:
    """Values inside a graph that do not depend on its input."""
    ir = require("onnx_ir", purpose="Lowering")
    onnx = require("onnx", purpose="Lowering")
    onnxruntime = require("onnxruntime", purpose="Lowering")
    proto = ir.to_proto(model)
    del proto.graph.output[:]
    for name in names:
        proto.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    feed = {item.name: np.zeros(item.shape, np.float32) for item in session.get_inputs()}
    values: list[np.ndarray[Any, Any]] = session.run(names, feed)
    return values
