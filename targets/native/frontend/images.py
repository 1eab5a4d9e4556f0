"""Operators that look at a neighbourhood: convolutions, pools, resizes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeseg.formats.onnx import name_of

from ..expressions import Call, Expression, Floats, Load, Sum, Tensor
from ..ir import Codes, Convolution, Gather, Pool, Resize, Window
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
        raise importer.refusal(node, f"is dilated by {dilation}")
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
    source = _image(importer, node)
    kernel = _two(importer.attribute(node, "kernel_shape"), 1)
    window = _window(importer, node, kernel, source)
    if len(node.outputs) > 1:
        raise importer.refusal(node, "gives the places of the largest values too")
    if node.op_type == "AveragePool":
        counts = bool(importer.attribute(node, "count_include_pad", 0))
        _mean_pool(importer, node, source, window, counts)
        return
    importer.add(Pool(title_of(node), source, window, _result(importer, node)))


def _mean_pool(
    importer: Importer, node: ir.Node, source: Tensor, window: Window, counts_padding: bool
) -> None:
    """A depthwise convolution; where padding does not count, edges have fewer addends."""
    out, channels = _result(importer, node), source.channels
    weight = np.ones((channels, 1, *window.kernel), np.float32)
    numbers = [
        _addends(source.shape[1 + axis], out.shape[1 + axis], window, axis) for axis in (0, 1)
    ]
    counts = np.outer(*numbers).astype(np.float32)
    epilogue: Expression = Sum()
    if counts_padding or (counts == counts[0, 0]).all():
        weight /= np.float32(math.prod(window.kernel) if counts_padding else counts[0, 0])
    else:
        shares = Tensor("shares", (1, *counts.shape), np.float32(1) / counts[None])
        epilogue = Call("mul", (Sum(), Load(shares)))
    bias = np.zeros(channels, np.float32)
    title = title_of(node)
    importer.add(Convolution(title, source, weight, bias, channels, window, out, epilogue))


def _addends(size: int, count: int, window: Window, axis: int) -> NDArray[np.int64]:
    """How many of a window's places lie in the image, for each output row or column."""
    first = np.arange(count)[:, None] * window.stride[axis] - window.before[axis]
    places = first + np.arange(window.kernel[axis]) * window.dilation[axis]
    found: NDArray[np.int64] = ((places >= 0) & (places < size)).sum(1)
    return found


def _resize(importer: Importer, node: ir.Node) -> None:
    source, out = importer.tensor(node.inputs[0]), importer.result(node)
    mode = importer.attribute(node, "mode", "nearest")
    if mode not in ("nearest", "linear") or len(importer.shape(node.inputs[0])) != 4:
        raise importer.refusal(node, f"has the mode '{mode}', and nearest and linear are known")
    scales = _scales(importer, node, source, out)
    rows, columns = (
        interpolation(
            source.shape[axis],
            out.shape[axis],
            scales[axis - 1],
            mode,
            importer.attribute(node, "coordinate_transformation_mode", "half_pixel"),
            importer.attribute(node, "nearest_mode", "round_prefer_floor"),
        )
        for axis in (1, 2)
    )
    importer.add(Resize(title_of(node), source, out, rows, columns))


def _scales(importer: Importer, node: ir.Node, source: Tensor, out: Tensor) -> list[float]:
    """Vertical and horizontal."""
    index = 2 if node.op_type == "Resize" else 1
    given = importer.constant(node, index)
    if given is not None and given.size == 4:
        return [float(given[2]), float(given[3])]
    return [out.shape[axis] / source.shape[axis] for axis in (1, 2)]


def interpolation(
    size: int, count: int, scale: float, mode: str, coordinates: str, rounding: str
) -> tuple[NDArray[np.int32], Floats]:
    """First of the two places that are mixed, and the share of the second, for each output.

    The conventions are those of ONNX's Resize.
    """
    index = np.arange(count, dtype=np.float64)
    if coordinates == "align_corners":
        place = index * (size - 1) / (count - 1) if count > 1 else np.zeros(1)
    elif coordinates == "asymmetric":
        place = index / scale
    elif coordinates == "pytorch_half_pixel" and count == 1:
        place = np.zeros(1)
    else:
        place = (index + 0.5) / scale - 0.5
    if mode == "nearest":
        rounded = {
            "floor": np.floor(place),
            "ceil": np.ceil(place),
            "round_prefer_floor": np.ceil(place - 0.5),
            "round_prefer_ceil": np.floor(place + 0.5),
        }[rounding]
        return np.clip(rounded, 0, size - 1).astype(np.int32), np.zeros(count, np.float32)
    place = np.clip(place, 0, size - 1)
    first = np.minimum(np.floor(place), max(size - 2, 0))
    return first.astype(np.int32), (place - first).astype(np.float32)


IMAGE_RULES: dict[str, Rule] = {
    "Conv": _convolution,
    "ConvTranspose": _transposed,
    "MaxPool": _pool,
    "AveragePool": _pool,
    "Resize": _resize,
    "Upsample": _resize,
    "QuantizeLinear": _rounding,
    "DequantizeLinear": _rounding,
}
