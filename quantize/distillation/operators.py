"""Differentiable ONNX operators in torch, in inference form."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from edgeseg.errors import CalibrationError

# An operator takes its inputs (None if left out) and attributes, and returns its outputs.
Operator = Callable[[Sequence[Any], Mapping[str, Any]], Any]


def _unsupported(kind: str, name: str, value: object) -> CalibrationError:
    return CalibrationError(
        f"Distillation does not know {kind} with {name} {value}. Calibrate with --method mse "
        "--method-option bias_correction=true."
    )


def _pads(x: Tensor, attributes: Mapping[str, Any], kernel: Sequence[int], kind: str) -> list[int]:
    """Padding (begin..., end...) of the spatial axes."""
    if attributes.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        raise _unsupported(kind, "auto_pad", attributes["auto_pad"])
    return list(attributes.get("pads", [0] * 2 * len(kernel)))


def _pad(x: Tensor, pads: Sequence[int], value: float = 0.0) -> Tensor:
    """Pad in ONNX's order: all begins, then all ends; torch's begins with the last axis."""
    axes = len(pads) // 2
    if not any(pads):
        return x
    order = [pads[place] for axis in reversed(range(axes)) for place in (axis, axis + axes)]
    return F.pad(x, order, value=value)


def pad(inputs: Sequence[Any], attributes: Mapping[str, Any]) -> Tensor:
    x, pads = inputs[0], inputs[1].tolist()
    mode = attributes.get("mode", "constant")
    if mode != "constant" or (len(inputs) > 3 and inputs[3] is not None):
        raise _unsupported("Pad", "mode", mode if mode != "constant" else "constant and axes")
    value = float(inputs[2]) if len(inputs) > 2 and inputs[2] is not None else 0.0
    return _pad(x, pads, value)


def convolution(inputs: Sequence[Any], attributes: Mapping[str, Any]) -> Tensor:
    x, weight = inputs[0], inputs[1]
    bias = inputs[2] if len(inputs) > 2 else None
    axes = weight.ndim - 2
    pads = _pads(x, attributes, weight.shape[2:], "Conv")
    convolve: Callable[..., Tensor] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}[axes]
    padding = pads[:axes]
    if padding != pads[axes:]:
        x, padding = _pad(x, pads), [0] * axes
    return convolve(
        x,
        weight,
        bias,
        stride=tuple(attributes.get("strides", [1] * axes)),
        padding=tuple(padding),
        dilation=tuple(attributes.get("dilations", [1] * axes)),
        groups=attributes.get("group", 1),
    )


def transposed_convolution(inputs: Sequence[Any], attributes: Mapping[str, Any]) -> Tensor:
    x, weight = inputs[0], inputs[1]
    bias = inputs[2] if len(inputs) > 2 else None
    axes = weight.ndim - 2
    pads = _pads(x, attributes, weight.shape[2:], "ConvTranspose")
    if pads[:axes] != pads[axes:] or "output_shape" in attributes or axes != 2:
        raise _unsupported("ConvTranspose", "pads", pads)
    return F.conv_transpose2d(
        x,
        weight,
        bias,
        stride=tuple(attributes.get("strides", [1, 1])),
        padding=tuple(pads[:axes]),
        output_padding=tuple(attributes.get("output_padding", [0, 0])),
        groups=attributes.get("group", 1),
        dilation=tuple(attributes.get("dilations", [1, 1])),
    )


def max_pooling(inputs: Sequence[Any], attributes: Mapping[str, Any]) -> Tensor:
    kernel = attributes["kernel_shape"]
    pads = _pads(inputs[0], attributes, kernel, "MaxPool")
    return F.max_pool2d(
        _pad(inputs[0], pads, -math.inf),
        tuple(kernel),
        tuple(attributes.get("strides", [1] * len(kernel))),
        dilation=tuple(attributes.get("dilations", [1] * len(kernel))),
        ceil_mode=bool(attributes.get("ceil_mode", 0)),
    )


def average_pooling(inputs: Sequence[Any], attributes: Mapping[str, Any]) -> Tensor:
    kernel = attributes["kernel_shape"]
    pads = _pads(inputs[0], attributes, kernel, "AveragePool")
    axes = len(kernel)
    if pads[:axes] != pads[axes:]:
        raise _unsupported("AveragePool", "pads", pads)
    return F.avg_pool2d(
        inputs[0],
        tuple(kernel),
        tuple(attributes.get("strides", [1] * axes)),
        tuple(pads[:axes]),
        ceil_mode=bool(attributes.get("ceil_mode", 0)),
        count_include_pad=bool(attributes.get("count_include_pad", 0)),
    )


def batch_normalization(inputs: Sequence[Any], attributes: Mapping[str, Any]) -> Tensor:
    x, scale, shift, mean, variance = inputs
    return F.batch_norm(x, mean, variance, scale, shift, eps=attributes.get("epsilon", 1e-5))


def instance_normalization(inputs: Sequence[Any], attributes: Mapping[str, Any]) -> Tensor:
    x, scale, shift = inputs
    return F.instance_norm(x, weight=scale, bias=shift, eps=attributes.get("epsilon", 1e-5))


def layer_normalization(inputs: Sequence[Any], attributes: Mapping[str, Any]) -> Tensor:
    x, scale = inputs[:2]
    shift = inputs[2] if len(inputs) > 2 else None
    axis = attributes.get("axis", -1) % x.ndim
    return F.layer_norm(x, x.shape[axis:], scale, shift, attributes.get("epsilon", 1e-5))


def group_normalization(inputs: Sequence[Any], attributes: Mapping[str, Any]) -> Tensor:
    x, scale, shift = inputs
    if len(scale) != x.shape[1]:
        raise _unsupported("GroupNormalization", "scales", len(scale))
    return F.group_norm(x, attributes["num_groups"], scale, shift, attributes.get("epsilon", 1e-5))


def resize(inputs: Sequence[Any], attributes: Mapping[str, Any]) -> Tensor:
    x: Tensor = inputs[0]
    scales = inputs[2] if len(inputs) > 2 and inputs[2] is not None and len(inputs[2]) else None
    if scales is not None:
        given = scales.tolist()
        size = [math.floor(n * s) for n, s in zip(x.shape, given, strict=True)]
        # Torch takes the quotient of the sizes.
        if any(abs(m / n - s) > 1e-6 * s for m, n, s in zip(size, x.shape, given, strict=True)):
            raise _unsupported("Resize", "scales", given)
    else:
        size = inputs[3].tolist()
    mode = attributes.get("mode", "nearest")
    where = attributes.get("coordinate_transformation_mode", "half_pixel")
    if list(size[:2]) != list(x.shape[:2]) or x.ndim != 4 or attributes.get("antialias", 0):
        raise _unsupported("Resize", "sizes", list(size))
    if mode == "nearest" and where == "asymmetric" and attributes.get("nearest_mode") == "floor":
        return F.interpolate(x, size[2:], mode="nearest")
    if mode == "linear" and where in ("half_pixel", "pytorch_half_pixel", "align_corners"):
        return F.interpolate(x, size[2:], mode="bilinear", align_corners=where == "align_corners")
    raise _unsupported("Resize", "mode", f"{mode}, {where}")


def split(inputs: Sequence[Any], attributes: Mapping[str, Any]) -> Sequence[Tensor]:
    x, axis = inputs[0], attributes.get("axis", 0)
    if len(inputs) > 1 and inputs[1] is not None:
        return torch.split(x, inputs[1].tolist(), axis)
    count = attributes["num_outputs"]
    return torch.split(x, math.ceil(x.shape[axis] / count), axis)


def slice_tensor(inputs: Sequence[Any], attributes: Mapping[str, Any]) -> Tensor:
    x: Tensor = inputs[0]
    starts, ends = inputs[1].tolist(), inputs[2].tolist()
    given = [part.tolist() if part is not None else None for part in inputs[3:]]
    axes = given[0] if given and given[0] is not None else list(range(len(starts)))
    steps = given[1] if len(given) > 1 and given[1] is not None else [1] * len(starts)
    places: list[slice] = [slice(None)] * x.ndim
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        if step < 1:
            raise _unsupported("Slice", "a step of", step)
        places[axis % x.ndim] = slice(start, end, step)
    return x[tuple(places)]


def reshape(inputs: Sequence[Any], attributes: Mapping[str, Any]) -> Tensor:
    x: Tensor = inputs[0]
    shape = inputs[1].tolist()
    if not attributes.get("allowzero", 0):
        shape = [x.shape[axis] if size == 0 else size for axis, size in enumerate(shape)]
    return x.reshape(shape)


def flatten(inputs: Sequence[Any], attributes: Mapping[str, Any]) -> Tensor:
    x: Tensor = inputs[0]
    return x.reshape(math.prod(x.shape[: attributes.get("axis", 1)]), -1)


def unsqueeze(inputs: Sequence[Any], attributes: Mapping[str, Any]) -> Tensor:
    x: Tensor = inputs[0]
    axes = inputs[1].tolist()
    rank = x.ndim + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        x = x.unsqueeze(axis)
    return x


def squeeze(inputs: Sequence[Any], attributes: Mapping[str, Any]) -> Tensor:
    x: Tensor = inputs[0]
    if len(inputs) < 2 or inputs[1] is None:
        return x.squeeze()
    return x.squeeze(tuple(inputs[1].tolist()))


def reduction(reduce: Callable[..., Tensor]) -> Operator:
    def apply(inputs: Sequence[Any], attributes: Mapping[str, Any]) -> Tensor:
        x: Tensor = inputs[0]
        axes = attributes.get("axes")
        if len(inputs) > 1 and inputs[1] is not None:
            axes = inputs[1].tolist()
        if not axes:
            if attributes.get("noop_with_empty_axes", 0):
                return x
            axes = range(x.ndim)
        return reduce(x, dim=tuple(axes), keepdim=bool(attributes.get("keepdims", 1)))

    return apply


def clip(inputs: Sequence[Any], attributes: Mapping[str, Any]) -> Tensor:
    x: Tensor = inputs[0]
    low, high = [*inputs[1:], None, None][:2]
    return x if low is None and high is None else torch.clamp(x, low, high)


def gemm(inputs: Sequence[Any], attributes: Mapping[str, Any]) -> Tensor:
    a: Tensor = inputs[0].T if attributes.get("transA", 0) else inputs[0]
    b: Tensor = inputs[1].T if attributes.get("transB", 0) else inputs[1]
    result: Tensor = attributes.get("alpha", 1.0) * (a @ b)
    if len(inputs) > 2 and inputs[2] is not None:
        result = result + attributes.get("beta", 1.0) * inputs[2]
    return result


def prelu(inputs: Sequence[Any], attributes: Mapping[str, Any]) -> Tensor:
    x, slope = inputs
    return torch.where(x < 0, x * slope, x)


def gelu(inputs: Sequence[Any], attributes: Mapping[str, Any]) -> Tensor:
    return F.gelu(inputs[0], approximate=attributes.get("approximate", "none"))


def hard_sigmoid(inputs: Sequence[Any], attributes: Mapping[str, Any]) -> Tensor:
    scaled: Tensor = inputs[0] * attributes.get("alpha", 0.2) + attributes.get("beta", 0.5)
    return torch.clamp(scaled, 0.0, 1.0)


def _elementwise(apply: Callable[..., Tensor]) -> Operator:
    return lambda inputs, attributes: apply(*inputs)


OPERATORS: Mapping[str, Operator] = {
    "Abs": _elementwise(torch.abs),
    "Add": _elementwise(torch.add),
    "AveragePool": average_pooling,
    "BatchNormalization": batch_normalization,
    "Clip": clip,
    "Concat": lambda inputs, attributes: torch.cat(list(inputs), attributes["axis"]),
    "Conv": convolution,
    "ConvTranspose": transposed_convolution,
    "Div": _elementwise(torch.div),
    "Erf": _elementwise(torch.erf),
    "Exp": _elementwise(torch.exp),
    "Expand": lambda inputs, attributes: inputs[0] * torch.ones(inputs[1].tolist()),
    "Flatten": flatten,
    "Gelu": gelu,
    "Gemm": gemm,
    "GlobalAveragePool": lambda inputs, attributes: inputs[0].mean((2, 3), keepdim=True),
    "GroupNormalization": group_normalization,
    "HardSigmoid": hard_sigmoid,
    "HardSwish": _elementwise(F.hardswish),
    "Identity": lambda inputs, attributes: inputs[0],
    "InstanceNormalization": instance_normalization,
    "LayerNormalization": layer_normalization,
    "LeakyRelu": lambda inputs, attributes: F.leaky_relu(inputs[0], attributes.get("alpha", 0.01)),
    "MatMul": _elementwise(torch.matmul),
    "Max": _elementwise(torch.maximum),
    "MaxPool": max_pooling,
    "Min": _elementwise(torch.minimum),
    "Mul": _elementwise(torch.mul),
    "Neg": _elementwise(torch.neg),
    "PRelu": prelu,
    "Pad": pad,
    "Pow": _elementwise(torch.pow),
    "Reciprocal": _elementwise(torch.reciprocal),
    "ReduceMax": reduction(torch.amax),
    "ReduceMean": reduction(torch.mean),
    "ReduceSum": reduction(torch.sum),
    "Relu": _elementwise(torch.relu),
    "Reshape": reshape,
    "Resize": resize,
    "Sigmoid": _elementwise(torch.sigmoid),
    "Slice": slice_tensor,
    "Softmax": lambda inputs, attributes: torch.softmax(inputs[0], attributes.get("axis", -1)),
    "Softplus": _elementwise(F.softplus),
    "Split": split,
    "Sqrt": _elementwise(torch.sqrt),
    "Squeeze": squeeze,
    "Sub": _elementwise(torch.sub),
    "Tanh": _elementwise(torch.tanh),
    "Transpose": lambda inputs, attributes: inputs[0].permute(attributes["perm"]),
    "Unsqueeze": unsqueeze,
}
