"""Parts of a graph that no input reaches."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from ..formats.onnx import add_constant
from ..lazy import require

RANDOM = frozenset({"RandomNormalLike", "RandomUniformLike", "Bernoulli", "Multinomial"})


def fold_constants(model: Any) -> int:
    """Compute what depends on weights only, such as EGE-UNet's gates at a fixed size.

    Pays where a runtime's or a converter's own folding stops at an operator: OpenVINO 2026.4 keeps
    18 convolutions of constants in EGE-UNet. Random operators stay, and so do those that give the
    graph's outputs.

    Args:
        model: An `onnx_ir.Model`, changed in place. The constants that nothing reads any more
            stay in it.

    Returns:
        How many operators went.
    """
    ir = require("onnx_ir", purpose="Folding constants")
    graph = model.graph
    inner_graphs = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)  # may read the image
    known = set(graph.initializers.values())
    folded = []
    for node in graph:
        is_folded = node.op_type == "Constant" or (
            len(node.inputs) > 0
            and node.op_type not in RANDOM
            and not any(item.type in inner_graphs for item in node.attributes.values())
            and all(value is None or value in known for value in node.inputs)
        )
        if is_folded and not any(value.is_graph_output() for value in node.outputs):
            folded.append(node)
            known.update(node.outputs)
    inner = set(folded)
    wanted = [
        value
        for node in folded
        for value in node.outputs
        if any(use.node not in inner for use in value.uses())
    ]
    for value, content in zip(wanted, _compute(model, wanted), strict=True):
        constant = add_constant(graph, f"{value.name}_folded", content)
        ir.convenience.replace_all_uses_with(value, constant)
    graph.remove(folded, safe=True)
    return len(folded)


def _compute(model: Any, wanted: list[Any]) -> list[NDArray[Any]]:
    """Values inside a graph that depend on constants only."""
    if not wanted:
        return []
    ir = require("onnx_ir", purpose="Folding constants")
    onnxruntime = require("onnxruntime", purpose="Folding constants")
    part = ir.Model(
        ir.convenience.extract(model.graph, inputs=[], outputs=wanted),
        ir_version=model.ir_version,
        functions=model.functions.values(),
    )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        ir.to_proto(part).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    values: list[NDArray[Any]] = session.run(None, {})
    return values
