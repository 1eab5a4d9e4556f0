"""Turns every operator of a TFLite model into one on integers, in memory."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from edgeseg.errors import CalibrationError

from ...plan.weight_grids import covering_grid, grid_that_holds
from ..edit import Grid
from ..file import TfliteFile
from ..matching import LAYOUTS
from .grids import (
    JOINING,
    WIDE_STEPS,
    grid_of_constant,
    quantized,
    wide_grid,
    with_bits,
)

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
# The same for int16, which only these compute on.
WIDE_VERSIONS = {
    "ADD": 3,
    "AVERAGE_POOL_2D": 3,
    "CONV_2D": 4,
    "DEPTHWISE_CONV_2D": 5,
    "DIV": 2,
    "MAX_POOL_2D": 3,
    "MEAN": 3,
    "MUL": 4,
    "PAD": 2,
    "RESHAPE": 1,
    "RESIZE_BILINEAR": 4,
    "RESIZE_NEAREST_NEIGHBOR": 4,
    "SLICE": 4,
    "SPLIT": 4,
    "SQRT": 2,
    "STRIDED_SLICE": 4,
    "SUB": 5,
    "SUM": 2,
    "TRANSPOSE": 4,
}
ROUNDED_UP = 1.5  # steps that stay one or more, however a kernel rounds
INVERSE_ROOT = "RSQRT"  # its table of int16 is wrong near 0: it becomes SQRT and DIV
NEGATION = "NEG"  # has no int8 kernel: it becomes a product with -1
WITH_CONSTANTS = frozenset({"ADD", "DIV", JOINING, "MUL", "PRELU", "SUB"})
KNOWN = frozenset({*VERSIONS, *WIDE_VERSIONS, INVERSE_ROOT, NEGATION})


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
            f"LiteRT has no integer kernel for {told}. Choose a network without such operators, "
            "or leave --method out, which keeps them in float."
        )


class IntegerWriter:
    """Makes a model whose operators all work on integers.

    Args:
        content: The float file.
        grids: Activation -> its grid, of int8 or int16.

    An operator next to an int16 tensor computes on int16 if it has such a kernel; its other tensors
    are converted, which changes no value of int8. The model still takes and gives float tensors.
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
            self._lift_divisor(place)
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
        bits = self._bits(kind, (*inputs, *outputs))
        if kind == INVERSE_ROOT:
            self._become_root_and_quotient(place)
            return
        if kind in LAYOUTS:
            made = self._convolution_inputs(inputs, kind, bits)
        elif kind == NEGATION:
            made = [self._codes_of(inputs[0]), self._minus_one()]
            self._become_product(operator)
        else:
            grid = with_bits(self._grids[outputs[0]], bits) if kind == JOINING else None
            made = [self._read(index, kind, bits, grid) for index in inputs]
        operator.inputs = np.array(made, np.int32)
        operator.outputs = np.array([self._written(index, bits) for index in outputs], np.int32)
        if kind != NEGATION:
            versions = WIDE_VERSIONS if bits == 16 else VERSIONS
            operator.opcodeIndex = self.file.opcode(kind, versions[kind])
        if bits == 16 and hasattr(operator.builtinOptions, "potScaleInt16"):
            operator.builtinOptions.potScaleInt16 = False  # steps are any numbers

    def _bits(self, kind: str, tensors: tuple[int, ...]) -> int:
        """Of the integers that an operator computes on."""
        if kind not in VERSIONS and kind in WIDE_VERSIONS:
            return 16
        wide = any(self._grids[index].bits == 16 for index in tensors if index in self._grids)
        return 16 if wide and kind in WIDE_VERSIONS else 8

    def _read(self, index: int, kind: str, bits: int, grid: Grid | None) -> int:
        """The tensor that an operator reads in place of a float one."""
        if index in self._grids:
            return self._codes_of(index, grid or with_bits(self._grids[index], bits))
        if index >= 0 and kind in WITH_CONSTANTS and self.file.is_float(index):
            return self._constant(index, grid or self._grid_of_constant(index, bits))
        return index  # axes, sizes and the like

    def _written(self, index: int, bits: int) -> int:
        """The tensor that an operator writes; a conversion after it makes the activation's own."""
        own = self._grids[index]
        if bits == own.bits:
            return self._codes[index, own]
        made = self._add_codes(index, with_bits(own, bits))
        place = self.file.maker(index)
        self.file.insert(place, self._conversion("QUANTIZE", made, self._codes[index, own]))
        return made

    def _codes_of(self, index: int, grid: Grid | None = None) -> int:
        """Codes of an activation, in its own grid or rounded anew in another one."""
        own = self._grids[index]
        wanted = grid or with_bits(own, 8)
        if (index, wanted) in self._codes:
            return self._codes[index, wanted]
        place = self.file.maker(index)
        source = index if wanted == own else self._codes_of(index)
        made = self._add_codes(index, wanted)
        self.file.insert(place, self._conversion("QUANTIZE", source, made))
        return made

    def _add_codes(self, index: int, grid: Grid) -> int:
        quantization = self.file.quantization([grid.scale], [grid.zero_point], 0)
        self._codes[index, grid] = self.file.add_codes_like(index, quantization, grid.bits)
        return self._codes[index, grid]

    def _convolution_inputs(self, inputs: list[int], kind: str, bits: int) -> list[int]:
        source = with_bits(self._grids[inputs[0]], bits)
        weight = self.file.onnx_weight(inputs[1], kind)
        bias = self.file.bias_of(inputs, len(weight))
        grid = covering_grid(weight)
        if bits == 8:
            grid = grid_that_holds(grid, bias, source.scale)
        return [
            self._codes_of(inputs[0], source),
            self.file.add_weight(grid, kind),
            self.file.add_bias(bias, grid.scales, source.scale, bits=64 if bits == 16 else 32),
        ]

    def _grid_of_constant(self, index: int, bits: int) -> Grid:
        return grid_of_constant(self.file.constant(index), bits)

    def _constant(self, index: int, grid: Grid) -> int:
        """Codes of stored values in a grid."""
        if (index, grid) not in self._constants:
            quantization = self.file.quantization([grid.scale], [grid.zero_point], 0)
            kind = getattr(self.file.schema.TensorType, f"INT{grid.bits}")
            self._constants[index, grid] = self.file.add_constant(
                quantized(self.file.constant(index), grid), kind, quantization
            )
        return self._constants[index, grid]

    def _lift_divisor(self, place: int) -> None:
        """Keep a divisor from 0, where the kernel of DIV fails.

        The divisor is the root of a variance plus a constant, which becomes a step of that sum at
        least.
        """
        operator = self.file.operators[place]
        kind = self.file.kind_of(operator)
        if kind == "DIV":
            root = self._maker(int(operator.inputs[1]))
            is_root = root is not None and self.file.kind_of(root) == "SQRT"
            total = self._sum_before(root) if is_root else None
        elif kind == INVERSE_ROOT:
            total = self._sum_before(operator)
        else:
            return
        if total is None:
            raise CalibrationError(
                f"The divisor of {kind} '{self.file.name(int(operator.outputs[0]))}' may become 0 "
                "as an integer: it is not the root of a variance plus a constant. Choose a network "
                "without such a division, or leave --method out, which keeps it in float."
            )
        summand = _summand(self.file, total)
        least = np.float32(ROUNDED_UP * self._grids[int(total.outputs[0])].scale)
        lifted = self.file.add_float(np.maximum(self.file.constant(summand), least))
        total.inputs = np.array(
            [lifted if index == summand else index for index in total.inputs], np.int32
        )

    def _sum_before(self, root: Any) -> Any | None:
        """What adds a constant above 0 to the variance that a root reads."""
        total = self._maker(int(root.inputs[0]))
        kind = self.file.kind_of(total) if total is not None else ""
        if total is None or kind not in ("ADD", "CONV_2D"):
            return None
        if kind in LAYOUTS and self.file.constant(int(total.inputs[1])).min() < 0:
            return None  # it may take away what the constant adds
        summand = _summand(self.file, total)
        return total if summand >= 0 and self.file.constant(summand).min() > 0 else None

    def _maker(self, tensor: int) -> Any | None:
        place = self.file.maker(tensor)
        return self.file.operators[place] if place >= 0 else None

    def _minus_one(self) -> int:
        quantization = self.file.quantization([1.0], [0], 0)
        kind = self.file.schema.TensorType.INT8
        return self.file.add_constant(np.full((1,), -1, np.int8), kind, quantization)

    def _become_product(self, operator: Any) -> None:
        schema = self.file.schema
        operator.opcodeIndex = self.file.opcode("MUL", VERSIONS["MUL"])
        operator.builtinOptionsType = schema.BuiltinOptions.MulOptions
        operator.builtinOptions = schema.MulOptionsT()

    def _become_root_and_quotient(self, place: int) -> None:
        """1 / sqrt(x) in two operators."""
        operator, schema = self.file.operators[place], self.file.schema
        source, result = int(operator.inputs[0]), int(operator.outputs[0])
        grid = with_bits(self._grids[source], 16)
        root = self._add_codes(result, wide_grid(0, math.sqrt(WIDE_STEPS * grid.scale)))
        quotient = schema.OperatorT()
        quotient.opcodeIndex = self.file.opcode("DIV", WIDE_VERSIONS["DIV"])
        quotient.builtinOptionsType = schema.BuiltinOptions.DivOptions
        quotient.builtinOptions = schema.DivOptionsT()
        quotient.inputs = np.array([self._one(), root], np.int32)
        quotient.outputs = np.array([self._written(result, 16)], np.int32)
        self.file.insert(place, quotient)
        operator.inputs = np.array([self._codes_of(source, grid)], np.int32)
        operator.outputs = np.array([root], np.int32)
        operator.opcodeIndex = self.file.opcode("SQRT", WIDE_VERSIONS["SQRT"])

    def _one(self) -> int:
        index = self.file.add_float(np.ones((1,), np.float32))
        return self._constant(index, self._grid_of_constant(index, 16))

    def _conversion(self, kind: str, source: int, result: int) -> Any:
        return self.file.conversion(kind, CONVERSIONS[kind], source, result)


def _summand(file: TfliteFile, operator: Any) -> int:
    """The constant that an ADD or a convolution adds; -1 where there is none."""
    stored = [int(index) for index in operator.inputs if index >= 0]
    if file.kind_of(operator) in LAYOUTS:
        return stored[2] if len(stored) > 2 else -1
    return next((index for index in stored if file.is_constant(index)), -1)
