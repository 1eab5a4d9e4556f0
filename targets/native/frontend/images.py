"""Operators that look at a neighbourhood: convolutions, pools, resizes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeseg.formats.onnx import name_of

from ..expressions import Call, Expression, Floats, Load, Sum, Tensor
from ..ir import Codes, Convolution, Gather, Pool, Window
from .importer import Importer, Rule, title_of

if TYPE_CHECKING:
    import onnx_ir as ir


def _two(values: Any, default: int) -> tuple[int, int]:
    """An attribute for both directions; of one-dimensional operators, the vertical is added."""
    given = [int(value) for value in values] if values is not None else [default, default]
    return (given[0], given[1]) if len(given) == 2 else (default, given[0])


def _padding(
    importer: Importer, node: ir.Node, size: tuple[int, int], window: Window
) -> tuple[int, int]:
    """What is above and to the left; below and to the right follows from the output's size."""
    automatic = importer.attribute(node, "auto_pad", "NOTSET")
    if automatic in ("SAME_UPPER", "SAME_LOWER"):
        before = []
        for axis in (0, 1):
            steps = math.ceil(size[axis] / window.stride[axis])
            reach = (steps - 1) * window.stride[axis]
            reach += (window.kernel[axis] - 1) * window.dilation[axis] + 1
            missing = max(0, reach - size[axis])
            before.append(missing // 2 if automatic == "SAME_UPPER" else -(-missing // 2))
        return before[0], before[1]
    pads = importer.attribute(node, "pads")
    if pads is None:
        return 0, 0
    return (int(pads[0]), int(pads[1])) if len(pads) == 4 else (0, int(pads[0]))


def _window(importer: Importer, node: ir.Node, kernel: tuple[int, int], source: Tensor) -> Window:
    stride = _two(importer.attribute(node, "strides"), 1)
    dilation = _two(importer.attribute(node, "dilations"), 1)
    window = Window(kernel, stride, dilation)
    before = _padding(importer, node, source.shape[1:], window)
    return Window(kernel, stride, dilation, before)


def _weights(importer: Importer, node: ir.Node) -> Floats:
    weight = importer.constant(node, 1)
    assert weight is not None
    if weight.ndim == 3:  # of one dimension
        weight = weight[:, :, None]
    if weight.ndim != 4:
        raise importer.refusal(node, f"has {weight.ndim - 2} dimensions, and 1 and 2 are known")
    return np.asarray(weight, np.float32)


def _bias(importer: Importer, node: ir.Node, count: int) -> Floats:
    bias = importer.constant(node, 2)
    return np.zeros(count, np.float32) if bias is None else np.asarray(bias, np.float32)


def _image(importer: Importer, node: ir.Node) -> Tensor:
    """The input with one-dimensional ones seen as an image of one row."""
    source = importer.tensor(node.inputs[0])
    shape = importer.shape(node.inputs[0])
    if shape[0] != 1:
        raise importer.refusal(node, f"has a batch of {shape[0]}, and images come one by one")
    if len(shape) == 3:
        return importer.reshaped(node, source, (shape[1], 1, shape[2]))
    return source


def _result(importer: Importer, node: ir.Node) -> Tensor:
    shape = importer.shape(node.outputs[0])
    if len(shape) != 3:
        return importer.result(node)
    out = importer.new(str(node.outputs[0].name), (shape[1], 1, shape[2]))
    importer.tensors[node.outputs[0]] = out
    return out


def _convolution(importer: Importer, node: ir.Node) -> None:
    weight, source = _weights(importer, node), _image(importer, node)
    window = _window(importer, node, (weight.shape[2], weight.shape[3]), source)
    groups = int(importer.attribute(node, "group", 1))
    bias = _bias(importer, node, weight.shape[0])
    out = _result(importer, node)
    codes = _codes(importer, node, source)
    importer.add(
        Convolution(title_of(node), source, weight, bias, groups, window, out, codes=codes)
    )


def _codes(importer: Importer, node: ir.Node, source: Tensor) -> Codes | None:
    value = node.inputs[0]
    assert value is not None
    scales = importer.weight_scales.get(name_of(node.outputs[0]))
    if scales is None or value not in importer.rounded or source is not importer.tensors[value]:
        return None
    return Codes(*importer.rounded[value], scales)


def _rounding(importer: Importer, node: ir.Node) -> None:
    """QuantizeLinear and DequantizeLinear: what is read stays as it is; convolutions round."""
    value, out = node.inputs[0], node.outputs[0]
    assert value is not None
    scale, zero = (importer.constant(node, index) for index in (1, 2))
    if scale is None or scale.size != 1 or (zero is not None and zero.dtype != np.int8):
        raise importer.refusal(node, "has another form than int8 with one scale for all")
    importer.tensors[out] = importer.tensor(value)
    importer.rounded[out] = float(scale.item()), int(zero.item()) if zero is not None else 0


def _transposed(importer: Importer, node: ir.Node) -> None:
    """A convolution for each of the stride's phases, whose results are shuffled together.

    An output at y = stride * i + p is the sum over the kernel's rows k = p + before - stride * j
    that exist, of input row i + j.
    """
    weight, source = _weights(importer, node), _image(importer, node)
    stride = _two(importer.attribute(node, "strides"), 1)
    dilation = _two(importer.attribute(node, "dilations"), 1)
    if dilation != (1, 1):
        weight = _dilated(weight, dilation)
    groups = int(importer.attribute(node, "group", 1))
    kernel = (weight.shape[2], weight.shape[3])
    before = _padding(importer, node, source.shape[1:], Window(kernel))
    out = _result(importer, node)
    spans = [_span(kernel[axis], stride[axis], before[axis]) for axis in (0, 1)]
    phased = _phase_weights(weight, groups, stride, before, spans)
    bias = np.repeat(_bias(importer, node, out.channels), stride[0] * stride[1])
    size = tuple(-(-out.shape[1 + axis] // stride[axis]) for axis in (0, 1))
    # All outputs lie at i >= 0; the kernel of a phase reaches from its lowest to its highest j.
    window = Window(
        (spans[0][1] - spans[0][0] + 1, spans[1][1] - spans[1][0] + 1),
        before=(-spans[0][0], -spans[1][0]),
    )
    phases = importer.new(f"{out.name}_phases", (len(bias), size[0], size[1]))
    title = title_of(node)
    importer.add(Convolution(title, source, phased, bias, groups, window, phases))
    numbers = np.arange(math.prod(phases.shape), dtype=np.int32)
    order = numbers.reshape(out.channels, *stride, *size).transpose(0, 3, 1, 4, 2)
    whole = order.reshape(out.channels, size[0] * stride[0], size[1] * stride[1])
    cut = np.ascontiguousarray(whole[:, : out.height, : out.width])
    importer.add(Gather(title, phases, out, cut.ravel()))


def _dilated(weight: Floats, dilation: tuple[int, int]) -> Floats:
    """The kernel without dilation: with zeros in between."""
    size = [(weight.shape[2 + axis] - 1) * dilation[axis] + 1 for axis in (0, 1)]
    made = np.zeros((*weight.shape[:2], *size), np.float32)
    made[:, :, :: dilation[0], :: dilation[1]] = weight
    return made


def _span(kernel: int, stride: int, before: int) -> tuple[int, int]:
    """Lowest and highest offset of the input row that any phase reads."""
    offsets = [
        (phase + before - row) // stride
        for phase in range(stride)
        for row in range(kernel)
        if (phase + before - row) % stride == 0
    ]
    return min(offsets), max(offsets)


def _phase_weights(
    weight: Floats,
    groups: int,
    stride: tuple[int, int],
    before: tuple[int, int],
    spans: list[tuple[int, int]],
) -> Floats:
    """(outputs * phases, inputs per group, rows, columns) from (inputs, outputs per group, ...)."""
    inputs, outputs = weight.shape[0] // groups, weight.shape[1]
    grouped = weight.reshape(groups, inputs, outputs, *weight.shape[2:])
    sizes = [high - low + 1 for low, high in spans]
    made = np.zeros((groups, outputs, *stride, inputs, *sizes), np.float32)
    for down in range(stride[0]):
        for right in range(stride[1]):
            for row in range(weight.shape[2]):
                for column in range(weight.shape[3]):
                    y, x = down + before[0] - row, right + before[1] - column
                    if y % stride[0] == 0 and x % stride[1] == 0:
                        place = y // stride[0] - spans[0][0], x // stride[1] - spans[1][0]
                        made[:, :, down, right, :, place[0], place[1]] = grouped[
                            :, :, :, row, column
                        ].transpose(0, 2, 1)
    return made.reshape(groups * outputs * stride[0] * stride[1], inputs, *sizes)


def _pool(importer: Importer, node: ir.Node) -> None:
    if len(node.outputs) > 1 and node.outputs[1].uses():
        raise importer.refusal(node, "gives the places of the largest values too")
    given = importer.attribute(node, "kernel_shape")
    if len(given) > 2:
        _pool_of_planes(importer, node)
        return
    source = _image(importer, node)
    window = _window(importer, node, _two(given, 1), source)
    out = _result(importer, node)
    if node.op_type == "AveragePool":
        pads = importer.attribute(node, "pads", (0, 0, 0, 0))
        after = (int(pads[-2]), int(pads[-1])) if len(pads) == 4 else (0, int(pads[-1]))
        _mean_pool(importer, node, source, window, after, out)
    else:
        importer.add(Pool(title_of(node), source, window, out))


def _pool_of_planes(importer: Importer, node: ir.Node) -> None:
    """Three dimensions, of which only the first has a window: what response norms do."""
    kernel, strides, dilations = (
        [int(one) for one in importer.attribute(node, name, (1, 1, 1))]
        for name in ("kernel_shape", "strides", "dilations")
    )
    pads = [int(one) for one in importer.attribute(node, "pads", (0,) * 6)]
    shape, result = importer.shape(node.inputs[0]), importer.shape(node.outputs[0])
    has_others = any(pads[axis] for axis in (1, 2, 4, 5)) or kernel[1:] + strides[1:] != [1] * 4
    if len(kernel) != 3 or has_others or shape[0] != 1:
        raise importer.refusal(node, f"has the window {kernel}, and two dimensions are known")
    pixels = shape[3] * shape[4]
    source = importer.tensor(node.inputs[0])
    source = importer.reshaped(node, source, (shape[1], shape[2], pixels))
    window = Window((kernel[0], 1), (strides[0], 1), (dilations[0], 1), (pads[0], 0))
    made = importer.new(f"{source.name}_pooled", (shape[1], result[2], pixels))
    if node.op_type == "AveragePool":
        _mean_pool(importer, node, source, window, (pads[3], 0), made)
    else:
        importer.add(Pool(title_of(node), source, window, made))
    out = importer.result(node)
    importer.tensors[node.outputs[0]] = importer.reshaped(node, made, out.shape)


def _mean_pool(
    importer: Importer,
    node: ir.Node,
    source: Tensor,
    window: Window,
    after: tuple[int, int],
    out: Tensor,
) -> None:
    """A depthwise convolution; windows that reach beyond what counts have fewer addends.

    Args:
        after: Padding below and to the right; sizes that are rounded up reach further.
    """
    channels = source.channels
    weight = np.ones((channels, 1, *window.kernel), np.float32)
    counts_padding = bool(importer.attribute(node, "count_include_pad", 0))
    if importer.attribute(node, "auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        after = window.kernel  # all of it
    numbers = []
    for axis in (0, 1):
        size = source.shape[1 + axis]
        low, high = (-window.before[axis], size + after[axis]) if counts_padding else (0, size)
        numbers.append(_addends(low, high, out.shape[1 + axis], window, axis))
    counts = np.outer(*numbers).astype(np.float32)
    epilogue: Expression = Sum()
    if (counts == counts[0, 0]).all():
        weight /= counts[0, 0]
    else:
        shares = Tensor("shares", (1, *counts.shape), np.float32(1) / counts[None])
        epilogue = Call("mul", (Sum(), Load(shares)))
    bias = np.zeros(channels, np.float32)
    title = title_of(node)
    importer.add(Convolution(title, source, weight, bias, channels, window, out, epilogue))


def _addends(low: int, high: int, count: int, window: Window, axis: int) -> NDArray[np.int64]:
    """How many of a window's places lie from `low` to `high`, for each output row or column."""
    first = np.arange(count)[:, None] * window.stride[axis] - window.before[axis]
    places = first + np.arange(window.kernel[axis]) * window.dilation[axis]
    found: NDArray[np.int64] = ((places >= low) & (places < high)).sum(1)
    return found


IMAGE_RULES: dict[str, Rule] = {
    "Conv": _convolution,
    "ConvTranspose": _transposed,
    "MaxPool": _pool,
    "AveragePool": _pool,
    "QuantizeLinear": _rounding,
    "DequantizeLinear": _rounding,
}
