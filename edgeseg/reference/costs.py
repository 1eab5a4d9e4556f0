"""What the parts of an exported graph cost at least: products that are added up, and bytes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..formats.onnx import MODULE
from ..formats.onnx_files.costs import products_of, size_of
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
        owner: ModuleCost(count, FLOAT_BYTES * sum(map(size_of, moved[owner])))
        for owner, count in products.items()
    }


def cut(module: str, depth: int) -> str:
    """A dotted name down to a depth."""
    return ".".join(module.split(".")[:depth])
