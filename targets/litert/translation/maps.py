"""Convolutions and transposed convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeseg.formats.onnx import constant_of, is_constant

from .moves import cut, pad
from .translator import Rule, Translator

if TYPE_CHECKING:
    import onnx_ir as ir

    Pairs = Sequence[tuple[int, int]]


def as_map(net: Translator, value: ir.Value | None) -> Any:
    """A value (N, C, H, W) or (N, C, L) as (N, H, W, C); a line is a map of one row.

    Raises:
        TargetError: It has other than three or four axes.
    """
    tensor = net.last(value)
    if len(tensor.shape) == 3:
        return net.tf.expand_dims(tensor, 1)
    if len(tensor.shape) != 4:
        raise net.refusal("works on volumes, which TFLite's runtimes on phones do not")
    return tensor


def give_map(net: Translator, value: ir.Value, tensor: Any) -> None:
    """The reverse of `as_map`, for a result."""
    if net.rank(value) == 3:
        tensor = net.tf.squeeze(tensor, 1)
    net.give(value, tensor, last=True)


def spatial(net: Translator, node: ir.Node, name: str, default: int) -> tuple[int, int]:
    """An attribute of one integer an axis, for rows and columns."""
    found = net.attribute(node, name) or [default] * (net.rank(node.inputs[0]) - 2)
    return (default, found[0]) if len(found) == 1 else (found[0], found[1])


def pads_of(
    net: Translator,
    node: ir.Node,
    size: tuple[int, int],
    reach: tuple[int, int],
    strides: tuple[int, int],
) -> Pairs:
    """How much is added before and after rows and columns.

    Args:
        size: Rows and columns of the input.
        reach: Rows and columns under the kernel.
    """
    auto = net.attribute(node, "auto_pad", "NOTSET")
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        pairs = []
        for long, wide, step in zip(size, reach, strides, strict=True):
            total = max((-(-long // step) - 1) * step + wide - long, 0)
            less, more = total // 2, total - total // 2
            pairs.append((less, more) if auto == "SAME_UPPER" else (more, less))
        return pairs
    found = net.attribute(node, "pads") or [0] * 4
    if len(found) == 2:
        return [(0, 0), (found[0], found[1])]
    return [(found[0], found[2]), (found[1], found[3])]


def size_of(tensor: Any) -> tuple[int, int]:
    """Rows and columns of a map (N, H, W, C)."""
    return int(tensor.shape[1]), int(tensor.shape[2])


def _convolution(net: Translator, node: ir.Node) -> None:
    x, group = as_map(net, node.inputs[0]), net.attribute(node, "group", 1)
    strides, dilations = (spatial(net, node, name, 1) for name in ("strides", "dilations"))
    kernel = _kernel(net, node)
    reach = _reach(kernel, dilations)
    pairs = pads_of(net, node, size_of(x), reach, strides)
    # TensorFlow has no convolution with both, nor a depthwise one whose steps differ.
    both = max(strides) > 1 and max(dilations) > 1
    steps = (1, 1) if both or (group > 1 and strides[0] != strides[1]) else strides
    y = convolve(net, x, kernel, group, steps, dilations, pairs)
    if steps != strides:
        rows, columns = (
            range(0, size, step) for size, step in zip(size_of(y), strides, strict=True)
        )
        y = cut(net, y, [range(int(y.shape[0])), rows, columns, range(int(y.shape[3]))])
    give_map(net, node.outputs[0], _with_bias(net, node, y))


def _kernel(net: Translator, node: ir.Node) -> Any:
    """Weights with the axes of ONNX, (O, I / group, kh, kw): an array if they are constant."""
    value = node.inputs[1]
    assert value is not None
    if is_constant(value):
        kernel = constant_of(value).astype(np.float32)
        return kernel[:, :, None] if kernel.ndim == 3 else kernel
    kernel = net.plain(value)
    return net.tf.expand_dims(kernel, 2) if len(kernel.shape) == 3 else kernel


def _reach(kernel: Any, dilations: tuple[int, int]) -> tuple[int, int]:
    tall, wide = int(kernel.shape[2]), int(kernel.shape[3])
    return (tall - 1) * dilations[0] + 1, (wide - 1) * dilations[1] + 1


def _with_bias(net: Translator, node: ir.Node, y: Any) -> Any:
    if len(node.inputs) < 3 or node.inputs[2] is None:
        return y
    bias = net.plain(node.inputs[2])
    return net.tf.nn.bias_add(y, bias) if is_constant(node.inputs[2]) else y + bias


def convolve(
    net: Translator,
    x: Any,
    kernel: Any,
    group: int,
    strides: tuple[int, int],
    dilations: tuple[int, int],
    pairs: Pairs,
) -> Any:
    """A convolution of a map (N, H, W, C).

    Args:
        kernel: (O, C / group, kh, kw), an array or a tensor.
        strides: Equal ones where there are groups; 1 where `dilations` are not.
        pairs: Zeros before and after rows and columns.
    """
    tf, channels = net.tf, int(x.shape[3])
    reach = _reach(kernel, dilations)
    padding = "VALID"
    if any(map(any, pairs)):
        if _is_same(size_of(x), reach, strides, pairs):
            padding = "SAME"
        else:
            x = pad(net, x, [(0, 0), *pairs, (0, 0)])
    is_array = isinstance(kernel, np.ndarray)
    turn = (lambda a, p: a.transpose(p)) if is_array else tf.transpose
    steps, spread = [1, *strides, 1], [1, *dilations, 1]
    if group == channels and group > 1:
        # (C * m, 1, kh, kw): the m filters of a channel follow each other.
        tall, wide = int(kernel.shape[2]), int(kernel.shape[3])
        reshape = np.reshape if is_array else tf.reshape
        own = reshape(kernel, (channels, -1, tall, wide))
        return tf.raw_ops.DepthwiseConv2dNative(
            input=x, filter=turn(own, (2, 3, 0, 1)), strides=steps, padding=padding,
            dilations=spread,
        )  # fmt: skip
    return tf.raw_ops.Conv2D(
        input=x, filter=turn(kernel, (2, 3, 1, 0)), strides=steps, padding=padding, dilations=spread
    )


def _is_same(
    size: tuple[int, int], reach: tuple[int, int], strides: tuple[int, int], pairs: Pairs
) -> bool:
    """Whether padding is what TensorFlow calls SAME."""
    for long, wide, step, (before, after) in zip(size, reach, strides, pairs, strict=True):
        total = max((-(-long // step) - 1) * step + wide - long, 0)
        if (before, after) != (total // 2, total - total // 2):
            return False
    return True


def _transposed(net: Translator, node: ir.Node) -> None:
    x, group = as_map(net, node.inputs[0]), net.attribute(node, "group", 1)
    strides, dilations = (spatial(net, node, name, 1) for name in ("strides", "dilations"))
    if not is_constant(node.inputs[1]):
        raise net.refusal("has weights that depend on the image")
    kernel = _kernel(net, node)
    reach = _reach(kernel, dilations)
    result = net.shape(node.outputs[0])[2:]
    size = (1, result[0]) if len(result) == 1 else (result[0], result[1])
    before = _cropped_before(net, node, size_of(x), reach, strides, size)
    whole = [(n - 1) * s + r for n, s, r in zip(size_of(x), strides, reach, strict=True)]
    if group == 1:
        spread = np.zeros((*kernel.shape[:2], *reach), np.float32)
        spread[:, :, :: dilations[0], :: dilations[1]] = kernel
        y = _spread_sums(net, x, spread, strides, before, whole, size)
    else:
        # TFLite has no grouped one: zeros between the pixels, and a grouped convolution.
        outputs = kernel.shape[1]
        own = kernel.reshape(group, -1, *kernel.shape[1:]).swapaxes(1, 2)
        turned = own.reshape(group * outputs, -1, *kernel.shape[2:])[:, :, ::-1, ::-1]
        pairs = [
            (wide - 1 - first, wide - 1 + first + long - full)
            for wide, first, long, full in zip(reach, before, size, whole, strict=True)
        ]
        x = _with_zeros_between(net, x, strides)
        rows, columns = (
            range(max(-first, 0), long - max(-last, 0))
            for (first, last), long in zip(pairs, size_of(x), strict=True)
        )
        x = cut(net, x, [range(int(x.shape[0])), rows, columns, range(int(x.shape[3]))])
        kept = [(max(first, 0), max(last, 0)) for first, last in pairs]
        y = convolve(net, x, np.ascontiguousarray(turned), group, (1, 1), dilations, kept)
    give_map(net, node.outputs[0], _with_bias(net, node, y))


def _cropped_before(
    net: Translator,
    node: ir.Node,
    source: tuple[int, int],
    reach: tuple[int, int],
    strides: tuple[int, int],
    result: tuple[int, int],
) -> list[int]:
    """Rows and columns that are left out at the beginning."""
    auto = net.attribute(node, "auto_pad", "NOTSET")
    if auto == "NOTSET" and not net.attribute(node, "output_shape"):
        return [first for first, _ in pads_of(net, node, source, reach, strides)]
    wholes = [(n - 1) * s + r for n, s, r in zip(source, strides, reach, strict=True)]
    totals = [max(whole - long, 0) for whole, long in zip(wholes, result, strict=True)]
    return [total // 2 if auto != "SAME_LOWER" else total - total // 2 for total in totals]


def _spread_sums(
    net: Translator,
    x: Any,
    kernel: Any,
    strides: tuple[int, int],
    before: Sequence[int],
    whole: Sequence[int],
    size: tuple[int, int],
) -> Any:
    """A transposed convolution (C, O, kh, kw) with all its results, of which `size` are kept."""
    count, outputs = int(x.shape[0]), kernel.shape[1]
    filters = np.ascontiguousarray(kernel.transpose(2, 3, 1, 0))
    same = [n * s for n, s in zip(size_of(x), strides, strict=True)]
    halves = [max(full - long, 0) // 2 for full, long in zip(whole, size, strict=True)]
    padding = "SAME" if list(size) == same and list(before) == halves else "VALID"
    made = list(size) if padding == "SAME" else list(whole)
    y = net.tf.nn.conv2d_transpose(x, filters, [count, *made, outputs], [1, *strides, 1], padding)
    if padding == "SAME":
        return y
    y = pad(
        net,
        y,
        [
            (0, 0),
            *((0, max(b + n - w, 0)) for b, n, w in zip(before, size, whole, strict=True)),
            (0, 0),
        ],
    )
    rows, columns = (range(b, b + n) for b, n in zip(before, size, strict=True))
    return cut(net, y, [range(count), rows, columns, range(outputs)])


def _with_zeros_between(net: Translator, x: Any, strides: tuple[int, int]) -> Any:
    """A map with `strides - 1` rows and columns of zeros between its own, in four axes."""
    tf = net.tf
    count, rows, columns, channels = (int(size) for size in x.shape)
    down, right = strides
    if down > 1:
        x = tf.reshape(x, [count * rows, 1, columns, channels])
        x = tf.pad(x, [(0, 0), (0, down - 1), (0, 0), (0, 0)])
        x = tf.reshape(x, [count, rows * down, columns, channels])
    if right > 1:
        x = tf.reshape(x, [count * rows * down, columns, 1, channels])
        x = tf.pad(x, [(0, 0), (0, 0), (0, right - 1), (0, 0)])
        x = tf.reshape(x, [count, rows * down, columns * right, channels])
    tall, wide = (rows - 1) * down + 1, (columns - 1) * right + 1
    return cut(net, x, [range(count), range(tall), range(wide), range(channels)])


RULES: dict[str, Rule] = {"Conv": _convolution, "ConvTranspose": _transposed}
