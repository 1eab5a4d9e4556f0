"""ONNX graphs rewritten, exactly, so that onnx2tf has little to guess.

onnx2tf turns NCHW graphs into NHWC ones and guesses the layout of tensors from their shapes. It
guesses wrong where channels, height and width are equal, after reshaping to fewer axes, and at
additions. In graphs of four-dimensional operators only, without recorded shapes, it takes every
tensor as NHWC, which is right.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgeseg.formats.onnx import (
    add_constant,
    constant_of,
    fixed_shape,
    input_of,
    is_constant,
    name_of,
)
from edgeseg.lazy import require
from edgeseg.lower.constants import fold_constants
from edgeseg.lower.depthwise import stride_before_dilation

if TYPE_CHECKING:
    import onnx_ir as ir

# Two inputs, the smaller one stretched along the other's axes.
BROADCASTING = frozenset({"Add", "Sub", "Mul", "Div", "Max", "Min", "Pow"})
PURPOSE = "Building for litert"


def prepare_for_onnx2tf(model: ir.Model, *, with_shapes: bool, own_opset: bool) -> None:
    """Fold constants and apply the rewrites of this file, in place.

    Args:
        with_shapes: Keep recorded shapes, which graphs with other than four axes need.
        own_opset: Keep the opset, which onnx2tf needs to run the graph itself.
    """
    fold_constants(model)
    stride_before_dilation(model)  # TensorFlow gives the two together another size
    spread_group_norms(model.graph)
    pad_before_average_pools(model.graph)
    give_constants_all_axes(model.graph)
    state_kernels_of_transposed_convolutions(model.graph)
    if not with_shapes:
        forget_shapes(model.graph)
    passes = require("onnx_ir.passes.common", purpose=PURPOSE)
    passes.RemoveUnusedNodesPass()(model)
    if with_shapes:
        passes.ShapeInferencePass()(model)
    if not own_opset:
        declare_opset_17(model)


def spread_group_norms(graph: ir.Graph) -> int:
    """Write group normalisation without reshaping.

    Exporters write it as Reshape to (1, groups, -1), InstanceNormalization, Reshape back. The
    mean over a group is the mean of its channels' means: a 1x1 convolution of C means with a
    matrix that holds 1 / (C / groups) within groups gives each channel the mean of its group.

    Returns:
        How many were rewritten.
    """
    count = 0
    for norm in [node for node in graph if node.op_type == "InstanceNormalization"]:
        before, after = input_of(norm).producer(), _only_reader(norm.outputs[0])
        if before is None or after is None or _only_reader(before.outputs[0]) is not norm:
            continue
        source, result = input_of(before), after.outputs[0]
        if before.op_type != "Reshape" or after.op_type != "Reshape":
            continue
        shape, inner, outer = (fixed_shape(v) for v in (source, before.outputs[0], result))
        if shape is None or len(shape) != 4 or shape != outer or inner is None:
            continue
        is_plain = len(inner) == 3 and inner[0] == shape[0] == 1 and shape[1] % inner[1] == 0
        if is_plain and _is_all(norm.inputs[1], 1.0) and _is_all(norm.inputs[2], 0.0):
            _replace_group_norm(graph, norm, source, result, groups=inner[1])
            graph.remove([before, norm, after], safe=True)
            count += 1
    return count


def _replace_group_norm(
    graph: ir.Graph, norm: ir.Node, source: ir.Value, result: ir.Value, *, groups: int
) -> None:
    onnx_ir = require("onnx_ir", purpose=PURPOSE)
    shape = fixed_shape(source)
    assert shape is not None
    channels = shape[1]
    size = channels // groups
    blocks = np.kron(np.eye(groups), np.full((size, size), 1 / size)).astype(np.float32)
    epsilon = norm.attributes.get_float("epsilon", 1e-5)
    label = result.name
    axes = add_constant(graph, f"{label}_axes", np.array([2, 3], np.int64))
    within = add_constant(graph, f"{label}_groups", blocks[:, :, None, None])
    shift = add_constant(graph, f"{label}_epsilon", np.full(channels, epsilon, np.float32))
    nodes: list[Any] = []

    def add(kind: str, *inputs: Any) -> Any:
        nodes.append(onnx_ir.node(kind, list(inputs), name=f"{label}/{kind}{len(nodes)}"))
        nodes[-1].outputs[0].name = f"{label}_{kind}{len(nodes)}"
        return nodes[-1].outputs[0]

    mean = add("Conv", add("ReduceMean", source, axes), within)
    centred = add("Sub", source, mean)
    variance = add("Conv", add("ReduceMean", add("Mul", centred, centred), axes), within, shift)
    normed = add("Mul", centred, add("Reciprocal", add("Sqrt", variance)))
    normed.shape, normed.type = result.shape, result.type
    result.name, normed.name = f"{label}_before", label
    graph.insert_before(norm, nodes)
    onnx_ir.convenience.replace_all_uses_with(result, normed, replace_graph_outputs=True)


def pad_before_average_pools(graph: ir.Graph) -> int:
    """Pad with zeros first where an average counts the padding.

    TFLite's average leaves the padding out; onnx2tf mends that with six operators a border.

    Returns:
        How many were rewritten.
    """
    onnx_ir = require("onnx_ir", purpose=PURPOSE)
    count = 0
    for pool in [node for node in graph if node.op_type == "AveragePool"]:
        pads = pool.attributes.get_ints("pads", ())
        counts = pool.attributes.get_int("count_include_pad", 0)
        if len(pads) != 4 or not any(pads) or not counts:
            continue
        if pool.attributes.get_int("ceil_mode", 0):
            continue
        source, label = pool.inputs[0], pool.outputs[0].name
        widths = np.array([0, 0, *pads[:2], 0, 0, *pads[2:]], np.int64)
        padding = onnx_ir.node(
            "Pad", [source, add_constant(graph, f"{label}_pads", widths)], name=f"{label}/pad"
        )
        padding.outputs[0].name = f"{label}_padded"
        graph.insert_before(pool, padding)
        pool.replace_input_with(0, padding.outputs[0])
        pool.attributes["pads"] = onnx_ir.AttrInt64s("pads", [0] * 4)
        count += 1
    return count


def give_constants_all_axes(graph: ir.Graph) -> int:
    """Write constants of fewer axes than the tensor that they go with in full: (C, 1, 1) as
    (1, C, 1, 1). onnx2tf lays those out right, whatever the sizes.

    Returns:
        How many inputs were changed.
    """
    count = 0
    for node in [node for node in graph if node.op_type in BROADCASTING and len(node.inputs) == 2]:
        for index, value in enumerate(node.inputs):
            shape = fixed_shape(node.inputs[1 - index])
            if not is_constant(value) or shape is None:
                continue
            array = constant_of(value)
            if not 0 < array.ndim < len(shape):
                continue
            full = array.reshape((1,) * (len(shape) - array.ndim) + array.shape)
            name = f"{name_of(value)}_{len(shape)}d"
            known = graph.initializers.get(name)
            node.replace_input_with(index, known or add_constant(graph, name, full))
            count += 1
    return count


def state_kernels_of_transposed_convolutions(graph: ir.Graph) -> None:
    """Write the attribute kernel_shape, which ONNX lets exporters leave out, and onnx2tf needs."""
    onnx_ir = require("onnx_ir", purpose=PURPOSE)
    for node in graph:
        if node.op_type == "ConvTranspose" and "kernel_shape" not in node.attributes:
            shape = fixed_shape(node.inputs[1])
            if shape is not None:
                node.attributes["kernel_shape"] = onnx_ir.AttrInt64s("kernel_shape", shape[2:])


def forget_shapes(graph: ir.Graph) -> None:
    """Remove the shapes of inner tensors.

    onnx2tf 1.28.8 takes a sum whose shape is not the recorded one, as NHWC never is, for broken
    and transposes it to NCHW; what follows is guessed from there on. Only the sizes that a
    transposed convolution gives it cannot work out.
    """
    for node in graph:
        for value in node.outputs:
            if node.op_type != "ConvTranspose" and not value.is_graph_output():
                value.shape = None


def declare_opset_17(model: ir.Model) -> None:
    """Say that the graph is of opset 17, though its operators stay as they are.

    onnx2tf 1.28.8 honours the coordinate mode of a Resize, such as align_corners, up to that
    opset only. It asks for the opset at no other operator that exporters still write.
    """
    model.opset_imports[""] = min(model.opset_imports.get("", 17), 17)


def _only_reader(value: ir.Value) -> ir.Node | None:
    readers = list(value.uses())
    return readers[0].node if len(readers) == 1 else None


def _is_all(value: ir.Value | None, number: float) -> bool:
    return is_constant(value) and bool((constant_of(value) == number).all())
