"""INT8 on x86 CPUs without VNNI, which add two products of bytes in 16 bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support import needs
from tiny_graphs import node, pointwise, run_as_written, save_graph

from edgeseg.data.folder import open_folder
from edgeseg.models import find_model
from edgeseg.quantize import Calibrator, resolve_quantization
from edgeseg.quantize.calibration_images import choose_calibration_images
from edgeseg.quantize.qdq_onnx import QdqEmitter
from edgeseg.records import ONNX_FORMAT, Artifact
from edgeseg.targets import find_runtime

pytestmark = needs("onnx", "onnx_ir", "onnxruntime")

INPUTS = find_model("ulite", size=(32, 32)).inputs
CHANNELS = 64


def save_network(path: Path) -> Path:
    """Layers whose weights are all as large as their grid goes."""
    ones = np.ones((CHANNELS, CHANNELS), np.float32)
    nodes = [
        node("Conv", ["x", "first"], "a"),
        node("Relu", ["a"], "b"),
        node("Conv", ["b", "second"], "c"),
        node("Relu", ["c"], "d"),
        node("Conv", ["d", "second"], "e"),
        node("Relu", ["e"], "f"),
        node("Conv", ["f", "last"], "y"),
    ]
    constants = {
        "first": pointwise(ones[:, :3]),
        "second": pointwise(ones / CHANNELS),
        "last": pointwise(ones[:1] / CHANNELS),
    }
    return save_graph(path, nodes, constants, channels=3)


@pytest.mark.parametrize("name", [pytest.param("openvino", marks=needs("openvino")), "onnxruntime"])
def test_sums_of_large_products_do_not_saturate(name: str, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for index in range(2):
        picture = np.full((32, 32, 3), 255, np.uint8)
        picture[:, : 8 + index] = 0
        Image.fromarray(picture).save(tmp_path / f"images/{index}.png")
    images = choose_calibration_images(open_folder(tmp_path, labelled=False), INPUTS, 2)
    runtime, graph = find_runtime(name), save_network(tmp_path / "net.onnx")
    method = resolve_quantization(runtime, "min-max").method
    assert isinstance(method, Calibrator)
    plan = method.calibrate(graph, images)
    artifact, _ = QdqEmitter().emit(
        plan,
        graph,
        Artifact("", "fp32", ONNX_FORMAT, tmp_path, (graph.name,)),
        images,
        tmp_path / "int8",
    )
    quantized = artifact.folder / artifact.files[0]
    (image, *_) = list(images)
    (expected,) = run_as_written(quantized, image)
    backend, _ = runtime.load_for_check(runtime.compile(quantized, tmp_path / "made", "int8"))
    np.testing.assert_allclose(backend.run(image), expected, rtol=0.02)
