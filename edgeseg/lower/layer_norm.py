"""LayerNorm over the channels of each pixel, in a form that convolution kernels compute."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..lazy import require
from ..onnx_graph import constant_of, is_constant
from .patterns import apply_rule

SMALLEST_WEIGHT = 1e-3  # the variance of weighted values is divided by the square of each


def layer_norm_by_convolution(model: Any) -> int:
    """Write channels-first LayerNorm as two 1x1 convolutions.

    y = w (x - mean x) / sqrt(var x + eps) + b, mean and variance over C channels. The centred and
    weighted value is one dense 1x1 convolution with c_w = diag(w) (I - 1/C); the variance is a
    1x1 convolution of its square with 1 / (C w^2), and eps its bias. Ten operators become six, and
    no reduction over channels is left, which runtimes compute slowly.

    Layers with a weight below 1e-3 are left as they are.

    Args:
        model: An `onnx_ir.Model`, changed in place.

    Returns:
        How many layers were rewritten.
    """
    ir = require("onnx_ir", purpose="Lowering")

    def pattern(
        op: Any, x: Any, axes: Any, power: Any, epsilon: Any, weight: Any, bias: Any
    ) -> Any:
        centred = op.Sub(x, op.ReduceMean(x, axes, keepdims=1))
        variance = op.ReduceMean(op.Pow(centred, power), axes, keepdims=1)
        inverse = op.Reciprocal(op.Sqrt(op.Add(variance, epsilon)))
        return op.Add(op.Mul(op.Mul(centred, inverse), weight), bias)

    def fits(context: Any, x: Any, axes: Any, power: Any, weight: Any, bias: Any, **_: Any) -> bool:
        if not all(map(is_constant, (axes, power, weight, bias))) or x.shape is None:
            return False
        scale = constant_of(weight)
        return (
            len(x.shape) == 4
            and scale.size == x.shape[1]
            and constant_of(axes).ravel().tolist() == [1]
            and constant_of(power).ravel().tolist() == [2.0]
            and bool((np.abs(scale) >= SMALLEST_WEIGHT).all())
        )

    def rewrite(op: Any, x: Any, epsilon: Any, weight: Any, bias: Any, **_: Any) -> Any:
        scale = constant_of(weight).astype(np.float64).ravel()
        channels = scale.size
        centring = scale[:, None] * (np.eye(channels) - 1 / channels)
        squares = (1 / (channels * scale**2))[None]

        def constant(name: str, content: Any) -> Any:
            return op.initializer(ir.tensor(content.astype(np.float32)), f"{x.name}_{name}")

        floor = constant("epsilon", constant_of(epsilon).reshape(1))
        kernel = constant("centring", centring[:, :, None, None])
        centred = op.Conv(x, kernel, kernel_shape=[1, 1])
        kernel = constant("variance", squares[:, :, None, None])
        variance = op.Conv(op.Mul(centred, centred), kernel, floor, kernel_shape=[1, 1])
        return op.Add(op.Mul(centred, op.Reciprocal(op.Sqrt(variance))), bias)

    return apply_rule(model, pattern, rewrite, fits)
