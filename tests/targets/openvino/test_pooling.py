from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import needs

from edgeseg.targets.openvino.pooling import correct_padded_means

pytestmark = needs("openvino", "onnx")


def read(folder: Path, attributes: str, size: str) -> Any:
    import onnx
    import openvino

    model = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 20]> '
        f"net (float[1,1,{size}] x) => (float[1,1,H,W] y) "
        f"{{ p = AveragePool<{attributes}>(x) y = Neg(p) }}"
    )
    onnx.save(model, folder / "net.onnx")
    return openvino.Core().read_model(folder / "net.onnx")


def run(model: Any, image: Any) -> Any:
    import openvino

    compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return -np.asarray(compiled([image])[0])


def test_windows_past_the_padding_are_divided_by_what_they_count(tmp_path: Path) -> None:
    settings = "kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1]"
    model = read(tmp_path, f"{settings}, ceil_mode = 1, count_include_pad = 1", "4,5")
    assert correct_padded_means(model) == 1
    result = run(model, np.ones((1, 1, 4, 5), np.float32))
    # Rows: one of padding and two; three; one, one of padding, and nothing that counts.
    rows, columns = np.array([2, 3, 1]) / [3, 3, 2], np.array([2, 3, 2]) / 3
    np.testing.assert_allclose(result[0, 0], rows[:, None] * columns, rtol=1e-6)


@pytest.mark.parametrize(
    "attributes",
    [
        "pads = [1, 1, 1, 1], count_include_pad = 1",
        "pads = [1, 1, 1, 1], ceil_mode = 1",
        "ceil_mode = 1, count_include_pad = 1",
    ],
)
def test_poolings_that_are_right_stay_as_they_are(tmp_path: Path, attributes: str) -> None:
    model = read(tmp_path, f"kernel_shape = [2, 2], strides = [2, 2], {attributes}", "5,7")
    assert correct_padded_means(model) == 0
