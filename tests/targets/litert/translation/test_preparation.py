from __future__ import annotations

import numpy as np
from support import needs

from edgeseg.targets.litert.translation.preparation import prepare_for_translation

pytestmark = needs("onnx", "onnx_ir", "onnxruntime")


def test_sizes_are_folded_and_every_value_has_one() -> None:
    import onnx
    import onnx_ir

    model = onnx_ir.from_proto(
        onnx.parser.parse_model("""
            <ir_version: 10, opset_import: ["" : 20]>
            net (float[1,4,6,6] image) => (float[N,C,L] mask)
            <int64[1] rest = {-1}, int64[1] two = {2}>
            {
                sizes = Shape<start = 0, end = 2>(image)
                halved = Div(sizes, two)
                doubled = Mul(halved, two)
                count = Size(image)
                half = Identity(doubled)
                shape = Concat<axis = 0>(half, rest)
                flat = Reshape(image, shape)
                wide = Cast<to = 1>(count)
                mask = Div(flat, wide)
            }
        """)
    )
    prepare_for_translation(model)
    assert [node.op_type for node in model.graph] == ["Reshape", "Div"]
    reshape, divide = model.graph
    # 1 / 2 is 0 in integers: "as in the input".
    assert np.array_equal(reshape.inputs[1].const_value.numpy(), [0, 4, -1])
    assert divide.inputs[1].const_value.numpy() == 144
    assert [list(node.outputs[0].shape) for node in model.graph] == [[1, 4, 36]] * 2
