"""Makes convolutions of a TFLite model INT8, in memory."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseg.errors import CalibrationError
from edgeseg.lazy import require

from .litert_matching import LAYOUTS, PURPOSE
from .plan import WeightGrid
from .weight_grids import covering_grid

# They give values that they got, and nothing else but zeros: done on codes, the result is the same.
MOVING = frozenset({"MAX_POOL_2D", "PAD", "RESHAPE", "SLICE", "STRIDED_SLICE", "TRANSPOSE"})
# Of operators, the first whose codes are int8.
VERSIONS = {
    "CONV_2D": 3,
    "DEPTHWISE_CONV_2D": 3,
    "DEQUANTIZE": 2,
    "MAX_POOL_2D": 2,
    "PAD": 2,
    "RESHAPE": 1,
    "SLICE": 2,
    "STRIDED_SLICE": 2,
    "TRANSPOSE": 2,
    "QUANTIZE": 1,
}
DYNAMIC_VERSION = 5  # of CONV_2D, with int8 weights by channel between float activations
BEFORE_ALL = -1  # place of what follows no operator
LARGEST_BIAS_CODE = 2**30


@dataclass(frozen=True)
class Grid:
    """Codes of an activation: real = (code - zero_point) * scale."""

    scale: float
    zero_point: int


class TfliteEdit:
    """A TFLite file whose first graph is being changed."""

    def __init__(self, content: bytes) -> None:
        self._schema = require("ai_edge_litert.schema_py_generated", purpose=PURPOSE)
        self._model = self._schema.ModelT.InitFromPackedBuf(content, 0)
        self._graph = self._model.subgraphs[0]
        self._operators = list(self._graph.operators)  # as they were: places are indices of these
        self._after: dict[int, list[Any]] = {}  # what was put in, by the place that it follows
        self._codes: dict[tuple[int, Grid], int] = {}  # (float tensor, grid) -> int8 tensor
        self._maker = {
            int(index): place
            for place, operator in enumerate(self._operators)
            for index in operator.outputs
        }
        self._kinds: dict[int, str] = {
            number: name
            for name, number in vars(self._schema.BuiltinOperator).items()
            if not name.startswith("_")
        }

    def make_int8(
        self,
        place: int,
        source: Grid,
        weight: WeightGrid | None,
        bias: NDArray[np.float32] | None,
        result: Grid,
    ) -> None:
        """Let a convolution read and give codes. Places must be given in rising order.

        Args:
            place: Index of the operator in the file as it was.
            source, result: Codes that it reads and gives.
            weight: As ONNX lays it out, (O, I/groups, kh, kw); None takes the covering grid.
            bias: (O,); None takes the one that is there, if any.
        """
        operator = self._operators[place]
        kind = self._kind_of(operator)
        inputs = [int(index) for index in operator.inputs]
        output = int(operator.outputs[0])
        weight, bias = self._parameters_of(operator, weight, bias)
        scales = _scales_that_hold(
            weight, bias, source.scale, self._graph.tensors[output].name.decode()
        )
        codes = self._quantized_output(output, result)
        operator.inputs = np.array(
            [
                self._int8_of(inputs[0], source),
                self._add_weight(weight, scales, kind),
                self._add_bias(bias, scales, source.scale),
            ],
            np.int32,
        )
        operator.outputs = np.array([codes], np.int32)
        operator.opcodeIndex = self._opcode(kind)
        self._insert(place, self._conversion("DEQUANTIZE", codes, output))

    def make_dynamic(
        self, place: int, weight: WeightGrid | None, bias: NDArray[np.float32] | None
    ) -> None:
        """Let a convolution, but no depthwise one, read and give float, and compute on codes.

        The runtime rounds what it reads to 256 steps between the smallest and the largest value of
        the image at hand ("dynamic range quantization" in TFLite's documents).

        Args:
            place, weight, bias: As of `make_int8`.
        """
        operator = self._operators[place]
        kind = self._kind_of(operator)
        assert kind == "CONV_2D"
        weight, bias = self._parameters_of(operator, weight, bias)
        operator.inputs = np.array(
            [
                operator.inputs[0],
                self._add_weight(weight, weight.scales, kind),
                self._add_constant(bias, self._schema.TensorType.FLOAT32, None),
            ],
            np.int32,
        )
        operator.opcodeIndex = self._opcode(kind, DYNAMIC_VERSION)

    def count(self, *kinds: str) -> int:
        """How many operators of some kinds the model has; right after `packed`."""
        return sum(self._kind_of(operator) in kinds for operator in self._graph.operators)

    def packed(self) -> bytes:
        """The file, without what nothing reads any more."""
        flatbuffers = require("flatbuffers", purpose=PURPOSE)
        ordered = list(self._after.get(BEFORE_ALL, ()))
        for place, operator in enumerate(self._operators):
            ordered += [operator, *self._after.get(place, ())]
        self._graph.operators = self._needed(ordered)
        self._drop_tensors()
        self._drop_buffers()
        builder = flatbuffers.Builder(0)
        builder.Finish(self._model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    # Activations

    def _quantized_output(self, tensor: int, grid: Grid) -> int:
        codes = self._add_int8_like(tensor, grid)
        self._codes[tensor, grid] = codes
        return codes

    def _int8_of(self, tensor: int, grid: Grid) -> int:
        """The tensor with the codes of a float one, made where there is none yet."""
        if (tensor, grid) in self._codes:
            return self._codes[tensor, grid]
        place = self._maker.get(tensor, BEFORE_ALL)
        moved = self._moved(place, grid)
        codes = self._add_int8_like(tensor, grid)
        if moved is None:
            self._insert(place, self._conversion("QUANTIZE", tensor, codes))
        else:
            moved.outputs = np.array([codes], np.int32)
            self._insert(place, moved)
        self._codes[tensor, grid] = codes
        return codes

    def _moved(self, place: int, grid: Grid) -> Any:
        """A copy, on codes, of an operator that only moves values; None for others.

        Padding belongs to the convolution in ONNX, which reads what is not padded yet.
        """
        if place == BEFORE_ALL or self._kind_of(self._operators[place]) not in MOVING:
            return None
        maker = self._operators[place]
        kind, source = self._kind_of(maker), int(maker.inputs[0])
        if kind != "PAD" and (source, grid) not in self._codes:
            return None
        moved = copy.copy(maker)
        moved.inputs = np.array(maker.inputs, np.int32)
        moved.inputs[0] = self._int8_of(source, grid)
        moved.opcodeIndex = self._opcode(kind)
        return moved

    def _add_int8_like(self, tensor: int, grid: Grid) -> int:
        like = self._graph.tensors[tensor]
        made = copy.copy(like)
        made.name = like.name + f"_int8_{len(self._graph.tensors)}".encode()
        made.type = self._schema.TensorType.INT8
        made.buffer = 0
        made.quantization = self._parameters([grid.scale], [grid.zero_point], 0)
        self._graph.tensors.append(made)
        return len(self._graph.tensors) - 1

    def _conversion(self, kind: str, source: int, result: int) -> Any:
        operator = self._schema.OperatorT()
        operator.opcodeIndex = self._opcode(kind)
        operator.inputs = np.array([source], np.int32)
        operator.outputs = np.array([result], np.int32)
        return operator

    def _insert(self, place: int, operator: Any) -> None:
        self._after.setdefault(place, []).append(operator)

    # Constants

    def _parameters_of(
        self, operator: Any, weight: WeightGrid | None, bias: NDArray[np.float32] | None
    ) -> tuple[WeightGrid, NDArray[np.float32]]:
        """Weight and bias of a convolution, those that are there where none is given."""
        inputs = [int(index) for index in operator.inputs]
        if weight is None:
            weight = covering_grid(self._onnx_weight(inputs[1], self._kind_of(operator)))
        if bias is None:
            has_bias = len(inputs) > 2 and inputs[2] >= 0
            bias = self._constant(inputs[2]) if has_bias else np.zeros(len(weight.scales), "f4")
        return weight, bias

    def _constant(self, tensor: int) -> NDArray[np.float32]:
        found = self._graph.tensors[tensor]
        content = self._model.buffers[found.buffer].data
        return np.frombuffer(content.tobytes(), np.float32).reshape(found.shape)

    def _onnx_weight(self, tensor: int, kind: str) -> NDArray[np.float32]:
        return self._constant(tensor).transpose(np.argsort(LAYOUTS[kind]))

    def _add_weight(self, weight: WeightGrid, scales: NDArray[np.float32], kind: str) -> int:
        codes = np.ascontiguousarray(weight.codes.transpose(LAYOUTS[kind]))
        channel_axis = LAYOUTS[kind].index(0)
        parameters = self._parameters(scales, np.zeros(len(scales), np.int64), channel_axis)
        return self._add_constant(codes, self._schema.TensorType.INT8, parameters)

    def _add_bias(
        self, bias: NDArray[np.float32], scales: NDArray[np.float32], source_scale: float
    ) -> int:
        steps = (scales * np.float32(source_scale)).astype(np.float32)
        codes = np.rint(bias.astype(np.float64) / steps).astype(np.int32)
        parameters = self._parameters(steps, np.zeros(len(steps), np.int64), 0)
        return self._add_constant(codes, self._schema.TensorType.INT32, parameters)

    def _add_constant(self, content: NDArray[Any], kind: int, parameters: Any) -> int:
        buffer = self._schema.BufferT()
        buffer.data = np.frombuffer(content.tobytes(), np.uint8)
        self._model.buffers.append(buffer)
        tensor = self._schema.TensorT()
        tensor.name = f"int8_constant_{len(self._graph.tensors)}".encode()
        tensor.shape = np.array(content.shape, np.int32)
        tensor.type, tensor.quantization = kind, parameters
        tensor.buffer = len(self._model.buffers) - 1
        self._graph.tensors.append(tensor)
        return len(self._graph.tensors) - 1

    def _parameters(self, scales: Any, zero_points: Any, axis: int) -> Any:
        parameters = self._schema.QuantizationParametersT()
        parameters.scale = np.asarray(scales, np.float32)
        parameters.zeroPoint = np.asarray(zero_points, np.int64)
        parameters.quantizedDimension = axis
        return parameters

    # Operator kinds

    def _kind_of(self, operator: Any) -> str:
        code = self._model.operatorCodes[operator.opcodeIndex]
        # Numbers above 127 are in the newer field only.
        return self._kinds[max(code.builtinCode, code.deprecatedBuiltinCode)]

    def _opcode(self, kind: str, version: int = 0) -> int:
        """Index of the kind's code in that version or a later one (0: the first with int8)."""
        number, version = getattr(self._schema.BuiltinOperator, kind), version or VERSIONS[kind]
        for index, code in enumerate(self._model.operatorCodes):
            if code.builtinCode == number and code.version >= version:
                return index
        made = self._schema.OperatorCodeT()
        made.builtinCode, made.version = number, version
        made.deprecatedBuiltinCode = min(number, 127)
        self._model.operatorCodes.append(made)
        return len(self._model.operatorCodes) - 1

    # What nothing reads

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


def _scales_that_hold(
    weight: WeightGrid, bias: NDArray[np.float32], source_scale: float, name: str
) -> NDArray[np.float32]:
    """Scales of the weights; those of channels without weights grow until biases fit in int32.

    Args:
        name: Of the convolution's result, for the message.

    Raises:
        CalibrationError: A bias is too large for the steps of its channel.
    """
    least = (np.abs(bias) / (LARGEST_BIAS_CODE * source_scale)).astype(np.float32)
    is_empty = ~weight.codes.reshape(len(weight.codes), -1).any(axis=1)
    too_large = np.flatnonzero((least > weight.scales) & ~is_empty)
    if too_large.size:
        channel = int(too_large[0])
        raise CalibrationError(
            f"The bias {bias[channel]:.3g} of channel {channel} of {name} is more than 2^30 steps "
            f"of its weights ({weight.scales[channel]:.1e} each), which int32 does not hold. Prune "
            "that channel, whose weights are nearly dead, or build without --method."
        )
    return np.where(is_empty, np.maximum(weight.scales, least), weight.scales)
