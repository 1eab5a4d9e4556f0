"""Constants and shapes of an ONNX graph in memory, as `onnx_ir` holds it."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from ..lazy import require


def add_constant(graph: Any, name: str, content: NDArray[Any]) -> Any:
    """Store an array in a graph.

    Args:
        graph: An `onnx_ir.Graph`, changed in place.
        name: Of the constant; one of the same name is no longer the graph's.
        content: Its shape and type become those of the value.

    Returns:
        The new `onnx_ir.Value`, an initializer of the graph.
    """
    ir = require("onnx_ir", purpose="Changing an ONNX graph")
    tensor = ir.tensor(content, name=name)
    value = ir.Value(name=name, const_value=tensor, shape=tensor.shape)
    value.dtype = tensor.dtype
    graph.initializers[name] = value
    return value


def is_constant(value: Any) -> bool:
    """Whether an `onnx_ir.Value` is stored in its graph; an input left out (None) is not."""
    return value is not None and value.const_value is not None


def constant_of(value: Any) -> NDArray[Any]:
    """Content of a constant `onnx_ir.Value`.

    Raises:
        ValueError: The value is computed.
    """
    if not is_constant(value):
        raise ValueError(f"{value} is no constant.")
    content: NDArray[Any] = value.const_value.numpy()
    return content


def fixed_shape(value: Any) -> tuple[int, ...] | None:
    """Sizes of all axes of an `onnx_ir.Value`; None unless all are known."""
    if value.shape is None or not all(isinstance(size, int) for size in value.shape):
        return None
    return tuple(value.shape)
