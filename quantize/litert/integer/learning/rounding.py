"""The rounding of an integer-only model in torch, with weights that can be learned."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ....distillation.graph import Place, Step, TorchGraph
from ....distillation.rounding import (
    Convolution,
    parameters_of,
    round_activation,
)
from ....plan.weight_grids import covering_grid, grid_that_holds
from ...edit import Grid
from ..grids import (
    ROOTS,
    WIDE_STEPS,
    WIDENING,
    IntegerPlan,
    grid_of_constant,
    quantized,
    with_bits,
)
from ..kernels import CONVOLUTION, JOINING, WITH_CONSTANTS, bits_of


class IntegerRounding:
    """What an integer-only model computes, but for the last bit of a kernel's own sums.

    Args:
        graph: The model, as `load_tflite_graph` gives it; its divisors are lifted already.
        plan: What it lacks of weights and biases is taken from the graph.
    """

    def __init__(self, graph: TorchGraph, plan: IntegerPlan) -> None:
        self._graph = graph
        self._plan = plan
        self._convolutions = {
            name: self._convolution(name, place) for name, place in graph.convolutions.items()
        }
        rooted = {step.inputs[0] for step in graph.steps if step.kind in ROOTS}
        self._learned = {
            name: one for name, one in self._convolutions.items() if name not in rooted
        }
        self._constants = {
            (step.name, name): torch.from_numpy(self._rounded(step, name))
            for step in graph.steps
            if step.kind in WITH_CONSTANTS
            for name in step.inputs
            if name in graph.constants and graph.constants[name].dtype == torch.float32
        }

    def exchange(self, name: str, value: Tensor) -> Tensor:
        """Round an activation; see `graph.Exchange`."""
        grid = self.grid_of(name)
        if grid is None:
            return value
        if grid.bits == 8:
            return round_activation(value, torch.tensor(grid.scale), grid.zero_point)
        codes = torch.round(value / grid.scale)
        return codes.clamp(-WIDE_STEPS, WIDE_STEPS) * grid.scale

    def grid_of(self, name: str) -> Grid | None:
        """The grid of an activation; None for what is none of the file's."""
        return self._plan.grids.get(int(name)) if name.isdigit() else None

    def constants(self) -> dict[tuple[str, str], Tensor]:
        """(step, constant) -> what the step reads in its place."""
        found = dict(self._constants)
        for name, convolution in self._convolutions.items():
            place = self._graph.convolutions[name]
            found[name, place.weight] = convolution.snapped_weight()
            found[name, place.bias] = convolution.real_bias()
        return found

    def parameters(self) -> list[dict[str, Any]]:
        """What is learned, as groups of an optimizer: weights, their scales, and biases.

        What a root reads is not: its constant keeps a divisor from 0.
        """
        return parameters_of(self._learned.values())

    def to_plan(self) -> IntegerPlan:
        """The plan with the weights and biases as they were learned."""
        weights, biases = {}, {}
        for name, convolution in self._learned.items():
            weights[int(name)], biases[int(name)] = convolution.learned()
        return IntegerPlan(self._plan.grids, weights, biases)

    def _convolution(self, name: str, place: Place) -> Convolution:
        source, result = self._plan.grids[int(place.source)], self._plan.grids[int(place.result)]
        weight, index = self._graph.constants[place.weight], int(name)
        bias = self._graph.constants[place.bias]
        if index in self._plan.biases:
            bias = torch.from_numpy(self._plan.biases[index].copy())
        grid = self._plan.weights.get(index)
        grid = covering_grid(weight.numpy()) if grid is None else grid
        bits = bits_of(CONVOLUTION, (int(place.source), index), self._plan.grids)
        grid = grid_that_holds(grid, bias.numpy(), with_bits(source, bits).scale)
        scales = torch.from_numpy(grid.scales.astype(np.float64))
        unit = result.scale if result.bits == 8 else result.scale * WIDENING
        values = torch.from_numpy(grid.values.astype(np.float32))
        return Convolution(
            weight, torch.log(scales).reshape(-1, 1, 1, 1), values, bias / unit, unit
        )

    def _rounded(self, step: Step, name: str) -> NDArray[np.float32]:
        """A stored value as the integers that an operator reads."""
        values = np.atleast_1d(self._graph.constants[name].numpy())
        tensors = [int(one) for one in (*step.inputs, *step.outputs) if one.isdigit()]
        bits = bits_of(step.kind, tensors, self._plan.grids)
        grid = grid_of_constant(values, bits)
        if step.kind == JOINING:
            grid = with_bits(self._plan.grids[int(step.outputs[0])], bits)
        codes = quantized(values, grid).astype(np.float64)
        return ((codes - grid.zero_point) * grid.scale).astype(np.float32)


class WeightRounding(IntegerRounding):
    """The same with activations that are not rounded.

    Gradients through hundreds of rounded activations point nowhere: what they taught did not hold
    on other images. Weights and biases that learn without them keep what they learned when the
    activations are rounded afterwards.
    """

    def exchange(self, name: str, value: Tensor) -> Tensor:
        return value
