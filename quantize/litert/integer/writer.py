"""Turns every operator of a TFLite model into one on integers, in memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from edgeseg.errors import CalibrationError

from ...plan.weight_grids import covering_grid, grid_that_holds
from ..edit import Grid
from ..file import TfliteFile
from ..matching import LAYOUTS
from .grids import JOINING, grid_of_constant, quantized

# First version of each operator that takes int8. Others have no such kernel.
VERSIONS = {
    "ADD": 2,
    "AVERAGE_POOL_2D": 2,
    "CONCATENATION": 2,
    "CONV_2D": 3,
    "DEPTHWISE_CONV_2D": 3,
    "DEPTH_TO_SPACE": 1,
    "GELU": 1,
    "HARD_SWISH": 1,
    "LEAKY_RELU": 2,
    "LOGISTIC": 2,
    "MAX_POOL_2D": 2,
    "MEAN": 2,
    "MUL": 2,
    "PAD": 2,
    "PRELU": 1,
    "RELU": 2,
    "RESHAPE": 1,
    "RESIZE_BILINEAR": 2,
    "RESIZE_NEAREST_NEIGHBOR": 2,
    "SLICE": 2,
    "SOFTMAX": 2,
    "SPACE_TO_DEPTH": 1,
    "SPLIT": 2,
    "STRIDED_SLICE": 2,
    "SUB": 2,
    "SUM": 2,
    "TANH": 2,
    "TRANSPOSE": 2,
}
CONVERSIONS = {"QUANTIZE": 2, "DEQUANTIZE": 2}  # from one grid to another, too
NEGATION = "NEG"  # has no int8 kernel: it becomes a product with -1
WITH_CONSTANTS = frozenset({"ADD", JOINING, "MUL", "PRELU", "SUB"})
KNOWN = frozenset({*VERSIONS, NEGATION})


def require_kernels(kinds: Mapping[str, int]) -> None:
    """Refuse operators that LiteRT cannot compute on integers.

    Args:
        kinds: How many operators of each kind there are.

    Raises:
        CalibrationError: One is not among `KNOWN`; the message names all such.
    """
    missing = {kind: count for kind, count in sorted(kinds.items()) if kind not in KNOWN}
    if missing:
        told = ", ".join(f"{count} {kind}" for kind, count in missing.items())
        raise CalibrationError(
            f"LiteRT has no integer kernel for {told}. Norms with statistics of each image, as "
            "LayerNorm and GroupNorm, become square roots and divisions. Choose a network without "
            "such operators, or leave --method out, which keeps them in float."
        )


class IntegerWriter:
    """Makes a model whose operators all work on int8.

    Args:
        content: The float file.
        grids: Activation -> its grid.

    The model still takes and gives float tensors: conversions stand at its ends only.
    """

    def __init__(self, content: bytes, grids: Mapping[int, Grid]) -> None:
        self.file = TfliteFile(content)
        self._grids = grids
        self._codes: dict[tuple[int, Grid], int] = {}  # (float tensor, grid) -> int8 tensor
        self._constants: dict[tuple[int, Grid], int] = {}

    def write(self) -> bytes:
        """The integer model."""
        places = range(len(self.file.operators))
        for place in places:
            operator = self.file.operators[place]
            for index in map(int, operator.outputs):
                self._add_codes(index, self._grids[index])
        for place in places:
            self._make_integer(place)
        for index in self.file.outputs:
            maker = self.file.maker(index)
            codes = self._codes[index, self._grids[index]]
            self.file.insert(maker, self._conversion("DEQUANTIZE", codes, index))
        return self.file.packed()

    def _make_integer(self, place: int) -> None:
        operator = self.file.operators[place]
        kind = self.file.kind_of(operator)
        inputs = [int(index) for index in operator.inputs]
        outputs = [int(index) for index in operator.outputs]
        if kind in LAYOUTS:
            made = self._convolution_inputs(inputs, kind)
        elif kind == NEGATION:
            made = [self._codes_of(inputs[0]), self._minus_one()]
            self._become_product(operator)
        else:
            grid = self._grids[outputs[0]] if kind == JOINING else None
            made = [self._read(index, kind, grid) for index in inputs]
        operator.inputs = np.array(made, np.int32)
        operator.outputs = np.array(
            [self._codes[index, self._grids[index]] for index in outputs], np.int32
        )
        if kind != NEGATION:
            operator.opcodeIndex = self.file.opcode(kind, VERSIONS[kind])

    def _read(self, index: int, kind: str, grid: Grid | None) -> int:
        """The tensor that an operator reads in place of a float one."""
        if index in self._grids:
            return self._codes_of(index, grid)
        if index >= 0 and kind in WITH_CONSTANTS and self.file.is_float(index):
            return self._constant(index, grid)
        return index  # axes, sizes and the like

    def _codes_of(self, index: int, grid: Grid | None = None) -> int:
        """Codes of an activation, in its own grid or rounded anew in another one."""
        own = self._grids[index]
        wanted = grid or own
        if (index, wanted) in self._codes:
            return self._codes[index, wanted]
        place = self.file.maker(index)
        source = index if wanted == own else self._codes_of(index)
        made = self._add_codes(index, wanted)
        self.file.insert(place, self._conversion("QUANTIZE", source, made))
        return made

    def _add_codes(self, index: int, grid: Grid) -> int:
        quantization = self.file.quantization([grid.scale], [grid.zero_point], 0)
        self._codes[index, grid] = self.file.add_int8_like(index, quantization)
        return self._codes[index, grid]

    def _convolution_inputs(self, inputs: list[int], kind: str) -> list[int]:
        step = self._grids[inputs[0]].scale
        weight = self.file.onnx_weight(inputs[1], kind)
        bias = self.file.bias_of(inputs, len(weight))
        grid = grid_that_holds(covering_grid(weight), bias, step)
        return [
            self._codes_of(inputs[0]),
            self.file.add_weight(grid, kind),
            self.file.add_bias(bias, grid.scales, step),
        ]

    def _constant(self, index: int, grid: Grid | None) -> int:
        """Codes of stored values, in the grid that covers them or in another one."""
        values = self.file.constant(index)
        grid = grid or grid_of_constant(values)
        if (index, grid) not in self._constants:
            quantization = self.file.quantization([grid.scale], [grid.zero_point], 0)
            kind = self.file.schema.TensorType.INT8
            self._constants[index, grid] = self.file.add_constant(
                quantized(values, grid), kind, quantization
            )
        return self._constants[index, grid]

    def _minus_one(self) -> int:
        quantization = self.file.quantization([1.0], [0], 0)
        kind = self.file.schema.TensorType.INT8
        return self.file.add_constant(np.full((1,), -1, np.int8), kind, quantization)

    def _become_product(self, operator: Any) -> None:
        schema = self.file.schema
        operator.opcodeIndex = self.file.opcode("MUL", VERSIONS["MUL"])
        operator.builtinOptionsType = schema.BuiltinOptions.MulOptions
        operator.builtinOptions = schema.MulOptionsT()

    def _conversion(self, kind: str, source: int, result: int) -> Any:
        return self.file.conversion(kind, CONVERSIONS[kind], source, result)
