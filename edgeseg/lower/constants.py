"""Folding of operators that depend on constants only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from ..formats.onnx import add_constant
from ..lazy import require
from .graph import tidy
from .rewrite import as_rewrite

if TYPE_CHECKING:
    import onnx_ir as ir

RANDOM = frozenset({"RandomNormalLike", "RandomUniformLike", "Bernoulli", "Multinomial"})


def fold_constants(model: ir.Model) -> int:
    """Compute operators that depend on weights only, such as EGE-UNet's gates at a fixed size.

    It pays if the folding of a runtime or a converter stops at an operator: OpenVINO 2026.4 keeps
    18 convolutions of constants in EGE-UNet. Random operators stay, and so do operators that
    compute the graph's outputs.

    Args:
        model: Changed in place. Constants that no operator reads any more stay in it.

    Returns:
        How many operators were removed.
    """
    onnx_ir = require("onnx_ir", purpose="Folding constants")
    graph = model.graph
    # Their operators may read the image.
    inner_graphs = (onnx_ir.AttributeType.GRAPH, onnx_ir.AttributeType.GRAPHS)
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
        onnx_ir.convenience.replace_all_uses_with(value, constant)
    graph.remove(folded, safe=True)
    return len(folded)


@as_rewrite("fold-constants")
def fold_stored_constants(model: ir.Model) -> int:
    """`fold_constants`, with the unused constants removed.

    Returns:
        How many operators were removed.
    """
    count = fold_constants(model)
    if count:
        tidy(model)
    return count


def _compute(model: ir.Model, wanted: list[ir.Value]) -> list[NDArray[Any]]:
    """Contents of values that depend on constants only."""
    if not wanted:
        return []
    onnx_ir = require("onnx_ir", purpose="Folding constants")
    onnxruntime = require("onnxruntime", purpose="Folding constants")
    part = onnx_ir.Model(
        onnx_ir.convenience.extract(model.graph, inputs=[], outputs=wanted),
        ir_version=model.ir_version,
        functions=model.functions.values(),
    )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        onnx_ir.to_proto(part).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    values: list[NDArray[Any]] = session.run(None, {})
    return values
