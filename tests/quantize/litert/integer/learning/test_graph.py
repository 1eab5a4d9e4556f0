"""TFLite models in torch compute what LiteRT does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from integer_graphs import save_network, save_norms, weight
from numpy.typing import NDArray
from support import needs
from tiny_graphs import INPUT, node, pointwise
from tiny_litert import make, save_sized_graph

from edgeseg.errors import CalibrationError
from edgeseg.formats.tflite import observe_tensors

pytestmark = needs("torch", "onnx2tf", "ai_edge_litert", "onnx", "onnx_ir", "onnxruntime")


def save_classes(path: Path) -> Path:
    """Moves and resizes of all kinds, and three classes."""
    nodes = [
        node("Constant", [], "starts", value_ints=[1, 2]),
        node("Constant", [], "ends", value_ints=[31, 30]),
        node("Constant", [], "axes", value_ints=[2, 3]),
        node("Constant", [], "sides", value_ints=[0, 0, 1, 2, 0, 0, 1, 2]),
        node("Conv", [INPUT, "w0"], "c", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
        node("SpaceToDepth", ["c"], "deep", blocksize=2),
        node("HardSwish", ["deep"], "h"),
        node("DepthToSpace", ["h"], "back", blocksize=2),
        node("LeakyRelu", ["back"], "leaky", alpha=0.1),
        node("AveragePool", ["leaky"], "a", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        node("Tanh", ["a"], "t"),
        node("Resize", ["t", "", "scales"], "near", mode="nearest"),
        node("Slice", ["near", "starts", "ends", "axes"], "part"),
        node("Pad", ["part", "sides"], "padded"),
        node("Conv", ["padded", "head"], "logits"),
        node("Softmax", ["logits"], "y", axis=1),
    ]
    constants = {
        "w0": weight(0, 4, 3, 3, 3) / 64,
        "scales": np.array([1, 1, 2, 2], np.float32),
        "head": pointwise(weight(4, 3, 4)),
    }
    return save_sized_graph(path, nodes, constants)


def save_without_table(path: Path) -> Path:
    nodes = [node("Conv", [INPUT, "w"], "c"), node("Relu", ["c"], "y")]
    return save_sized_graph(path, nodes, {"w": pointwise(weight(0, 1, 3))})


def load(path: Path) -> Any:
    from edgeseg.quantize.litert.file import TfliteFile
    from edgeseg.quantize.litert.integer.learning.graph import load_tflite_graph

    return load_tflite_graph(TfliteFile(path.read_bytes()))


@pytest.mark.parametrize("save", [save_network, save_norms, save_classes])
def test_every_tensor_is_what_litert_computes(save: Callable[[Path], Path], tmp_path: Path) -> None:
    import torch

    made = make(tmp_path, save)
    path = made.source.folder / made.source.files[0]
    graph = load(path)
    names = [name for step in graph.steps[:-1] for name in step.outputs]
    image = next(iter(made.images))
    expected: dict[int, NDArray[np.float32]] = next(
        iter(observe_tensors(path, [image], [int(name) for name in names]))
    )
    with torch.no_grad():
        pixels = torch.from_numpy(np.ascontiguousarray(image.transpose(0, 2, 3, 1)))
        found = graph.run({graph.input_name: pixels}, names)
    for name in names:
        scale = np.abs(expected[int(name)]).max()
        assert np.abs(found[name].numpy() - expected[int(name)]).max() < 1e-5 * scale, name


def test_a_model_without_a_table_at_its_end_has_no_logits(tmp_path: Path) -> None:
    made = make(tmp_path, save_without_table)
    with pytest.raises(CalibrationError, match=r"ends in .*without the option int16"):
        load(made.source.folder / made.source.files[0])
