"""Filters of a float TFLite model whose weights are zero, or nearly, while their bias is not.

Training and pruning leave them. ai-edge-quantizer chooses their steps by the weights alone, and the
bias, in these steps, does not fit in int32: the channel comes out saturated.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from edgeseg.formats.tflite import Operator

from ..plan.quant_plan import INT8_STEPS
from ..plan.weight_grids import LARGEST_BIAS_VALUE
from .file import TfliteFile

# Where the output channels are among the axes of a weight, and which input the bias is.
PLACES = {
    "CONV_2D": (0, 2),
    "DEPTHWISE_CONV_2D": (3, 2),
    "FULLY_CONNECTED": (0, 2),
    "TRANSPOSE_CONV": (0, 3),
}
ACTIVATION_STEPS = 255


def hold_biases(
    content: bytes, chosen: Collection[Operator], ranges: Mapping[int, tuple[float, float]]
) -> bytes:
    """Give each such filter one weight that makes its steps large enough for its bias.

    What that weight adds is at most 1.5e-5 of the bias, far below a step of the output.

    Args:
        chosen: Operators that will be INT8.
        ranges: Smallest and largest value by tensor.

    Returns:
        The same bytes where there is no such filter.
    """
    file = TfliteFile(content)
    count = 0
    for operator in chosen:
        if operator.kind not in PLACES:
            continue
        axis, place = PLACES[operator.kind]
        source = operator.inputs[0 if operator.kind != "TRANSPOSE_CONV" else 2]
        if len(operator.inputs) <= place or source not in ranges:
            continue
        low, high = ranges[source]
        step = (max(high, 0.0) - min(low, 0.0)) / ACTIVATION_STEPS
        weight = np.moveaxis(file.constant(operator.inputs[1]).copy(), axis, 0)
        flat = weight.reshape(len(weight), -1)  # a copy where the axes were moved
        bias = file.constant(operator.inputs[place])
        if step <= 0 or len(bias) != len(flat):
            continue
        least = np.abs(bias) / (LARGEST_BIAS_VALUE * step) * INT8_STEPS
        small = np.abs(flat).max(1) < least
        if small.any():
            flat[small, 0] = least[small]
            changed = np.moveaxis(flat.reshape(weight.shape), 0, axis)
            file.replace_constant(operator.inputs[1], np.ascontiguousarray(changed, np.float32))
            count += 1
    return file.packed() if count else content
