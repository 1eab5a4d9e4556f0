from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support import needs
from tiny_graphs import save_conv_relu_conv

from edgeseg.data.folder import open_folder
from edgeseg.errors import CalibrationError
from edgeseg.models import find_model
from edgeseg.quantize.calibration_images import choose_calibration_images
from edgeseg.quantize.onnxruntime_ptq import quantize_by_onnxruntime

pytestmark = needs("onnx", "onnx_ir", "onnxruntime")


def test_failure_names_the_graph_and_what_to_do(
    make_data_folder: Callable[..., Path], tmp_path: Path
) -> None:
    inputs = find_model("egeunet", size=(64, 64)).inputs
    images = choose_calibration_images(open_folder(make_data_folder(2), labelled=False), inputs, 2)
    images = replace(images, inputs=replace(inputs, name="no such input"))
    weights = np.ones((4, 3), np.float32)
    graph = save_conv_relu_conv(tmp_path / "tiny.onnx", weights, [[1, 2, 3, 4]])
    with pytest.raises(
        CalibrationError, match=r"cannot quantise tiny\.onnx: .*Compare on another --target"
    ):
        quantize_by_onnxruntime(graph, images, tmp_path / "int8.onnx", symmetric=True)
