"""LayerNorm over the channels of each pixel, written as convolutions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..formats.onnx import constant_of, input_of, is_constant
from .graph import (
    Editor,
    both_ways,
    channels_of,
    is_read_once,
    made_by,
    pointwise_of,
    rewrite_each,
    size_of,
)
from .rewrite import as_rewrite

if TYPE_CHECKING:
    import onnx_ir as ir

LARGEST_MATRIX = 1.0  # weights of the matrix for each pixel of the map
SMALLEST_WEIGHT = 1e-3  # the variance of weighted values is divided by the square of each


@dataclass(frozen=True)
class ChannelNorm:
    """y = weight (x - mean x) / sqrt(var x + epsilon) + bias, over the channels of each pixel.

    Attributes:
        source: x, (1, C, H, W).
        weight, bias: (C,), float64.
        epsilon: Added to the variance.
    """

    source: ir.Value
    weight: NDArray[np.float64]
    bias: NDArray[np.float64]
    epsilon: float


def channel_norm_of(value: ir.Value) -> ChannelNorm | None:
    """The LayerNorm that computes a value, in the ten operators of the exporter, or None."""
    shifted = _with_constant(value, "Add")
    scaled = _with_constant(shifted[0], "Mul") if shifted else None
    if shifted is None or scaled is None:
        return None
    for centred, inverse in both_ways(made_by(scaled[0], "Mul")):
        sub, root = made_by(centred, "Sub"), made_by(_input_of(inverse, "Reciprocal"), "Sqrt")
        floored = _with_constant(root.inputs[0], "Add") if root is not None else None
        power = made_by(_mean_of(floored[0]), "Pow") if floored is not None else None
        if sub is None or floored is None or power is None or power.inputs[0] is not centred:
            continue
        source, exponent, epsilon = input_of(sub), power.inputs[1], floored[1]
        channels = channels_of(source)
        if (
            channels is not None
            and _mean_of(sub.inputs[1]) is source
            and is_constant(exponent)
            and constant_of(exponent).ravel().tolist() == [2.0]
            and epsilon.size == 1
            and is_by_channel(scaled[1], channels)
            and is_by_channel(shifted[1], channels)
        ):
            weight, bias = (found[1].astype(np.float64).ravel() for found in (scaled, shifted))
            return ChannelNorm(source, weight, bias, float(epsilon.item()))
    return None


@as_rewrite("layer-norm-by-convolution", moves_statistics=True)
def layer_norm_by_convolution(model: ir.Model) -> int:
    """Write channels-first LayerNorm as two 1x1 convolutions.

    y = w (x - mean x) / sqrt(var x + eps) + b, with mean and variance over C channels. A dense 1x1
    convolution with diag(w) (I - 1/C) gives the centred and weighted value; a 1x1 convolution of
    its square with 1 / (C w^2) and the bias eps gives the variance. Ten operators become six,
    without reductions over channels, which runtimes compute slowly.

    Layers with a weight below 1e-3 stay as they are, and so do layers whose matrix would have more
    weights than the map has pixels: they take little time, and the matrix would cost bytes.

    Returns:
        How many layers were rewritten.
    """

    def rewrite(edit: Editor, node: ir.Node) -> ir.Value | None:
        norm = channel_norm_of(node.outputs[0])
        if norm is None or bool((np.abs(norm.weight) < SMALLEST_WEIGHT).any()):
            return None
        channels = norm.weight.size
        if channels**2 > LARGEST_MATRIX * np.prod(size_of(norm.source)):
            return None
        centring = norm.weight[:, None] * (np.eye(channels) - 1 / channels)
        squares = (1 / (channels * norm.weight**2))[None]
        centred = edit.convolution(norm.source, pointwise(centring))
        power = edit("Mul", centred, centred)
        variance = edit.convolution(power, pointwise(squares), np.array([norm.epsilon]))
        inverse = edit("Reciprocal", edit("Sqrt", variance))
        return edit("Add", edit("Mul", centred, inverse), by_channel(norm.bias))

    return rewrite_each(model, rewrite)


@as_rewrite("pointwise-before-norm", moves_statistics=True)
def pointwise_before_norm(model: ir.Model) -> int:
    """Move a 1x1 convolution from behind a LayerNorm to its front, and divide its output.

    W LN(x) + d = (A c) s + (W b + d), with c = x - mean x, A = W diag(w) and
    s = 1 / sqrt(mean c^2 + eps): A holds the weights, and the division is done on the outputs of
    the convolution. Both means are 1x1 convolutions. The variance is not computed as
    mean(x^2) - mean(x)^2, which loses all digits, and may be negative, if the channels of a pixel
    are nearly equal.

    Returns:
        How many convolutions were rewritten.
    """

    def rewrite(edit: Editor, node: ir.Node) -> ir.Value | None:
        found = pointwise_of(node.outputs[0])
        if found is None:
            return None
        norm = channel_norm_of(found.source) if is_read_once(found.source) else None
        if norm is None:
            return None
        matrix = found.weight[:, :, 0, 0]
        channels = norm.weight.size
        averaging = pointwise(np.full((1, channels), 1 / channels))
        centred = edit("Sub", norm.source, edit.convolution(norm.source, averaging))
        squares = edit("Mul", centred, centred)
        variance = edit.convolution(squares, averaging, np.array([norm.epsilon]))
        inverse = edit("Reciprocal", edit("Sqrt", variance))
        product = edit.convolution(centred, pointwise(matrix * norm.weight))
        return edit(
            "Add", edit("Mul", product, inverse), by_channel(matrix @ norm.bias + found.bias)
        )

    return rewrite_each(model, rewrite)


def pointwise(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weight (O, I, 1, 1) of a 1x1 convolution from its matrix (O, I)."""
    return matrix[:, :, None, None]


def by_channel(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """Values (C,) in a shape that can be added to maps (1, C, H, W)."""
    return values.astype(np.float32).reshape(1, -1, 1, 1)


def is_by_channel(constant: NDArray[Any], channels: int) -> bool:
    """Whether an array that is combined with maps (1, C, H, W) has one value for each channel."""
    return constant.shape in ((channels, 1, 1), (1, channels, 1, 1))


def _with_constant(value: ir.Value | None, kind: str) -> tuple[ir.Value, NDArray[Any]] | None:
    """The computed and the constant input of an operator with two inputs."""
    for computed, constant in both_ways(made_by(value, kind)):
        if is_constant(constant) and not is_constant(computed):
            return computed, constant_of(constant)
    return None


def _input_of(value: ir.Value | None, kind: str) -> ir.Value | None:
    node = made_by(value, kind)
    return None if node is None else node.inputs[0]


def _mean_of(value: ir.Value | None) -> ir.Value | None:
    """The x of a mean over the channels of x that keeps the axis."""
    node = made_by(value, "ReduceMean")
    if node is None or node.attributes.get_int("keepdims", 1) != 1 or len(node.inputs) < 2:
        return None
    axes = node.inputs[1]
    if not is_constant(axes) or constant_of(axes).ravel().tolist() not in ([1], [-3]):
        return None
    return node.inputs[0]
