from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support import draw_pair, needs

from edgeseg.contract import InputContract, MinMax
from edgeseg.data.folder import open_folder
from edgeseg.formats.tflite import read_tflite
from edgeseg.quantize.calibration_images import choose_calibration_images
from edgeseg.quantize.litert import ptq as litert_ptq
from edgeseg.quantize.litert.ptq import LiteRtQuantizer
from edgeseg.quantize.litert.quantized_values import move_quantized
from edgeseg.records import Artifact
from edgeseg.targets import find_runtime

pytestmark = needs("onnx2tf", "ai_edge_litert", "ai_edge_quantizer", "onnx", "onnx_ir")

SIZE = 16
INPUTS = InputContract(SIZE, SIZE, 1, MinMax(0.0, 255.0), "x")


@pytest.fixture(scope="module")
def shuffling(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """x -> convolution -> depth to space -> sum with a convolution of itself -> convolution."""
    import onnx
    from onnx import helper, numpy_helper

    root = tmp_path_factory.mktemp("shuffling")
    generator = np.random.default_rng(0)
    shapes = {"first": (8, 3, 3, 3), "second": (2, 2, 3, 3), "last": (1, 2, 1, 1)}
    constants = [
        numpy_helper.from_array(generator.normal(size=shape).astype(np.float32), name)
        for name, shape in shapes.items()
    ]
    nodes = [
        helper.make_node("Conv", ["x", "first"], ["copies"], pads=[1, 1, 1, 1], name="a"),
        helper.make_node("DepthToSpace", ["copies"], ["large"], blocksize=2, name="b"),
        helper.make_node("Conv", ["large", "second"], ["near"], pads=[1, 1, 1, 1], name="c"),
        helper.make_node("Add", ["large", "near"], ["sum"], name="d"),
        helper.make_node("Conv", ["sum", "last"], ["logit"], name="e"),
        helper.make_node("Sigmoid", ["logit"], ["mask"], name="f"),
    ]
    kind = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "shuffling",
        [helper.make_tensor_value_info("x", kind, [1, 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("mask", kind, [1, 1, 2 * SIZE, 2 * SIZE])],
        constants,
    )
    opsets = [helper.make_opsetid("", 20)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), root / "x.onnx")
    return find_runtime("litert").compile(root / "x.onnx", root / "float", "fp32")


def kinds(content: bytes, folder: Path) -> list[str]:
    path = folder / "some.tflite"
    path.write_bytes(content)
    return [operator.kind for operator in read_tflite(path).operators]


def test_codes_are_moved_and_the_network_stays_the_same(
    shuffling: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "images").mkdir()
    for index in range(2):
        picture = draw_pair((SIZE, SIZE), seed=index)[0]
        Image.fromarray(picture).save(tmp_path / f"images/{index}.png")
    images = choose_calibration_images(open_folder(tmp_path, labelled=False), INPUTS, 2)
    monkeypatch.setattr(litert_ptq, "move_quantized", lambda content: content)
    quantizer = LiteRtQuantizer()
    before, _ = quantizer.quantize(shuffling, images, tmp_path / "before")
    content = (before.folder / before.files[0]).read_bytes()
    moved = move_quantized(content)

    old, new = kinds(content, tmp_path), kinds(moved, tmp_path)
    place = old.index("DEPTH_TO_SPACE")
    assert old[place - 1] == "DEQUANTIZE"
    assert "QUANTIZE" in old[place + 1 :]
    assert new[new.index("DEPTH_TO_SPACE") - 1] == "CONV_2D"
    assert len(old) - len(new) == 2
    assert move_quantized(moved) == moved

    runtime = find_runtime("litert")
    (tmp_path / "after").mkdir()
    (tmp_path / "after" / before.files[0]).write_bytes(moved)
    for image in images:
        results = [
            runtime.load(replace(before, folder=folder)).run(image)
            for folder in (before.folder, tmp_path / "after")
        ]
        np.testing.assert_array_equal(*results)


def test_a_float_model_is_returned_as_it_is(shuffling: Artifact) -> None:
    content = (shuffling.folder / shuffling.files[0]).read_bytes()
    assert move_quantized(content) == content
