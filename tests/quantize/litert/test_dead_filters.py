from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support import needs
from tiny_graphs import INPUT, node, pointwise, run_as_written
from tiny_litert import Made, make, run, save_sized_graph

from edgeseg.formats.tflite import read_tflite
from edgeseg.quantize.litert.dead_filters import hold_biases
from edgeseg.quantize.litert.file import TfliteFile
from edgeseg.quantize.litert.ptq import LiteRtQuantizer

pytestmark = needs("onnx2tf", "ai_edge_litert", "ai_edge_quantizer", "onnx", "onnx_ir")

CHANNELS = 4


def save_pruned(path: Path) -> Path:
    """The first filters are zero, the second ones nearly; both have biases."""
    generator = np.random.default_rng(2)

    def weight(*shape: int) -> np.ndarray:
        made = generator.normal(0, 0.3, shape).astype(np.float32)
        made[0], made[1] = 0, 1e-13
        return made

    def bias() -> np.ndarray:
        return np.array([0.5, -0.4, 0.1, 0.0], np.float32)

    depthwise = node("Conv", ["r0", "w1", "b1"], "c1")
    import onnx

    depthwise.attribute.append(onnx.helper.make_attribute("group", CHANNELS))
    nodes = [
        node("Conv", [INPUT, "w0", "b0"], "c0"),
        node("Tanh", ["c0"], "r0"),
        depthwise,
        node("Tanh", ["c1"], "t"),
        node("Conv", ["t", "head"], "logits"),
        node("Sigmoid", ["logits"], "y"),
    ]
    constants = {
        "w0": weight(CHANNELS, 3, 1, 1),
        "b0": bias(),
        "w1": weight(CHANNELS, 1, 1, 1),
        "b1": bias(),
        "head": pointwise([[1, -2, 3, -1]]),
    }
    return save_sized_graph(path, nodes, constants)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(tmp_path_factory.mktemp("dead"), save_pruned)


def test_pruned_filters_keep_their_biases(made: Made, tmp_path: Path) -> None:
    artifact, record = LiteRtQuantizer().quantize(made.source, made.images, tmp_path)
    assert record.layers["int8"] >= 2
    for image in made.images:
        (exact,) = run_as_written(made.onnx_path, image)
        assert np.abs(run(artifact, image) - exact).max() < 0.03


def test_only_what_is_too_small_is_changed(made: Made) -> None:
    path = made.source.folder / made.source.files[0]
    model = read_tflite(path)
    chosen = [one for one in model.operators if one.kind in ("CONV_2D", "DEPTHWISE_CONV_2D")][:2]
    ranges = {one.inputs[0]: (0.0, 1.0) for one in chosen}
    before = TfliteFile(path.read_bytes())
    after = TfliteFile(hold_biases(path.read_bytes(), chosen, ranges))
    for one, axis in zip(chosen, (0, 3), strict=True):
        old, new = (
            np.moveaxis(
                file.constant(int(file.operators[model.operators.index(one)].inputs[1])), axis, 0
            )
            for file in (before, after)
        )
        old, new = old.reshape(CHANNELS, -1), new.reshape(CHANNELS, -1)
        assert np.array_equal(old[2:], new[2:])
        # 127 steps of 0.5 and 0.4 in 2^30, at 1/255 a step of the input.
        np.testing.assert_allclose(
            np.abs(new[:2]).max(1), np.array([0.5, 0.4]) * 255 * 127 / 2**30, rtol=1e-5
        )


def test_a_file_without_such_filters_stays_the_same_bytes(made: Made) -> None:
    content = (made.source.folder / made.source.files[0]).read_bytes()
    last = [
        one
        for one in read_tflite(made.source.folder / made.source.files[0]).operators
        if one.kind == "CONV_2D"
    ][-1]
    assert hold_biases(content, [last], {last.inputs[0]: (-1.0, 1.0)}) is content
