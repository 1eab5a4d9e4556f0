"""Constants, shapes and contracts of an ONNX graph in memory, as `onnx_ir` holds it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from ..contract import InputContract, OutputContract
from ..lazy import require
from ..storage.reading import parse_json

if TYPE_CHECKING:
    import onnx_ir as ir

CONTRACT = "edgeseg.contract"  # of a model's metadata
MODULE = "edgeseg.module"  # of a node's metadata: the torch module that it was exported of


def contract_text(inputs: InputContract, outputs: OutputContract) -> str:
    """What stands under `CONTRACT` in a model's metadata: how pictures become its input."""
    return json.dumps({"input": inputs.to_json(), "output": outputs.to_json()}, sort_keys=True)


def read_contracts(model: ir.Model) -> tuple[InputContract, OutputContract] | None:
    """What `contract_text` gave; None for a model of somebody else."""
    text = model.metadata_props.get(CONTRACT)
    if text is None:
        return None
    record = parse_json(text)
    return InputContract.from_json(record["input"]), OutputContract.from_json(record["output"])


def forget_modules(graph: ir.Graph) -> None:
    """Take the names of torch modules out of a graph that is shipped, in place."""
    for node in graph:
        node.metadata_props.pop(MODULE, None)


def add_constant(graph: ir.Graph, name: str, content: NDArray[Any]) -> ir.Value:
    """Store an array in a graph.

    Args:
        graph: Changed in place.
        name: Name of the constant; it replaces a constant of that name.
        content: Gives the value its shape and type.

    Returns:
        The new value, an initializer of the graph.
    """
    onnx_ir = require("onnx_ir", purpose="Changing an ONNX graph")
    tensor = onnx_ir.tensor(content, name=name)
    value: ir.Value = onnx_ir.Value(name=name, const_value=tensor, shape=tensor.shape)
    value.dtype = tensor.dtype
    graph.initializers[name] = value
    return value


def is_constant(value: ir.Value | None) -> bool:
    """Whether a value is stored in its graph; an input that was left out (None) is not."""
    return value is not None and value.const_value is not None


def constant_of(value: ir.Value | None) -> NDArray[Any]:
    """Content of a constant.

    Raises:
        ValueError: The value is computed, or left out.
    """
    if value is None or value.const_value is None:
        raise ValueError(f"{value} is no constant.")
    content: NDArray[Any] = value.const_value.numpy()
    return content


def fixed_shape(value: ir.Value | None) -> tuple[int, ...] | None:
    """Sizes of all axes of a value; None unless all are known."""
    if value is None or value.shape is None:
        return None
    sizes = [size for size in value.shape if isinstance(size, int)]
    return tuple(sizes) if len(sizes) == len(value.shape) else None


def name_of(value: ir.Value | None) -> str:
    """Name of a value of a graph in which every value has one; empty for an input left out."""
    return "" if value is None or value.name is None else value.name


def input_of(node: ir.Node, index: int = 0) -> ir.Value:
    """An input that the operator has.

    Raises:
        ValueError: The input is left out.
    """
    value = node.inputs[index]
    if value is None:
        raise ValueError(f"{node.op_type} '{node.name}' has no input {index}.")
    return value
