"""Rewrites of activations: PReLU, and softmax of two classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..formats.onnx import constant_of, is_constant
from .graph import Editor, channels_of, rewrite_each
from .rewrite import as_rewrite

if TYPE_CHECKING:
    import onnx_ir as ir


LARGEST_SLOPE = 1.0  # beyond it the two terms are larger than their sum, and so is its rounding


@as_rewrite("softmax-by-sigmoid")
def softmax_by_sigmoid(model: ir.Model) -> int:
    """Write softmax over two channels as the sigmoid of their difference and of its negative.

    exp a / (exp a + exp b) = sigmoid(a - b). The difference is a 1x1 convolution, which
    `pointwise_before_resize` and `merge_pointwise` merge into the last layer: one map of logits is
    computed and enlarged instead of two, and ONNX Runtime's softmax over channels, which takes 9 ms
    for 512 x 512 pixels, is no longer needed.

    Returns:
        How many operators were rewritten.
    """

    def rewrite(edit: Editor, node: ir.Node) -> ir.Value | None:
        if node.op_type != "Softmax" or node.attributes.get_int("axis", -1) not in (1, -3):
            return None
        if channels_of(node.inputs[0]) != 2:
            return None
        difference = edit.convolution(node.inputs[0], np.array([[[[1.0]], [[-1.0]]]]))
        second = edit("Sigmoid", edit("Neg", difference))
        return edit("Concat", edit("Sigmoid", difference), second, axis=1)

    return rewrite_each(model, rewrite)


@as_rewrite("prelu-by-depthwise", layout="channels-first")
def prelu_by_depthwise(model: ir.Model) -> int:
    """Write a PReLU as a rectified depthwise 1x1 convolution and another that is added to it.

    prelu x = relu((1 - a) x) + a x, with a slope a in -1..1 for each channel. One slope for all
    channels is a LeakyReLU. ONNX Runtime 1.32 decides the sign of each value by a branch, which
    takes 14 times as long as 1.23 where signs are mixed, and no version knows PReLU in its blocked
    layout: maps are copied out and back around each. Inside of convolutions it rectifies and adds
    at no cost.

    Returns:
        How many operators were rewritten.
    """

    def rewrite(edit: Editor, node: ir.Node) -> ir.Value | None:
        if node.op_type != "PRelu" or not is_constant(node.inputs[1]):
            return None
        x = node.inputs[0]
        channels = channels_of(x)
        slopes = constant_of(node.inputs[1])
        if channels is None or slopes.shape[-3:] not in ((), (1,), (1, 1, 1), (channels, 1, 1)):
            return None
        if slopes.size == 1:
            return edit("LeakyRelu", x, alpha=float(slopes.ravel()[0]))
        if np.abs(slopes).max() > LARGEST_SLOPE:
            return None
        weight = slopes.astype(np.float64).reshape(channels, 1, 1, 1)
        positive = edit("Relu", edit.convolution(x, 1 - weight, group=channels))
        return edit("Add", positive, edit.convolution(x, weight, group=channels))

    return rewrite_each(model, rewrite)
