"""A TFLite file in memory, whose first graph is changed operator by operator."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseg.formats.tflite import unpack_tflite
from edgeseg.lazy import require

from ..plan.quant_plan import WeightGrid
from .matching import LAYOUTS

PURPOSE = "Quantising for litert"
BEFORE_ALL = -1  # place of operators that follow no other operator


class TfliteFile:
    """A TFLite graph with inserted and removed operators.

    An operator is known by its place in the original file; inserted operators follow such a place.
    Operators and tensors that nothing reads any more are left out when the file is packed.

    Attributes:
        schema: The classes of the format.
        operators: The original operators, which may be changed.
    """

    def __init__(self, content: bytes) -> None:
        self.schema = require("ai_edge_litert.schema_py_generated", purpose=PURPOSE)
        self._model = unpack_tflite(content)
        self._graph = self._model.subgraphs[0]
        self.operators = list(self._graph.operators)
        self._after: dict[int, list[Any]] = {}  # inserted operators by the place that they follow
        self._dropped: set[int] = set()
        self._maker = {
            int(index): place
            for place, operator in enumerate(self.operators)
            for index in operator.outputs
        }
        self._kinds: dict[int, str] = {
            number: name
            for name, number in vars(self.schema.BuiltinOperator).items()
            if not name.startswith("_")
        }

    def kind_of(self, operator: Any) -> str:
        code = self._model.operatorCodes[operator.opcodeIndex]
        # Numbers above 127 are in the newer field only.
        return self._kinds[max(code.builtinCode, code.deprecatedBuiltinCode)]

    def maker(self, tensor: int) -> int:
        """Place of the operator that computes a tensor; BEFORE_ALL for inputs and constants."""
        return self._maker.get(tensor, BEFORE_ALL)

    @property
    def inputs(self) -> list[int]:
        """What the model takes."""
        return [int(index) for index in self._graph.inputs]

    @property
    def outputs(self) -> list[int]:
        """What the model gives."""
        return [int(index) for index in self._graph.outputs]

    def is_float(self, tensor: int) -> bool:
        return bool(self._graph.tensors[tensor].type == self.schema.TensorType.FLOAT32)

    def size(self, tensor: int) -> int:
        """Number of values of a tensor."""
        return int(np.prod(self._graph.tensors[tensor].shape))

    def count_readers(self, tensor: int) -> int:
        """How many of the original operators read a tensor now."""
        return sum(tensor in operator.inputs for operator in self.operators)

    def name(self, tensor: int) -> str:
        return str(self._graph.tensors[tensor].name.decode())

    def is_constant(self, tensor: int) -> bool:
        return self._model.buffers[self._graph.tensors[tensor].buffer].data is not None

    def constant(self, tensor: int) -> NDArray[Any]:
        """The stored values of a tensor, which may be float, int8, int32 or int64."""
        found = self._graph.tensors[tensor]
        content = self._model.buffers[found.buffer].data
        types = self.schema.TensorType
        kinds = {
            types.FLOAT32: np.float32,
            types.INT8: np.int8,
            types.INT32: np.int32,
            types.INT64: np.int64,
        }
        shape = () if found.shape is None else found.shape
        return np.frombuffer(content.tobytes(), kinds[found.type]).reshape(shape)

    def replace_constant(self, tensor: int, content: NDArray[np.float32]) -> None:
        """Store other values of the same shape in a float tensor, and in no other."""
        buffer = self.schema.BufferT()
        buffer.data = np.frombuffer(content.tobytes(), np.uint8)
        self._model.buffers.append(buffer)
        self._graph.tensors[tensor].buffer = len(self._model.buffers) - 1

    def insert(self, place: int, operator: Any) -> None:
        """Insert an operator after a place, and after the operators that compute its inputs."""
        self._after.setdefault(place, []).append(operator)

    def drop(self, place: int) -> None:
        """Remove the original operator at a place."""
        self._dropped.add(place)

    def opcode(self, kind: str, version: int) -> int:
        """Index of the operator code of a kind, in that version or a later one."""
        number = getattr(self.schema.BuiltinOperator, kind)
        for index, code in enumerate(self._model.operatorCodes):
            known = max(code.builtinCode, code.deprecatedBuiltinCode)
            if known == number and code.version >= version:
                return index
        made = self.schema.OperatorCodeT()
        made.builtinCode, made.version = number, version
        made.deprecatedBuiltinCode = min(number, 127)
        self._model.operatorCodes.append(made)
        return len(self._model.operatorCodes) - 1

    def add_codes_like(self, tensor: int, quantization: Any, bits: int = 8) -> int:
        """Add an int8 or int16 tensor with the shape of another tensor; returns its index."""
        like = self._graph.tensors[tensor]
        made = copy.copy(like)
        made.name = like.name + f"_int{bits}_{len(self._graph.tensors)}".encode()
        made.type = getattr(self.schema.TensorType, f"INT{bits}")
        made.buffer = 0
        made.quantization = quantization
        self._graph.tensors.append(made)
        return len(self._graph.tensors) - 1

    def add_constant(self, content: NDArray[Any], kind: int, quantization: Any) -> int:
        """Add a tensor of stored values; returns its index."""
        buffer = self.schema.BufferT()
        buffer.data = np.frombuffer(content.tobytes(), np.uint8)
        self._model.buffers.append(buffer)
        tensor = self.schema.TensorT()
        tensor.name = f"int8_constant_{len(self._graph.tensors)}".encode()
        tensor.shape = np.array(content.shape, np.int32)
        tensor.type, tensor.quantization = kind, quantization
        tensor.buffer = len(self._model.buffers) - 1
        self._graph.tensors.append(tensor)
        return len(self._graph.tensors) - 1

    def add_float(self, content: NDArray[np.float32]) -> int:
        """Add a tensor of stored real values; returns its index."""
        return self.add_constant(content, self.schema.TensorType.FLOAT32, None)

    def quantization(self, scales: Any, zero_points: Any, axis: int = 0) -> Any:
        """Parameters of a quantized tensor; `axis` is that of several scales."""
        parameters = self.schema.QuantizationParametersT()
        parameters.scale = np.asarray(scales, np.float32)
        parameters.zeroPoint = np.asarray(zero_points, np.int64)
        parameters.quantizedDimension = axis
        return parameters

    def conversion(self, kind: str, version: int, source: int, result: int) -> Any:
        """An operator from one tensor to another, such as QUANTIZE; it is not inserted yet."""
        operator = self.schema.OperatorT()
        operator.opcodeIndex = self.opcode(kind, version)
        operator.inputs = np.array([source], np.int32)
        operator.outputs = np.array([result], np.int32)
        return operator

    def onnx_weight(self, tensor: int, kind: str) -> NDArray[np.float32]:
        """The weight of a convolution of a kind in ONNX's layout, (O, I/groups, kh, kw)."""
        return self.constant(tensor).transpose(np.argsort(LAYOUTS[kind]))

    def bias_of(self, inputs: Sequence[int], channels: int) -> NDArray[np.float32]:
        """The bias of a convolution with those inputs, (O,); zeros where it has none."""
        has_bias = len(inputs) > 2 and inputs[2] >= 0
        return self.constant(inputs[2]) if has_bias else np.zeros(channels, np.float32)

    def add_weight(self, weight: WeightGrid, kind: str) -> int:
        """Add the weight of a convolution of a kind; returns its index."""
        values = np.ascontiguousarray(weight.values.transpose(LAYOUTS[kind]))
        zeros = np.zeros(len(weight.scales), np.int64)
        quantization = self.quantization(weight.scales, zeros, LAYOUTS[kind].index(0))
        return self.add_constant(values, self.schema.TensorType.INT8, quantization)

    def add_bias(
        self,
        bias: NDArray[np.float32],
        scales: NDArray[np.float32],
        source_scale: float,
        *,
        bits: int = 32,
    ) -> int:
        """Add a bias in steps of the input times those of the weights; returns its index.

        Args:
            bits: 32, or 64 for a convolution on int16.
        """
        steps = (scales * np.float32(source_scale)).astype(np.float32)
        values = np.rint(bias.astype(np.float64) / steps).astype(f"int{bits}")
        quantization = self.quantization(steps, np.zeros(len(steps), np.int64))
        kind = getattr(self.schema.TensorType, f"INT{bits}")
        return self.add_constant(values, kind, quantization)

    def count(self, *kinds: str) -> int:
        """How many operators of some kinds the model has; call it right after `packed`."""
        return sum(self.kind_of(operator) in kinds for operator in self._graph.operators)

    def packed(self) -> bytes:
        """Content of the file, without unused operators and tensors."""
        flatbuffers = require("flatbuffers", purpose=PURPOSE)
        ordered = list(self._after.get(BEFORE_ALL, ()))
        for place, operator in enumerate(self.operators):
            ordered += [] if place in self._dropped else [operator]
            ordered += self._after.get(place, ())
        self._graph.operators = self._needed(_after_their_makers(ordered))
        self._drop_tensors()
        self._drop_buffers()
        builder = flatbuffers.Builder(0)
        builder.Finish(self._model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    # Unused operators and tensors

    def _needed(self, operators: list[Any]) -> list[Any]:
        wanted = {int(index) for index in self._graph.outputs}
        kept = []
        for operator in reversed(operators):
            if wanted.intersection(int(index) for index in operator.outputs):
                kept.append(operator)
                wanted.update(int(index) for index in operator.inputs)
        return kept[::-1]

    def _drop_tensors(self) -> None:
        graph = self._graph
        lists = [graph.inputs, graph.outputs]
        for operator in graph.operators:
            lists += [operator.inputs, operator.outputs]
        used = sorted({int(index) for one in lists for index in one if index >= 0})
        renamed = {old: new for new, old in enumerate(used)} | {-1: -1}
        graph.inputs, graph.outputs = (
            np.array([renamed[int(index)] for index in one], np.int32) for one in lists[:2]
        )
        for operator in graph.operators:
            operator.inputs = np.array([renamed[int(i)] for i in operator.inputs], np.int32)
            operator.outputs = np.array([renamed[int(i)] for i in operator.outputs], np.int32)
        for signature in self._model.signatureDefs or ():
            for entry in (*signature.inputs, *signature.outputs):
                entry.tensorIndex = renamed[entry.tensorIndex]
        graph.tensors = [graph.tensors[index] for index in used]

    def _drop_buffers(self) -> None:
        model = self._model
        holders = [*self._graph.tensors, *(model.metadata or ())]
        used = sorted({0, *(holder.buffer for holder in holders)})
        renamed = {old: new for new, old in enumerate(used)}
        for holder in holders:
            holder.buffer = renamed[holder.buffer]
        model.buffers = [model.buffers[index] for index in used]


def _after_their_makers(operators: list[Any]) -> list[Any]:
    """Operators in the same order, but each after the operators that compute its inputs."""
    makers = {int(index): operator for operator in operators for index in operator.outputs}
    ordered: dict[int, Any] = {}  # by identity

    def put(operator: Any) -> None:
        for index in operator.inputs:
            maker = makers.get(int(index))
            if maker is not None and id(maker) not in ordered:
                put(maker)
        ordered[id(operator)] = operator

    for operator in operators:
        if id(operator) not in ordered:
            put(operator)
    return list(ordered.values())
