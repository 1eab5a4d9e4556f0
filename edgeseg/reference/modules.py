"""Which torch module the nodes of a rewritten graph stand for.

A rewrite puts nodes in the place of others. Each new node belongs to the module whose value it
makes, or helps to make: the first value behind it that was there before the rewrite.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..formats.onnx import MODULE
from ..lazy import require
from ..lower.rewrites import find_rewrite, rewrite_names

if TYPE_CHECKING:
    import onnx_ir as ir

# What rewrites, quantisers and runtimes put behind the name of a value that they replace.
DERIVED = re.compile(r"(_l\d+|_out|_moved|_QuantizeLinear|_DequantizeLinear|_nchwc)$")
NETWORK = "(network)"  # what stands in no module but in the network's own forward


def modules_by_name(onnx_path: Path, rewrites: Sequence[str] = ()) -> dict[str, str]:
    """The module of each node and of each value, by the names of the exported graph and of all
    graphs that the rewrites make of it.

    Args:
        rewrites: Names; they are applied in the order of `rewrite_names`.
    """
    model = require("onnx_ir", purpose="Naming modules").load(onnx_path)
    for node in model.graph:
        node.metadata_props.setdefault(MODULE, NETWORK)
    modules = _names_of(model.graph)
    wanted = {name: find_rewrite(name) for name in rewrites}
    for name in rewrite_names():
        if name in wanted:
            before = _producers(model.graph)
            wanted[name](model)
            _name_new_nodes(model.graph, before)
            modules = {**_names_of(model.graph), **modules}
    return modules


def _producers(graph: ir.Graph) -> dict[str, str]:
    """The module that makes each value, by the value's name."""
    return {
        value.name: node.metadata_props[MODULE]
        for node in graph
        for value in node.outputs
        if value.name
    }


def _names_of(graph: ir.Graph) -> dict[str, str]:
    names = {node.name: node.metadata_props[MODULE] for node in graph if node.name}
    return {**names, **_producers(graph)}


def _name_new_nodes(graph: ir.Graph, before: dict[str, str]) -> None:
    """Name the module of each node that has none, in place.

    Args:
        before: Modules that made each value, before the rewrite.
    """
    nodes = list(graph)
    # From the end, so that whoever reads a value is named before who makes it.
    for node in reversed(nodes):
        if MODULE in node.metadata_props:
            continue
        made = [module_of(value.name or "", before) for value in node.outputs]
        readers = [
            reader.metadata_props[MODULE]
            for value in node.outputs
            for reader, _ in value.uses()
            if MODULE in reader.metadata_props
        ]
        module = next((name for name in (*made, *readers) if name is not None), None)
        if module is not None:
            node.metadata_props[MODULE] = module
    for node in nodes:
        node.metadata_props.setdefault(MODULE, NETWORK)


def module_of(name: str, modules: Mapping[str, str]) -> str | None:
    """The module of a node or value, also by a name that was derived from its; None if unknown."""
    name = name.partition("/")[0]
    while name not in modules:
        shorter = DERIVED.sub("", name)
        if shorter == name:
            return None
        name = shorter
    return modules[name]
