"""Matrix products."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..expressions import Call, Expression, Load, Scalar, Tensor
from ..ir import Gather, MatrixProduct
from .importer import Importer, Rule, title_of

if TYPE_CHECKING:
    import onnx_ir as ir


def _product(importer: Importer, node: ir.Node) -> None:
    """Matrices in the last two axes; the axes before are those of a batch, as numpy's matmul."""
    shapes = [importer.shape(value) for value in node.inputs]
    left, right = shapes
    left = (1, *left) if len(left) == 1 else left
    right = (*right, 1) if len(right) == 1 else right
    batch = np.broadcast_shapes(left[:-2], right[:-2])
    sides = [
        _side(importer, node, index, shape, batch) for index, shape in enumerate((left, right))
    ]
    out = importer.result(node)
    count = math.prod(batch)
    made = importer.new(f"{out.name}_product", (count, left[-2], right[-1]))
    importer.add(MatrixProduct(title_of(node), sides[0], sides[1], made))
    importer.tensors[node.outputs[0]] = importer.reshaped(node, made, out.shape)


def _side(
    importer: Importer, node: ir.Node, index: int, shape: Sequence[int], batch: Sequence[int]
) -> Tensor:
    """(batch or 1, rows, columns) of an input."""
    tensor = importer.tensor(node.inputs[index])
    own = math.prod(shape[:-2])
    if own in (1, math.prod(batch)):
        return importer.reshaped(node, tensor, (own, shape[-2], shape[-1]))
    order = np.arange(math.prod(shape), dtype=np.int32).reshape(shape)
    repeated = np.broadcast_to(order, (*batch, *shape[-2:]))
    made = importer.new(f"{tensor.name}_repeated", (math.prod(batch), shape[-2], shape[-1]))
    importer.add(Gather(title_of(node), tensor, made, repeated.ravel()))
    return made


def _gemm(importer: Importer, node: ir.Node) -> None:
    alpha, beta = (float(importer.attribute(node, name, 1.0)) for name in ("alpha", "beta"))
    sides = []
    for index, name in enumerate(("transA", "transB")):
        axes = (1, 0) if importer.attribute(node, name, 0) else (0, 1)
        shape = importer.shape(node.inputs[index])
        form = (1, shape[axes[0]], shape[axes[1]])
        tensor = importer.tensor(node.inputs[index])
        sides.append(_moved(importer, node, tensor, shape, axes, form))
    shape = importer.shape(node.outputs[0])
    made = importer.new("product", (1, shape[0], shape[1]))
    importer.add(MatrixProduct(title_of(node), sides[0], sides[1], made))
    value: Expression = Load(made)
    if alpha != 1.0:
        value = Call("mul", (value, Scalar(alpha)))
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        addend = importer.operand(node.inputs[2], shape, node)
        if beta != 1.0:
            addend = Call("mul", (addend, Scalar(beta)))
        value = Call("add", (value, addend))
    if value == Load(made):
        importer.tensors[node.outputs[0]] = made
    else:
        importer.map(node, value)


def _moved(
    importer: Importer,
    node: ir.Node,
    tensor: Tensor,
    shape: Sequence[int],
    axes: Sequence[int],
    form: tuple[int, int, int],
) -> Tensor:
    order = np.arange(math.prod(shape), dtype=np.int32).reshape(shape).transpose(axes)
    if np.array_equal(order.ravel(), np.arange(order.size)):
        return importer.reshaped(node, tensor, form)
    made = importer.new(f"{tensor.name}_turned", form)
    importer.add(Gather(title_of(node), tensor, made, order.ravel()))
    return made


def _einsum(importer: Importer, node: ir.Node) -> None:
    """Of two tensors, as a product of matrices whose axes are moved together."""
    equation = str(importer.attribute(node, "equation")).replace(" ", "")
    terms, _, result = equation.partition("->")
    left, _, right = terms.partition(",")
    known = set(left) | set(right)
    one_sided = (set(left) ^ set(right)) - set(result)
    repeated = any(len(set(one)) != len(one) for one in (left, right, result))
    if not right or "." in equation or set(result) - known or one_sided or repeated:
        raise importer.refusal(node, f"has the equation '{equation}'")
    both = [axis for axis in left if axis in right]
    batch = [axis for axis in both if axis in result]
    inner = [axis for axis in both if axis not in result]
    rows = [axis for axis in left if axis not in right]
    columns = [axis for axis in right if axis not in left]
    sizes = {
        axis: size
        for term, value in zip((left, right), node.inputs, strict=True)
        for axis, size in zip(term, importer.shape(value), strict=True)
    }
    count, height, depth, width = (
        math.prod(sizes[axis] for axis in group) for group in (batch, rows, inner, columns)
    )
    sides = [
        _moved(
            importer,
            node,
            importer.tensor(value),
            importer.shape(value),
            [term.index(axis) for axis in order],
            form,
        )
        for value, term, order, form in (
            (node.inputs[0], left, [*batch, *rows, *inner], (count, height, depth)),
            (node.inputs[1], right, [*batch, *inner, *columns], (count, depth, width)),
        )
    ]
    made = importer.new("product", (count, height, width))
    importer.add(MatrixProduct(title_of(node), sides[0], sides[1], made))
    given = [*batch, *rows, *columns]
    shape = importer.result(node).shape
    importer.tensors[node.outputs[0]] = _moved(
        importer,
        node,
        made,
        [sizes[axis] for axis in given],
        [given.index(axis) for axis in result],
        shape,
    )


PRODUCT_RULES: dict[str, Rule] = {"MatMul": _product, "Gemm": _gemm, "Einsum": _einsum}
