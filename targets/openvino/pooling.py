"""Mean poolings that OpenVINO's CPU plugin divides by the wrong number."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseg.lazy import require


def correct_padded_means(model: Any) -> int:
    """Make mean poolings that count their padding divide by what there is to count.

    With sizes rounded up, the last windows reach past the padding. There, ONNX and torch count
    neither values nor zeros; the plugin (2026.4.1) divides by the whole window all the same, where
    there is padding. A product with a constant map puts that right.

    Args:
        model: An `openvino.Model` as it is read from ONNX, changed in place: applied again, it
            would multiply again.

    Returns:
        How many poolings were corrected.
    """
    operators = require("openvino.opset13", purpose="Building for openvino")
    count = 0
    for pool in model.get_ordered_ops():
        factors = _factors(pool) if pool.get_type_name() == "AvgPool" else None
        if factors is None or (factors == 1).all():
            continue
        consumers = list(pool.output(0).get_target_inputs())
        right = operators.multiply(pool.output(0), operators.constant(factors[None, None]))
        right.set_friendly_name(f"{pool.get_friendly_name()}/counted")
        for consumer in consumers:
            consumer.replace_source_output(right.output(0))
        count += 1
    return count


def _factors(pool: Any) -> NDArray[np.float32] | None:
    """Places of the window by those that count, for each result (height, width); None if the
    plugin computes the pooling rightly, or not in two dimensions."""
    attributes = pool.get_attributes()
    before, after = attributes["pads_begin"], attributes["pads_end"]
    if attributes["exclude-pad"] or attributes["rounding_type"] == "floor" or len(before) != 2:
        return None
    if not any([*before, *after]) or any(size != 1 for size in attributes.get("dilations", ())):
        return None
    source, result = (
        list(value.get_shape())[2:] for value in (pool.input_value(0), pool.output(0))
    )
    kernel, strides = attributes["kernel"], attributes["strides"]
    counted = []
    for axis in (0, 1):
        starts = np.arange(result[axis]) * strides[axis]
        end = before[axis] + source[axis] + after[axis]
        counted.append(np.minimum(starts + kernel[axis], end) - starts)
    numbers = counted[0][:, None] * counted[1]
    factors: NDArray[np.float32] = (np.prod(kernel) / numbers).astype(np.float32)
    return factors
