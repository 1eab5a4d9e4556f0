"""Resizing of maps, in every mode that ONNX has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeseg.formats.onnx import constant_of, is_constant
from edgeseg.lazy import require
from edgeseg.lower.resize import resizing_of

from .maps import as_map, give_map, size_of
from .translator import Rule, Translator

if TYPE_CHECKING:
    import onnx_ir as ir

PURPOSE = "Building for litert"
MOST_GATHERED = 4  # pixels that one pixel is a sum of; above that a product is faster


def _resize(net: Translator, node: ir.Node) -> None:
    """TFLite's own operator where it computes the same; else sums of gathered rows and columns."""
    before, after = net.shape(node.inputs[0]), net.shape(node.outputs[0])
    if before[:2] != after[:2]:
        raise net.refusal("changes the number of channels")
    x = as_map(net, node.inputs[0])
    size = (1, after[2]) if len(after) == 3 else (after[2], after[3])
    sampling = _built_in(node) if len(after) == 4 else None
    if sampling is not None:
        operator, corners, halves = sampling
        function = getattr(net.tf.raw_ops, operator)
        y = function(images=x, size=list(size), align_corners=corners, half_pixel_centers=halves)
        give_map(net, node.outputs[0], y)
        return
    missing = 4 - len(after)  # a line is a map of one row
    axes = [axis for axis in (0, 1) if axis >= missing]
    axes = [axis for axis in axes if size[axis] != size_of(x)[axis] or _states_factors(node)]
    # First the axis that leaves less to do.
    for axis in sorted(axes, key=lambda axis: size[axis] / size_of(x)[axis]):
        matrix = resizing_matrix(node, axis + 2 - missing, before, after)
        x = _sampled(net, x, matrix, axis + 1)
    give_map(net, node.outputs[0], x)


def _states_factors(node: ir.Node) -> bool:
    """Whether an axis whose size stays may be sampled at other places, by the factor 1.1."""
    return len(node.inputs) > 2 and node.inputs[2] is not None


def _built_in(node: ir.Node) -> tuple[str, bool, bool] | None:
    """TensorFlow's operator, whether it aligns corners, and whether pixels have centres."""
    resizing = resizing_of(node.outputs[0])
    if resizing is None:
        return None
    halves = resizing.coordinates in ("half_pixel", "pytorch_half_pixel")
    if resizing.mode == "linear":
        if resizing.coordinates == "pytorch_half_pixel" and 1 in resizing.after:
            return None
        return "ResizeBilinear", resizing.coordinates == "align_corners", halves
    pairs = zip(resizing.before, resizing.after, strict=True)
    is_whole = all(long % short == 0 for short, long in pairs)
    if resizing.mode == "nearest" and is_whole:
        # With whole factors no pixel lies between two.
        if resizing.coordinates == "asymmetric" and resizing.rounding == "floor":
            return "ResizeNearestNeighbor", False, False
        if halves and resizing.rounding.startswith("round"):
            return "ResizeNearestNeighbor", False, False
    return None


def resizing_matrix(
    node: ir.Node, axis: int, before: tuple[int, ...], after: tuple[int, ...]
) -> NDArray[np.float32]:
    """What each new row is of the old ones, (new, old): the resized identity.

    Args:
        axis: Of the input, in ONNX.
        before, after: Sizes of all axes of the input and the result.
    """
    helper = require("onnx.helper", purpose=PURPOSE)
    onnx = require("onnx", purpose=PURPOSE)
    onnxruntime = require("onnxruntime", purpose=PURPOSE)
    attributes = {
        item.name: list(item.value) if isinstance(item.value, tuple) else item.value
        for item in node.attributes.values()
        if item.name not in ("axes", "keep_aspect_ratio_policy")
    }
    scales = node.inputs[2] if len(node.inputs) > 2 else None
    names, inputs = ["x", "", ""], {"x": np.eye(before[axis], dtype=np.float32)[None, None]}
    if scales is not None and is_constant(scales) and constant_of(scales).size:
        factors = constant_of(scales).ravel()
        axes = [int(one) % len(before) for one in node.attributes["axes"].as_ints()] if (
            "axes" in node.attributes
        ) else list(range(len(before)))  # fmt: skip
        names[2] = "scales"
        inputs["scales"] = np.array([1, 1, factors[axes.index(axis)], 1], np.float32)
    else:
        names.append("sizes")
        inputs["sizes"] = np.array([1, 1, after[axis], before[axis]], np.int64)
    types = {
        np.dtype(np.float32): onnx.TensorProto.FLOAT,
        np.dtype(np.int64): onnx.TensorProto.INT64,
    }
    graph = helper.make_graph(
        [helper.make_node("Resize", names, ["y"], **attributes)],
        "resize",
        [
            helper.make_tensor_value_info(name, types[value.dtype], value.shape)
            for name, value in inputs.items()
        ],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=10)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    matrix: NDArray[np.float32] = session.run(None, inputs)[0][0, 0]
    return matrix


def _sampled(net: Translator, x: Any, matrix: NDArray[np.float32], axis: int) -> Any:
    """A matrix times the rows (axis 1) or columns (axis 2) of a map."""
    tf = net.tf
    count = int((matrix != 0).sum(1).max())
    if count <= MOST_GATHERED:
        order = np.argsort(matrix == 0, axis=1, kind="stable")[:, :count].astype(np.int32)
        weights = np.take_along_axis(matrix, order, axis=1)
        shape = [1, 1, 1, 1]
        shape[axis] = len(matrix)
        total: Any = None
        for index in range(count):
            part = tf.gather(x, order[:, index], axis=axis)
            if not (weights[:, index] == 1).all():
                part = part * weights[:, index].reshape(shape)
            total = part if total is None else total + part
        return total
    batch, rows, columns, channels = (int(size) for size in x.shape)
    if axis == 1:
        y = tf.matmul(matrix, tf.reshape(x, [batch, rows, columns * channels]))
        return tf.reshape(y, [batch, len(matrix), columns, channels])
    y = tf.matmul(matrix, tf.reshape(x, [batch * rows, columns, channels]))
    return tf.reshape(y, [batch, rows, len(matrix), channels])


RULES: dict[str, Rule] = {"Resize": _resize, "Upsample": _resize}
