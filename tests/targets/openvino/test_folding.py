from __future__ import annotations

from typing import Any

import numpy as np
from support import needs

from edgeseg.targets.openvino.folding import KEPT, fold_constants

pytestmark = needs("openvino")


def make_model() -> Any:
    """image * (codes as float * 0.5) + 1 * 2, the codes INT8."""
    import openvino
    from openvino import opset13 as ops

    image = ops.parameter([1, 2], np.float32, name="image")
    codes = ops.constant(np.array([[4, -6]], np.int8))
    weights = ops.multiply(ops.convert(codes, "f32"), ops.constant(np.float32(0.5)))
    shift = ops.multiply(ops.constant(np.float32(1)), ops.constant(np.float32(2)))
    return openvino.Model([ops.add(ops.multiply(image, weights), shift)], [image], "model")


def test_eight_bits_stay_and_other_constants_are_computed() -> None:
    import openvino

    model = make_model()
    fold_constants(model)
    kinds = sorted(op.get_type_name() for op in model.get_ordered_ops())
    expected = "Add Constant Constant Constant Convert Multiply Multiply Parameter Result"
    assert kinds == expected.split()
    assert not any(KEPT in op.get_rt_info() for op in model.get_ordered_ops())
    result = openvino.Core().compile_model(model, "CPU")([np.ones((1, 2), np.float32)])[0]
    assert result.tolist() == [[4.0, -1.0]]
