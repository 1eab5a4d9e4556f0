"""What the parts of an exported graph cost at least: products that are added up, and bytes."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from ..formats.onnx import MODULE
from ..lazy import require
from .modules import NETWORK

if TYPE_CHECKING:
    import onnx_ir as ir

FLOAT_BYTES = 4
PURPOSE = "Counting the work of a graph"


@dataclass(frozen=True)
class ModuleCost:
    """What a module costs at least.

    Attributes:
        products: Of convolutions and matrix products, that are added up.
        bytes: In FP32 of what it reads from other modules, of its weights, and of what others read:
            what is used inside only may stay in registers and caches.
    """

    products: int
    bytes: int


def module_costs(onnx_path: Path, depth: int) -> dict[str, ModuleCost]:
    """The cost of each module down to a depth, by its name cut there."""
    onnx_ir = require("onnx_ir", purpose=PURPOSE)
    onnx = require("onnx", purpose=PURPOSE)
    proto = onnx.shape_inference.infer_shapes(onnx.load(onnx_path))
    graph = onnx_ir.from_proto(proto).graph
    owners = {node: cut(node.metadata_props.get(MODULE, NETWORK), depth) for node in graph}
    products: dict[str, int] = {}
    moved: dict[str, set[ir.Value]] = {}
    for node, owner in owners.items():
        products[owner] = products.get(owner, 0) + products_of(node)
        values = moved.setdefault(owner, set())
        for value in node.inputs:
            producer = value.producer() if value is not None else None
            if value is not None and owners.get(producer) != owner:
                values.add(value)
        for value in node.outputs:
            readers = [reader for reader, _ in value.uses()]
            if not readers or any(owners.get(reader) != owner for reader in readers):
                values.add(value)
    return {
        owner: ModuleCost(count, FLOAT_BYTES * sum(map(_size_of, moved[owner])))
        for owner, count in products.items()
    }


def cut(module: str, depth: int) -> str:
    """A dotted name down to a depth."""
    return ".".join(module.split(".")[:depth])


def products_of(node: ir.Node) -> int:
    """How many products a node adds up; 0 where it is no convolution and no matrix product."""
    if node.op_type == "Conv":
        return _size_of(node.outputs[0]) * prod(_shape_of(node.inputs[1])[1:])
    if node.op_type == "ConvTranspose":
        return _size_of(node.inputs[0]) * prod(_shape_of(node.inputs[1])[1:])
    if node.op_type == "MatMul":
        return _size_of(node.outputs[0]) * (_shape_of(node.inputs[0]) or [1])[-1]
    if node.op_type == "Gemm":
        turned = node.attributes.get("transA")
        shape = _shape_of(node.inputs[0])
        inner = shape[0] if turned is not None and turned.as_int() else shape[-1]
        return _size_of(node.outputs[0]) * inner
    return 0


def _size_of(value: ir.Value | None) -> int:
    """Elements; 0 where the shape is not known."""
    shape = _shape_of(value)
    return prod(shape) if shape else int(value is not None and value.shape is not None)


def _shape_of(value: ir.Value | None) -> list[int]:
    if value is None or value.shape is None:
        return []
    sizes = list(value.shape.dims)
    return [size for size in sizes if isinstance(size, int)] if _is_known(sizes) else [0]


def _is_known(sizes: object) -> bool:
    return isinstance(sizes, list) and all(isinstance(size, int) for size in sizes)
