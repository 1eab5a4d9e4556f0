"""Graphs in opset 17."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..formats.onnx import constant_of, fixed_shape, is_constant
from ..lazy import require
from .graph import integers, tidy
from .resize import makes_matrix, resizing_of
from .rewrite import as_rewrite

if TYPE_CHECKING:
    import onnx_ir as ir

OLDER, NEWEST = 17, 20
# Operators that are the same in opsets 17 and 20 but for what `resize_of_opset_17` changes.
KNOWN = frozenset(
    {"Add", "AveragePool", "BatchNormalization", "Concat", "Conv", "ConvTranspose", "DepthToSpace"}
    | {"Div", "Erf", "Exp", "Flatten", "Gelu", "Gemm", "GlobalAveragePool", "HardSwish"}
    | {"InstanceNormalization", "LeakyRelu", "MatMul", "MaxPool", "Mul", "Neg", "PRelu", "Pow"}
    | {"Reciprocal", "ReduceMax", "ReduceMean", "Relu", "Reshape", "Resize", "Sigmoid", "Slice"}
    | {"Softmax", "Split", "Sqrt", "Sub", "Tanh", "Transpose"}
    | {"ConstantOfShape", "EyeLike", "Unsqueeze"}  # of `resize_by_matrices`
)


@as_rewrite("resize-of-opset-17", layout="channels-first")
def resize_of_opset_17(model: ir.Model) -> int:
    """Write a graph with Resize operators in opset 17.

    ONNX Runtime 1.23 keeps maps in its blocked layout through a Resize of opset 13 only; a Resize
    of opset 18 makes it copy them out and back. Gelu, which opset 17 lacks, becomes ONNX Runtime's
    own operator of that name, which computes the same.

    Args:
        model: Changed in place. One with an operator that is not known to be
            the same in opset 17 is left as it is.

    Returns:
        How many Resize operators were changed.
    """
    onnx_ir = require("onnx_ir", purpose="Lowering")
    nodes = list(model.graph)
    count = sum(1 for node in nodes if node.op_type == "Resize" and not makes_matrix(node))
    opset = model.opset_imports.get("", 0)
    if not count or not OLDER < opset <= NEWEST or not all(map(_is_known, nodes)):
        return 0
    for node in nodes:
        if node.op_type == "Resize":
            for name in ("antialias", "keep_aspect_ratio_policy"):
                node.attributes.pop(name, None)
        elif node.op_type == "Gelu":
            node.domain = "com.microsoft"
            node.attributes.pop("approximate", None)
        elif node.op_type in ("ReduceMax", "ReduceMean"):
            axes = constant_of(node.inputs[1]).ravel().tolist()
            node.attributes.pop("noop_with_empty_axes", None)
            node.attributes["axes"] = onnx_ir.AttrInt64s("axes", axes)
            node.resize_inputs(1)
        elif node.op_type == "Split":
            node.attributes.pop("num_outputs", None)
        elif node.op_type == "AveragePool":
            node.attributes.pop("dilations", None)
    model.graph.opset_imports[""] = OLDER
    if any(node.op_type == "Gelu" for node in nodes):
        model.graph.opset_imports["com.microsoft"] = 1
    tidy(model)
    return count


def _is_known(node: ir.Node) -> bool:
    attributes = node.attributes
    if node.domain or node.op_type not in KNOWN:
        return False
    if node.op_type == "Resize":
        return resizing_of(node.outputs[0]) is not None
    if node.op_type == "Gelu":
        return bool(attributes.get_string("approximate", "none") == "none")
    if node.op_type in ("ReduceMax", "ReduceMean"):
        return len(node.inputs) == 2 and is_constant(node.inputs[1])
    if node.op_type == "AveragePool":
        # Opset 19 changed which windows the rounding up adds.
        ceils = attributes.get_int("ceil_mode", 0) == 1
        return not ceils and set(integers(node, "dilations", ())) <= {1}
    if node.op_type == "Split" and len(node.inputs) < 2:
        shapes = [fixed_shape(part) for part in node.outputs]
        return None not in shapes and len(set(shapes)) == 1
    return True
