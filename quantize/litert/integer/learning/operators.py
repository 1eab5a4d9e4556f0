"""Differentiable TFLite operators in torch, on tensors (N, H, W, C) as TFLite lays them out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from edgeseg.errors import CalibrationError

from ....distillation.operators import Operator

# Numbers of the format, in its order.
SAME_PADDING = 0
ACTIVATIONS: tuple[Callable[[Tensor], Tensor], ...] = (
    lambda x: x,
    torch.relu,
    lambda x: x.clamp(-1, 1),
    lambda x: x.clamp(0, 6),
    torch.tanh,
)
ADVICE = "Take --method integer without the option int16."


def not_taught(what: str) -> CalibrationError:
    return CalibrationError(f"EdgeSeg does not compute {what} of TFLite in torch. {ADVICE}")


def planes(x: Tensor) -> Tensor:
    """(N, C, H, W) of (N, H, W, C)."""
    return x.permute(0, 3, 1, 2)


def pixels(x: Tensor) -> Tensor:
    """(N, H, W, C) of (N, C, H, W)."""
    return x.permute(0, 2, 3, 1)


def activated(x: Tensor, options: Mapping[str, Any]) -> Tensor:
    """What an operator gives after the activation that is part of it."""
    made: Tensor = ACTIVATIONS[options.get("fusedActivationFunction", 0)](x)
    return made


def convolution(inputs: Sequence[Any], options: Mapping[str, Any]) -> Tensor:
    """Weight in ONNX's layout, (O, I/groups, kh, kw)."""
    x, weight, bias = planes(inputs[0]), inputs[1], inputs[2]
    strides = options["strideH"], options["strideW"]
    dilations = options["dilationHFactor"], options["dilationWFactor"]
    x = _same(x, weight.shape[2:], strides, dilations, options["padding"])
    groups = x.shape[1] // weight.shape[1]
    result = F.conv2d(x, weight, bias, strides, 0, dilations, groups)
    return activated(pixels(result), options)


def max_pooling(inputs: Sequence[Any], options: Mapping[str, Any]) -> Tensor:
    kernel, strides = _window(options)
    x = _same(planes(inputs[0]), kernel, strides, (1, 1), options["padding"], -torch.inf)
    return activated(pixels(F.max_pool2d(x, kernel, strides)), options)


def average_pooling(inputs: Sequence[Any], options: Mapping[str, Any]) -> Tensor:
    """Pixels beyond the border do not count."""
    kernel, strides = _window(options)
    x = planes(inputs[0])
    summed = F.avg_pool2d(_same(x, kernel, strides, (1, 1), options["padding"]), kernel, strides)
    ones = torch.ones_like(x[:1, :1])
    share = F.avg_pool2d(_same(ones, kernel, strides, (1, 1), options["padding"]), kernel, strides)
    return activated(pixels(summed / share), options)


def resize_bilinear(inputs: Sequence[Any], options: Mapping[str, Any]) -> Tensor:
    corners, centres = bool(options["alignCorners"]), bool(options["halfPixelCenters"])
    if not corners and not centres:
        raise not_taught("RESIZE_BILINEAR without half_pixel_centers")
    size = inputs[1].tolist()
    return pixels(F.interpolate(planes(inputs[0]), size, mode="bilinear", align_corners=corners))


def resize_nearest(inputs: Sequence[Any], options: Mapping[str, Any]) -> Tensor:
    if options["alignCorners"]:
        raise not_taught("RESIZE_NEAREST_NEIGHBOR with align_corners")
    mode = "nearest-exact" if options["halfPixelCenters"] else "nearest"
    return pixels(F.interpolate(planes(inputs[0]), inputs[1].tolist(), mode=mode))


def pad(inputs: Sequence[Any], options: Mapping[str, Any]) -> Tensor:
    order = [int(count) for axis in reversed(inputs[1].tolist()) for count in axis]
    return F.pad(inputs[0], order)


def split(inputs: Sequence[Any], options: Mapping[str, Any]) -> Sequence[Tensor]:
    return torch.chunk(inputs[1], options["numSplits"], int(inputs[0]))


def strided_slice(inputs: Sequence[Any], options: Mapping[str, Any]) -> Tensor:
    x: Tensor = inputs[0]
    masks = [options[name] for name in ("ellipsisMask", "newAxisMask", "shrinkAxisMask")]
    if any(masks) or options.get("offset") or min(inputs[3].tolist()) < 1:
        raise not_taught("STRIDED_SLICE that adds or drops axes or goes backwards")
    bounds = zip(*(one.tolist() for one in inputs[1:]), strict=True)
    places = [
        slice(
            None if options["beginMask"] >> axis & 1 else begin,
            None if options["endMask"] >> axis & 1 else end,
            step,
        )
        for axis, (begin, end, step) in enumerate(bounds)
    ]
    return x[tuple(places)]


def slice_tensor(inputs: Sequence[Any], options: Mapping[str, Any]) -> Tensor:
    x: Tensor = inputs[0]
    bounds = zip(inputs[1].tolist(), inputs[2].tolist(), strict=True)
    return x[tuple(slice(at, None if size < 0 else at + size) for at, size in bounds)]


def depth_to_space(inputs: Sequence[Any], options: Mapping[str, Any]) -> Tensor:
    """Channels are (block row, block column, channel), not as in torch's pixel shuffle."""
    n, h, w, c = inputs[0].shape
    block = options["blockSize"]
    parts = inputs[0].reshape(n, h, w, block, block, c // block**2)
    made: Tensor = parts.permute(0, 1, 3, 2, 4, 5).reshape(n, h * block, w * block, -1)
    return made


def space_to_depth(inputs: Sequence[Any], options: Mapping[str, Any]) -> Tensor:
    n, h, w, c = inputs[0].shape
    block = options["blockSize"]
    parts = inputs[0].reshape(n, h // block, block, w // block, block, c)
    made: Tensor = parts.permute(0, 1, 3, 2, 4, 5).reshape(n, h // block, w // block, -1)
    return made


def reduction(reduce: Callable[..., Tensor]) -> Operator:
    def apply(inputs: Sequence[Any], options: Mapping[str, Any]) -> Tensor:
        axes = tuple(inputs[1].reshape(-1).tolist())
        return reduce(inputs[0], dim=axes, keepdim=bool(options["keepDims"]))

    return apply


def prelu(inputs: Sequence[Any], options: Mapping[str, Any]) -> Tensor:
    x, slope = inputs
    return torch.where(x < 0, x * slope, x)


def gelu(inputs: Sequence[Any], options: Mapping[str, Any]) -> Tensor:
    return F.gelu(inputs[0], approximate="tanh" if options.get("approximate") else "none")


def _same(
    x: Tensor,
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
    padding: int,
    value: float = 0.0,
) -> Tensor:
    """Planes padded as TFLite's SAME pads them; as they are under VALID."""
    if padding != SAME_PADDING:
        return x
    sides: list[int] = []
    for axis in (1, 0):  # torch's padding begins with the last axis
        size, reach = x.shape[2 + axis], (kernel[axis] - 1) * dilations[axis] + 1
        steps = -(-size // strides[axis])
        missing = max((steps - 1) * strides[axis] + reach - size, 0)
        sides += [missing // 2, missing - missing // 2]
    return F.pad(x, sides, value=value) if any(sides) else x


def _window(options: Mapping[str, Any]) -> tuple[tuple[int, int], tuple[int, int]]:
    kernel = options["filterHeight"], options["filterWidth"]
    return kernel, (options["strideH"], options["strideW"])


def _arithmetic(apply: Callable[..., Tensor]) -> Operator:
    return lambda inputs, options: activated(apply(*inputs), options)


def _elementwise(apply: Callable[..., Tensor]) -> Operator:
    return lambda inputs, options: apply(*inputs)


OPERATORS: Mapping[str, Operator] = {
    "ADD": _arithmetic(torch.add),
    "AVERAGE_POOL_2D": average_pooling,
    "CONCATENATION": lambda inputs, options: torch.cat(list(inputs), options["axis"]),
    "CONV_2D": convolution,
    "DEPTHWISE_CONV_2D": convolution,
    "DEPTH_TO_SPACE": depth_to_space,
    "DIV": _arithmetic(torch.div),
    "GELU": gelu,
    "HARD_SWISH": _elementwise(F.hardswish),
    "LEAKY_RELU": lambda inputs, options: F.leaky_relu(inputs[0], options["alpha"]),
    "LOGISTIC": _elementwise(torch.sigmoid),
    "MAX_POOL_2D": max_pooling,
    "MEAN": reduction(torch.mean),
    "MUL": _arithmetic(torch.mul),
    "NEG": _elementwise(torch.neg),
    "PAD": pad,
    "PRELU": prelu,
    "RELU": _elementwise(torch.relu),
    "RESHAPE": lambda inputs, options: inputs[0].reshape(inputs[1].tolist()),
    "RESIZE_BILINEAR": resize_bilinear,
    "RESIZE_NEAREST_NEIGHBOR": resize_nearest,
    "SLICE": slice_tensor,
    "SOFTMAX": lambda inputs, options: torch.softmax(inputs[0] * options["beta"], -1),
    "SPACE_TO_DEPTH": space_to_depth,
    "SPLIT": split,
    "RSQRT": _elementwise(torch.rsqrt),
    "SQRT": _elementwise(torch.sqrt),
    "STRIDED_SLICE": strided_slice,
    "SUB": _arithmetic(torch.sub),
    "SUM": reduction(torch.sum),
    "TANH": _elementwise(torch.tanh),
    "TRANSPOSE": lambda inputs, options: inputs[0].permute(inputs[1].tolist()),
}
