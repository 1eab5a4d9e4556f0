"""Turns every operator of a TFLite model into one on integers, in memory."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...plan.weight_grids import covering_grid, grid_that_holds
from ..edit import Grid
from ..file import TfliteFile
from ..matching import LAYOUTS
from .divisors import lift_divisors
from .grids import (
    FIXED,
    FIXED_WIDE,
    WIDE_STEPS,
    IntegerPlan,
    grid_of_constant,
    quantized,
    wide_grid,
    with_bits,
)
from .kernels import (
    CONVERSIONS,
    INVERSE_ROOT,
    JOINING,
    NEGATION,
    SLOPED,
    VERSIONS,
    WIDE_VERSIONS,
    WITH_CONSTANTS,
    bits_of,
)


class IntegerWriter:
    """Makes a model whose operators all work on integers.

    Args:
        content: The float file.
        plan: The grids; what it lacks of weights and biases is taken from the file.

    An operator next to an int16 tensor computes on int16 if it has such a kernel; its other tensors
    are converted, which changes no value of int8. The model still takes and gives float tensors.
    """

    def __init__(self, content: bytes, plan: IntegerPlan) -> None:
        self.file = TfliteFile(content)
        self._plan = plan
        self._grids = plan.grids
        self._codes: dict[tuple[int, Grid], int] = {}  # (float tensor, grid) -> its codes
        self._constants: dict[tuple[int, Grid], int] = {}

    def write(self) -> bytes:
        """The integer model."""
        lift_divisors(self.file, self._grids)
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
        bits = bits_of(kind, (*inputs, *outputs), self._grids)
        if kind == INVERSE_ROOT:
            self._become_root_and_quotient(place)
            return
        if kind == SLOPED and bits == 16:
            self._become_sum(place)
            return
        written = [self._written(index, self._grid_written(index, kind, bits)) for index in outputs]
        if kind == NEGATION:
            read = self._read(inputs[0], kind, bits, None)
            self._turn_into(operator, "MUL", [read, self._minus_one(bits)], written[0], bits)
            return
        if kind in LAYOUTS:
            made = self._convolution_inputs(inputs, outputs[0], kind, bits)
        else:
            grid = with_bits(self._grids[outputs[0]], bits) if kind == JOINING else None
            made = [self._read(index, kind, bits, grid) for index in inputs]
        operator.inputs = np.array(made, np.int32)
        operator.outputs = np.array(written, np.int32)
        self._take_kernel(operator, kind, bits)

    def _take_kernel(self, operator: Any, kind: str, bits: int) -> None:
        versions = WIDE_VERSIONS if bits == 16 else VERSIONS
        operator.opcodeIndex = self.file.opcode(kind, versions[kind])
        if bits == 16 and hasattr(operator.builtinOptions, "potScaleInt16"):
            operator.builtinOptions.potScaleInt16 = False  # steps are any numbers

    def _read(self, index: int, kind: str, bits: int, grid: Grid | None) -> int:
        """The tensor that an operator reads in place of a float one."""
        if index in self._grids:
            return self._codes_of(index, grid or with_bits(self._grids[index], bits))
        if index >= 0 and kind in WITH_CONSTANTS and self.file.is_float(index):
            return self._constant(index, grid or self._grid_of_constant(index, bits))
        return index  # axes, sizes and the like

    def _grid_written(self, index: int, kind: str, bits: int) -> Grid:
        fixed = FIXED_WIDE if kind in FIXED and bits == 16 else None
        return fixed or with_bits(self._grids[index], bits)

    def _written(self, index: int, grid: Grid) -> int:
        """The tensor that an operator writes; a conversion after it makes the activation's own."""
        own = self._grids[index]
        if grid == own:
            return self._codes[index, own]
        made = self._add_codes(index, grid)
        place = self.file.maker(index)
        self.file.insert(place, self._conversion("QUANTIZE", made, self._codes[index, own]))
        return made

    def _codes_of(self, index: int, wanted: Grid) -> int:
        """Codes of an activation, in its own grid or rounded anew in another one."""
        own = self._grids[index]
        if (index, wanted) in self._codes:
            return self._codes[index, wanted]
        place = self.file.maker(index)
        source = index if wanted == own else self._codes_of(index, own)
        made = self._add_codes(index, wanted)
        self.file.insert(place, self._conversion("QUANTIZE", source, made))
        return made

    def _add_codes(self, index: int, grid: Grid) -> int:
        self._codes[index, grid] = self._add_like(index, grid)
        return self._codes[index, grid]

    def _add_like(self, index: int, grid: Grid) -> int:
        """A tensor of the shape of an activation, for what is computed on the way to it."""
        quantization = self.file.quantization([grid.scale], [grid.zero_point], 0)
        return self.file.add_codes_like(index, quantization, grid.bits)

    def _convolution_inputs(
        self, inputs: list[int], result: int, kind: str, bits: int
    ) -> list[int]:
        source = with_bits(self._grids[inputs[0]], bits)
        grid = self._plan.weights.get(result)
        if grid is None:
            grid = covering_grid(self.file.onnx_weight(inputs[1], kind))
        bias = self._plan.biases.get(result)
        if bias is None:
            bias = self.file.bias_of(inputs, len(grid.scales))
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

    def _minus_one(self, bits: int) -> int:
        index = self.file.add_float(np.full((1,), -1, np.float32))
        return self._constant(index, Grid(1.0, 0, bits))

    def _become_root_and_quotient(self, place: int) -> None:
        """1 / sqrt(x) in two operators."""
        operator = self.file.operators[place]
        source, result = int(operator.inputs[0]), int(operator.outputs[0])
        grid = with_bits(self._grids[source], 16)
        root = self._add_like(result, wide_grid(0, math.sqrt(WIDE_STEPS * grid.scale)))
        written = self._written(result, with_bits(self._grids[result], 16))
        quotient = self._operator("DIV", [self._stored(np.ones(1), 16), root], written)
        self.file.insert(place, quotient)
        operator.inputs = np.array([self._codes_of(source, grid)], np.int32)
        operator.outputs = np.array([root], np.int32)
        operator.opcodeIndex = self.file.opcode("SQRT", WIDE_VERSIONS["SQRT"])

    def _become_sum(self, place: int) -> None:
        """x + (1 - slope) relu(-x), which a PReLU is, in three operators on int16."""
        operator = self.file.operators[place]
        source, slope, result = (*map(int, operator.inputs), int(operator.outputs[0]))
        grid = with_bits(self._grids[source], 16)
        factors = 1 - self.file.constant(slope)
        reach = float(np.float32(grid.scale * np.abs(factors).max())) or grid.scale
        codes, negative = self._codes_of(source, grid), self._add_like(source, grid)
        lifted = self._add_like(source, Grid(reach, 0, 16))
        written = self._written(result, with_bits(self._grids[result], 16))
        product = self._operator("MUL", [negative, self._stored(factors, 16)], lifted)
        self.file.insert(place, product)
        self.file.insert(place, self._operator("ADD", [codes, lifted], written))
        self._turn_into(operator, "MUL", [codes, self._minus_one(16)], negative)
        operator.builtinOptions.fusedActivationFunction = (
            self.file.schema.ActivationFunctionType.RELU
        )

    def _operator(self, kind: str, inputs: list[int], output: int) -> Any:
        """An arithmetic operator on int16."""
        made = self.file.schema.OperatorT()
        self._turn_into(made, kind, inputs, output)
        return made

    def _turn_into(
        self, operator: Any, kind: str, inputs: list[int], output: int, bits: int = 16
    ) -> None:
        schema = self.file.schema
        options = f"{kind.capitalize()}Options"
        operator.builtinOptionsType = getattr(schema.BuiltinOptions, options)
        operator.builtinOptions = getattr(schema, f"{options}T")()
        self._take_kernel(operator, kind, bits)
        operator.inputs = np.array(inputs, np.int32)
        operator.outputs = np.array([output], np.int32)

    def _stored(self, values: NDArray[Any], bits: int) -> int:
        """Codes of new values."""
        index = self.file.add_float(values.astype(np.float32))
        return self._constant(index, self._grid_of_constant(index, bits))

    def _conversion(self, kind: str, source: int, result: int) -> Any:
        return self.file.conversion(kind, CONVERSIONS[kind], source, result)
