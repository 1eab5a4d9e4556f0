"""What a TFLite file holds, read without running it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .lazy import require


@dataclass(frozen=True)
class Operator:
    """One operator of a model.

    Attributes:
        kind: As TFLite names it, such as "CONV_2D"; "CUSTOM" for those that are not built in.
        custom_name: Of one that is not built in, else empty.
        inputs, outputs: Indices of tensors; inputs that are left out are not among them.
    """

    kind: str
    custom_name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True)
class TfliteModel:
    """The first graph of a file.

    Attributes:
        operators: In the order in which they run.
        names: Of the tensors, by index.
        constants: Indices of the tensors whose values are stored.
    """

    operators: tuple[Operator, ...]
    names: tuple[str, ...]
    constants: frozenset[int]


def read_tflite(path: Path) -> TfliteModel:
    """Read the graph of a .tflite file that is known to be whole."""
    schema = require("ai_edge_litert.schema_py_generated", purpose="Reading a TFLite model")
    kinds = {
        number: name
        for name, number in vars(schema.BuiltinOperator).items()
        if not name.startswith("_")
    }
    model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    graph = model.subgraphs[0]
    operators = []
    for operator in graph.operators:
        code = model.operatorCodes[operator.opcodeIndex]
        # Numbers above 127 are in the newer field only.
        kind = kinds[max(code.builtinCode, code.deprecatedBuiltinCode)]
        operators.append(
            Operator(
                kind,
                (code.customCode or b"").decode(),
                tuple(int(index) for index in operator.inputs if index >= 0),
                tuple(int(index) for index in operator.outputs),
            )
        )
    stored = (
        index
        for index, tensor in enumerate(graph.tensors)
        if model.buffers[tensor.buffer].data is not None
    )
    names = tuple(tensor.name.decode() for tensor in graph.tensors)
    return TfliteModel(tuple(operators), names, frozenset(stored))
