"""Turns convolutions of a TFLite model into INT8, in memory."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..plan.quant_plan import WeightGrid
from ..plan.weight_grids import covering_grid, grid_that_holds
from .file import BEFORE_ALL, TfliteFile

# They only move values, or add zeros: on quantized values the result is the same.
MOVING = frozenset(
    {"DEPTH_TO_SPACE", "MAX_POOL_2D", "PAD", "RESHAPE", "SLICE", "STRIDED_SLICE", "TRANSPOSE"}
)
# Scale of a summand / scale of the sum: XNNPACK adds within these; TFLite adds all.
LEAST_STEPS, MOST_STEPS = 2.0**-10, 2.0**8
# First version of each operator that takes int8.
VERSIONS = {
    "ADD": 2,
    "CONV_2D": 3,
    "DEPTH_TO_SPACE": 1,
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


@dataclass(frozen=True)
class Grid:
    """Quantization of an activation: real = (quantized value - zero_point) * scale.

    Attributes:
        bits: 8, or 16 with the zero point 0.
    """

    scale: float
    zero_point: int
    bits: int = 8


class TfliteEdit:
    """Quantizes operators of a TFLite file.

    Attributes:
        file: The file that is changed.
    """

    def __init__(self, content: bytes) -> None:
        self.file = TfliteFile(content)
        self._quantized: dict[tuple[int, Grid], int] = {}  # (float tensor, grid) -> int8 tensor
        self._results: dict[int, Grid] = {}  # float output of an INT8 convolution -> grid

    def make_int8(
        self,
        place: int,
        source: Grid,
        weight: WeightGrid | None,
        bias: NDArray[np.float32] | None,
        result: Grid,
    ) -> None:
        """Turn a convolution into INT8. Places must be given in rising order.

        Args:
            place: Index of the operator in the original file.
            source, result: Quantization of its input and its output.
            weight: In ONNX's layout, (O, I/groups, kh, kw); None takes the covering grid.
            bias: (O,); None keeps the bias of the file, if any.
        """
        operator = self.file.operators[place]
        kind = self.file.kind_of(operator)
        inputs = [int(index) for index in operator.inputs]
        output = int(operator.outputs[0])
        weight, bias = self._parameters_of(operator, weight, bias)
        weight = grid_that_holds(weight, bias, source.scale)
        quantized = self._quantized[output, result] = self._add_quantized(output, result)
        operator.inputs = np.array(
            [
                self._int8_of(inputs[0], source),
                self.file.add_weight(weight, kind),
                self.file.add_bias(bias, weight.scales, source.scale),
            ],
            np.int32,
        )
        operator.outputs = np.array([quantized], np.int32)
        operator.opcodeIndex = self.file.opcode(kind, VERSIONS[kind])
        self._results[output] = result
        self.file.insert(place, self._conversion("DEQUANTIZE", quantized, output))

    def make_dynamic(
        self, place: int, weight: WeightGrid | None, bias: NDArray[np.float32] | None
    ) -> None:
        """Let a convolution between float tensors compute in INT8; not for depthwise ones.

        The runtime quantizes the input to 256 steps between its smallest and its largest value in
        each image ("dynamic range quantization" in TFLite's documents).

        Args:
            place, weight, bias: See `make_int8`.
        """
        operator = self.file.operators[place]
        kind = self.file.kind_of(operator)
        assert kind == "CONV_2D"
        weight, bias = self._parameters_of(operator, weight, bias)
        operator.inputs = np.array(
            [
                operator.inputs[0],
                self.file.add_weight(weight, kind),
                self.file.add_float(bias),
            ],
            np.int32,
        )
        operator.opcodeIndex = self.file.opcode(kind, DYNAMIC_VERSION)

    def move_quantized(self) -> None:
        """Let operators that move dequantized values move quantized ones. Call it at the end.

        A pooling then reads and writes a quarter of the bytes, and fewer values are dequantized.
        Operators stay as they are if that would not save conversions, because another operator
        reads the values before they are moved.
        """
        for place, operator in enumerate(self.file.operators):
            result = int(operator.outputs[0])
            if self.file.maker(result) != place:
                continue  # INT8 now: its output is quantized
            grid = self._grid_of(result)
            if grid is None:
                continue
            source = int(operator.inputs[0])
            if (
                self.file.size(result) < self.file.size(source)
                or self.file.count_readers(source) == 1
            ):
                quantized = self._int8_of(result, grid)
                self.file.drop(place)
                self.file.insert(place, self._conversion("DEQUANTIZE", quantized, result))

    # Activations

    def _int8_of(self, tensor: int, grid: Grid) -> int:
        """Index of the quantized form of a float tensor, which is added if it is missing."""
        if (tensor, grid) in self._quantized:
            return self._quantized[tensor, grid]
        place = self.file.maker(tensor)
        maker = self._on_quantized(place, grid)
        quantized = self._add_quantized(tensor, grid)
        if maker is None:
            self.file.insert(place, self._conversion("QUANTIZE", tensor, quantized))
        else:
            maker.outputs = np.array([quantized], np.int32)
            self.file.insert(place, maker)
        self._quantized[tensor, grid] = quantized
        return quantized

    def _grid_of(self, tensor: int) -> Grid | None:
        """Quantization of a float tensor that holds the output of an INT8 convolution, or None."""
        if tensor in self._results:
            return self._results[tensor]
        place = self.file.maker(tensor)
        if self._kind_at(place) not in MOVING - {"PAD"}:
            return None
        return self._grid_of(int(self.file.operators[place].inputs[0]))

    def _on_quantized(self, place: int, grid: Grid) -> Any:
        """A copy of an operator that reads and writes quantized values; None if it cannot.

        They are the quantized values of its float output, except for the rounding of ties.
        """
        kind = self._kind_at(place)
        if kind not in MOVING | {"ADD"}:
            return None
        made = copy.copy(self.file.operators[place])
        sources = [int(index) for index in made.inputs]
        if kind == "ADD":
            grids = [one for one in map(self._grid_of, sources) if one is not None]
            if len(grids) < len(sources) or not all(_adds(one, grid) for one in grids):
                return None
            sources = [self._int8_of(*one) for one in zip(sources, grids, strict=True)]
        else:
            # Padding belongs to the convolution in ONNX: its input is not padded yet.
            is_quantized = (sources[0], grid) in self._quantized or self._grid_of(
                sources[0]
            ) == grid
            if kind != "PAD" and not is_quantized:
                return None
            sources[0] = self._int8_of(sources[0], grid)
        made.inputs = np.array(sources, np.int32)
        made.opcodeIndex = self.file.opcode(kind, VERSIONS[kind])
        return made

    def _kind_at(self, place: int) -> str:
        return "" if place == BEFORE_ALL else self.file.kind_of(self.file.operators[place])

    def _add_quantized(self, tensor: int, grid: Grid) -> int:
        quantization = self.file.quantization([grid.scale], [grid.zero_point], 0)
        return self.file.add_codes_like(tensor, quantization)

    def _conversion(self, kind: str, source: int, result: int) -> Any:
        return self.file.conversion(kind, VERSIONS[kind], source, result)

    # Constants

    def _parameters_of(
        self, operator: Any, weight: WeightGrid | None, bias: NDArray[np.float32] | None
    ) -> tuple[WeightGrid, NDArray[np.float32]]:
        """Weight and bias of a convolution; those of the file replace missing ones."""
        inputs = [int(index) for index in operator.inputs]
        if weight is None:
            weight = covering_grid(self.file.onnx_weight(inputs[1], self.file.kind_of(operator)))
        if bias is None:
            bias = self.file.bias_of(inputs, len(weight.scales))
        return weight, bias


def _adds(source: Grid, result: Grid) -> bool:
    return LEAST_STEPS <= source.scale / result.scale < MOST_STEPS
