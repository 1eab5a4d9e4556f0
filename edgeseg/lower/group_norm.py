"""GroupNorm as one multiplication and addition for each channel."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from ..formats.onnx import constant_of, fixed_shape, is_constant
from ..lazy import require
from .graph import apply_rule, channels_of
from .layer_norm import is_by_channel
from .rewrite import as_rewrite

if TYPE_CHECKING:
    import onnx_ir as ir

DEFAULT_EPSILON = 1e-5  # of ONNX's InstanceNormalization


@as_rewrite("group-norm-by-channel", layout="channels-last", moves_statistics=True)
def group_norm_by_channel(model: ir.Model) -> int:
    """Write GroupNorm as x * scale + shift with (1, C, 1, 1) factors from pooled statistics.

    The exporter reshapes each group into one channel of an InstanceNormalization and back, and
    runtimes reorder the whole map for each reshape. Here the mean and the mean squared distance are
    global average pools, which a 1x1 convolution of (1, C, 1, 1) mixes within the groups: the map
    itself is read where it lies.

    Returns:
        How many layers were rewritten.
    """
    onnx_ir = require("onnx_ir", purpose="Lowering")
    numbers = itertools.count()  # two layers may share what they normalise

    def pattern(
        op: Any, x: Any, grouped: Any, ones: Any, zeros: Any, shape: Any, weight: Any, bias: Any
    ) -> Any:
        normed = op.InstanceNormalization(
            op.Reshape(x, grouped), ones, zeros, _outputs=["normed"], _allow_other_attributes=True
        )
        back = op.Reshape(normed, shape, _outputs=["back"])
        return op.Add(op.Mul(back, weight), bias)

    def rewrite(op: Any, x: Any, ones: Any, weight: Any, bias: Any, normed: Any, **_: Any) -> Any:
        channels, groups = x.shape[1], constant_of(ones).size
        width = channels // groups
        mixing = np.kron(np.eye(groups), np.full((width, width), 1 / width))
        epsilon = normed.producer().attributes.get_float("epsilon", DEFAULT_EPSILON)
        label = f"{normed.name}_{next(numbers)}"

        def constant(name: str, content: Any) -> Any:
            tensor = onnx_ir.tensor(np.asarray(content, np.float32))
            return op.initializer(tensor, f"{label}_{name}")

        mix = constant("mixing", mixing[:, :, None, None])
        mean = op.Conv(op.GlobalAveragePool(x), mix, kernel_shape=[1, 1])
        centred = op.Sub(x, mean)
        squares = op.GlobalAveragePool(op.Mul(centred, centred))
        floor = constant("epsilon", np.full(channels, epsilon))
        variance = op.Conv(squares, mix, floor, kernel_shape=[1, 1])
        factors = constant("weight", constant_of(weight).reshape(1, channels, 1, 1))
        scale = op.Mul(op.Reciprocal(op.Sqrt(variance)), factors)
        offsets = constant("bias", constant_of(bias).reshape(1, channels, 1, 1))
        shift = op.Sub(offsets, op.Mul(mean, scale))
        return op.Add(op.Mul(x, scale), shift)

    return apply_rule(model, pattern, rewrite, _is_group_norm)


@as_rewrite("affine-after-pooling", layout="channels-last")
def affine_after_pooling(model: ir.Model) -> int:
    """Multiply and add after a max-pooling instead of before it, on a quarter of the pixels.

    max(a s + t) = max(a) s + t if s >= 0. This holds if s is an inverse deviation times positive
    weights, as `group_norm_by_channel` writes it.

    Returns:
        How many poolings were moved.
    """

    def pattern(op: Any, x: Any, inverse: Any, weight: Any, shift: Any) -> Any:
        scaled = op.Mul(x, op.Mul(inverse, weight))
        return op.MaxPool(op.Add(scaled, shift), _allow_other_attributes=True, _outputs=["pooled"])

    def fits(context: Any, inverse: Any, weight: Any, shift: Any, **_: Any) -> bool:
        producer = inverse.producer()
        return (
            producer is not None
            and producer.op_type == "Reciprocal"
            and producer.inputs[0].producer() is not None
            and producer.inputs[0].producer().op_type == "Sqrt"
            and is_constant(weight)
            and bool((constant_of(weight) >= 0).all())
            and all(_is_one_pixel(value) for value in (inverse, weight, shift))
        )

    def rewrite(op: Any, x: Any, inverse: Any, weight: Any, shift: Any, pooled: Any) -> Any:
        small = op.MaxPool(x, **pooled.producer().attributes)
        return op.Add(op.Mul(small, op.Mul(inverse, weight)), shift)

    return apply_rule(model, pattern, rewrite, fits)


def _is_group_norm(
    context: Any,
    x: Any,
    grouped: Any,
    ones: Any,
    zeros: Any,
    weight: Any,
    bias: Any,
    back: Any,
    **_: Any,
) -> bool:
    channels = channels_of(x)
    if channels is None or fixed_shape(back) != fixed_shape(x):
        return False
    if not all(map(is_constant, (grouped, ones, zeros, weight, bias))):
        return False
    groups = constant_of(ones).size
    return (
        constant_of(grouped).tolist()[:2] in ([1, groups], [0, groups])
        and channels % groups == 0
        and is_by_channel(constant_of(weight), channels)
        and is_by_channel(constant_of(bias), channels)
        and bool((constant_of(ones) == 1).all() and (constant_of(zeros) == 0).all())
    )


def _is_one_pixel(value: ir.Value) -> bool:
    """Whether a value is the same for all pixels of a map that it is combined with."""
    shape = fixed_shape(value)
    return shape is not None and shape[-2:] in ((), (1,), (1, 1))
