"""Graph changes that keep OpenVINO's CPU plugin from computing something else."""

from __future__ import annotations

from typing import Any

from edgeseg.lazy import require

FLOAT32_LARGEST = 3.4028234e38
# Of the activations that the plugin fuses into convolutions, those that are not monotone.
NON_MONOTONE = frozenset({"Gelu", "Swish", "HSwish", "Mish", "Abs"})
# With these begin activations that the plugin puts together only while it compiles (x * sigmoid(x),
# x / 2 * (1 + erf(x / sqrt(2)))), and functions that fall where a constant is negative.
BEGINNINGS = frozenset({"Multiply", "Divide", "Subtract", "Power", "PRelu", "Negative"})
AFFINE = frozenset({"Add", "Subtract", "Multiply"})
SPLITS = frozenset({"Split", "VariadicSplit"})
CONVOLUTIONS = frozenset({"Convolution", "GroupConvolution"})


def guard_pooled_activations(model: Any) -> int:
    """Keep convolution, max-pooling, activation in this order.

    The plugin (2026.4.1) fuses an activation that follows a max-pooling into the convolution
    before the pooling. max(f(a), f(b)) is f(max(a, b)) for a rising f only: with a GELU, whose
    values fall up to -0.75, masks of U-Lite move by up to 0.3. A clamp to the range of float32
    between convolution and pooling changes no value and hides the pattern; the plugin computes
    it as part of the convolution.

    Args:
        model: An `openvino.Model`, changed in place. Applying it again changes nothing.

    Returns:
        How many clamps were put in.
    """
    operators = require("openvino.opset13", purpose="Building for openvino")
    added = 0
    for pool in model.get_ordered_ops():
        if pool.get_type_name() != "MaxPool" or not _feeds_non_monotone(pool):
            continue
        source = pool.input_value(0)
        if not _is_convolution_with_affine(source.get_node()):
            continue
        guard = operators.clamp(source, -FLOAT32_LARGEST, FLOAT32_LARGEST)
        guard.set_friendly_name(f"{pool.get_friendly_name()}/guard")
        pool.input(0).replace_source_output(guard.output(0))
        added += 1
    return added


def _feeds_non_monotone(pool: Any) -> bool:
    consumers = pool.output(0).get_target_inputs()
    kinds = {consumer.get_node().get_type_name() for consumer in consumers}
    return not kinds.isdisjoint(NON_MONOTONE | BEGINNINGS)


def _is_convolution_with_affine(node: Any) -> bool:
    """Whether the plugin folds all of it, bias and scale included, into one convolution."""
    while node.get_type_name() in AFFINE:
        inputs = [node.input_value(index).get_node() for index in range(2)]
        varying = [item for item in inputs if item.get_type_name() != "Constant"]
        if len(varying) != 1:
            return False
        node = varying[0]
    return node.get_type_name() in CONVOLUTIONS


def guard_quantized_graph(model: Any) -> int:
    """Keep in float what the plugin computes wrongly between quantised operators.

    Measured with 2026.4.1 on MiniSeg's masks, against the same graph with the plugin's low
    precision transformations off: an average pooling of quantised values costs 120 flips in
    10,000 pixels, a quantised convolution whose channels are then split costs 200. The pooling
    gets the values from before the rounding; so does the convolution, which makes it a float one.

    A quantised matrix product with a bias whose result is rounded with one range for each row
    (NNCF does that before a depthwise convolution of tokens) takes the rows' ranges for columns,
    and reads past the end of the bias where there are more rows: every load of the model gives
    other masks. What follows gets the values from before that rounding.

    Args:
        model: An `openvino.Model`, changed in place. Applying it again changes nothing.

    Returns:
        How many operators were changed.
    """
    count = 0
    for op in model.get_ordered_ops():
        kind = op.get_type_name()
        changed = None
        if kind == "FakeQuantize" and _is_product_with_ranges_by_row(op):
            for consumer in op.output(0).get_target_inputs():
                consumer.replace_source_output(op.input_value(0))
            count += 1
            continue
        if kind == "AvgPool":
            changed = op
        elif kind in SPLITS:
            changed = _convolution_before(op)
        if changed is None:
            continue
        exact = _value_before_rounding(changed.input_value(0))
        if exact is not None:
            changed.input(0).replace_source_output(exact)
            count += 1
    return count


def _is_product_with_ranges_by_row(rounding: Any) -> bool:
    """Whether it rounds a matrix product with a bias, with ranges that are not those of columns."""
    ranges = rounding.input_value(1).get_shape()
    if len(ranges) < 2 or all(size == 1 for size in ranges[:-1]):
        return False
    node = rounding.input_value(0).get_node()
    has_bias = False
    while node.get_type_name() in AFFINE | {"Reshape"}:
        has_bias |= node.get_type_name() == "Add"
        node = node.input_value(0).get_node()
    return has_bias and bool(node.get_type_name() == "MatMul")


def _convolution_before(split: Any) -> Any:
    """Convolution whose result, rounded or not, with or without bias, is split; else None."""
    value = split.input_value(0)
    node = (_value_before_rounding(value) or value).get_node()
    while node.get_type_name() in AFFINE:
        node = node.input_value(0).get_node()
    return node if node.get_type_name() in CONVOLUTIONS else None


def _value_before_rounding(value: Any) -> Any:
    """Input of the FakeQuantize that `value` comes from, through its way back to real numbers.

    That way is (code - zero point) * scale behind a Convert from integers; any other multiplication
    or subtraction is the network's own.
    """
    node = value.get_node()
    for kind in ("Multiply", "Subtract"):
        if node.get_type_name() == kind and _is_constant(node.input_value(1)):
            node = node.input_value(0).get_node()
    if node is not value.get_node() and node.get_type_name() != "Convert":
        return None
    while node.get_type_name() == "Convert":
        node = node.input_value(0).get_node()
    return node.input_value(0) if node.get_type_name() == "FakeQuantize" else None


def _is_constant(value: Any) -> bool:
    node = value.get_node()
    while node.get_type_name() == "Convert":
        node = node.input_value(0).get_node()
    return bool(node.get_type_name() == "Constant")
