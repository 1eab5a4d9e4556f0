"""Differentiable rounding, with learned scales of activations and learned weights."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..plan.quant_plan import HIGHEST_VALUE, INT8_STEPS, LOWEST_VALUE, QuantPlan, WeightGrid
from .graph import Place, TorchGraph

# Rates of learning end to end.
VALUE_RATE, RANGE_RATE, SCALE_RATE, BIAS_RATE = 0.005, 2e-3, 2e-4, 0.005


class _RoundActivation(torch.autograd.Function):
    """q = clip(round(x / scale) + zero point); the result is (q - zero point) * scale.

    Gradients: straight through to x inside the range (Bengio et al. 2013, arXiv:1308.3432); to the
    scale as in Esser et al. 2019, arXiv:1902.08153, equation 3.
    """

    @staticmethod
    def forward(context: Any, x: Tensor, scale: Tensor, zero_point: int) -> Tensor:
        ratio = x / scale
        quantized = torch.round(ratio).clamp_(LOWEST_VALUE - zero_point, HIGHEST_VALUE - zero_point)
        context.save_for_backward(ratio, quantized)
        context.bounds = LOWEST_VALUE - zero_point, HIGHEST_VALUE - zero_point
        return quantized * scale

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        ratio, quantized = context.saved_tensors
        low, high = context.bounds
        (gradient,) = gradients
        inside = (ratio >= low) & (ratio <= high)
        to_scale = gradient * torch.where(inside, quantized - ratio, quantized)
        return gradient * inside, to_scale.sum(), None


def round_activation(x: Tensor, scale: Tensor, zero_point: int = 0) -> Tensor:
    """Round to int8 values at one scale, a tensor without axes."""
    result: Tensor = _RoundActivation.apply(x, scale, zero_point)  # type: ignore[no-untyped-call]
    return result


def round_straight_through(x: Tensor) -> Tensor:
    return x + (torch.round(x) - x).detach()


@dataclass(frozen=True)
class Convolution:
    """The parameters of a convolution that can be learned.

    Attributes:
        weight: Weight of the float network, (O, I/groups, kh, kw).
        log_scales: (O, 1, 1, 1), natural logarithm of the weight's scales.
        values: Of the shape of `weight`: real numbers, rounded to give the quantized values.
        bias: (O,), in units of `bias_unit`.
        bias_unit: About one quantization step of the output.
        steps: Largest quantized value.
    """

    weight: Tensor
    log_scales: Tensor
    values: Tensor
    bias: Tensor
    bias_unit: float
    steps: int = INT8_STEPS

    def snapped_weight(self) -> Tensor:
        quantized = round_straight_through(self.clipped(self.values))
        return quantized * torch.exp(self.log_scales).float()

    def clipped(self, values: Tensor) -> Tensor:
        """Real or quantized values within the grid."""
        return values.clamp(-self.steps, self.steps)

    def real_bias(self) -> Tensor:
        return self.bias * self.bias_unit

    def learned(self) -> tuple[WeightGrid, NDArray[np.float32]]:
        """The quantized weight and the bias, as a plan holds them."""
        with torch.no_grad():
            quantized = torch.round(self.clipped(self.values))
            scales = torch.exp(self.log_scales).float().reshape(-1)
            grid = WeightGrid(quantized.numpy().astype(np.int8), scales.numpy().copy())
            return grid, self.real_bias().numpy().astype(np.float32)


def parameters_of(convolutions: Iterable[Convolution]) -> list[dict[str, Any]]:
    """What convolutions learn, as groups of an optimizer."""
    found = list(convolutions)
    return [
        {"params": [one.values for one in found], "lr": VALUE_RATE},
        {"params": [one.log_scales for one in found], "lr": SCALE_RATE},
        {"params": [one.bias for one in found], "lr": BIAS_RATE},
    ]


class Rounding:
    """A plan in the form of tensors that can be learned.

    Args:
        weight_steps: Largest quantized value of its weights.

    Attributes:
        log_ranges: Activation -> logarithm of its range, without axes.
        convolutions: Convolutions by the name of their output.
    """

    def __init__(self, graph: TorchGraph, plan: QuantPlan, weight_steps: int = INT8_STEPS) -> None:
        self.graph = graph
        self.plan = plan
        self.weight_steps = weight_steps
        self.log_ranges = {
            name: torch.tensor(math.log(limit), dtype=torch.float64)
            for name, limit in plan.ranges.items()
        }
        self.convolutions = {
            name: self._convolution(name, place) for name, place in graph.convolutions.items()
        }

    def _convolution(self, name: str, place: Place) -> Convolution:
        grid = self.plan.weights[name]
        original = self.graph.constants[place.weight]
        bias = self.graph.constants[place.bias]
        if name in self.plan.biases:
            bias = torch.from_numpy(self.plan.biases[name].copy())
        unit = self._bias_unit(place, original)
        scales = torch.from_numpy(grid.scales.astype(np.float64))
        log_scales = torch.log(scales).reshape(-1, *[1] * (original.ndim - 1))
        quantized = torch.from_numpy(grid.values.astype(np.float32))
        return Convolution(original, log_scales, quantized, bias / unit, unit, self.weight_steps)

    def _bias_unit(self, place: Place, weight: Tensor) -> float:
        """A quantization step of the output, or of the values that a channel can reach."""
        if place.result in self.plan.ranges:
            return self.plan.scale(place.result)
        reach = self.plan.scale(place.source) * float(weight.abs().flatten(1).sum(1).mean())
        return reach or 1.0  # all weights may be zero

    def exchange(self, name: str, value: Tensor) -> Tensor:
        """Round the activations of the plan; see `graph.Exchange`."""
        log_range = self.log_ranges.get(name)
        if log_range is None:
            return value
        scale = (torch.exp(log_range) / INT8_STEPS).float()
        return round_activation(value, scale, self.plan.zero_point(name))

    def constants(self, names: Iterable[str] | None = None) -> dict[tuple[str, str], Tensor]:
        """Tensors that convolutions read in place of the float weights and biases.

        Args:
            names: Names of convolutions; None takes all.
        """
        found: dict[tuple[str, str], Tensor] = {}
        for name in self.convolutions if names is None else names:
            place, convolution = self.graph.convolutions[name], self.convolutions[name]
            found[name, place.weight] = convolution.snapped_weight()
            found[name, place.bias] = convolution.real_bias()
        return found

    def parameters(self) -> list[dict[str, Any]]:
        """What is learned, as groups of an optimizer."""
        ranges = {"params": list(self.log_ranges.values()), "lr": RANGE_RATE}
        return [*parameters_of(self.convolutions.values()), ranges]

    def to_plan(self) -> QuantPlan:
        """The learned plan; an INT8 network computes with it what is computed here."""
        weights, biases = {}, {}
        with torch.no_grad():
            for name, convolution in self.convolutions.items():
                weights[name], biases[name] = convolution.learned()
            ranges = {name: float(torch.exp(value)) for name, value in self.log_ranges.items()}
        return replace(self.plan, ranges=ranges, weights=weights, biases=biases)
