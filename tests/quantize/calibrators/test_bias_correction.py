from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from support import needs
from tiny_graphs import INPUT, RESULT, node, pointwise, run_as_written, save_graph

from edgeseg.quantize.calibrators.bias_correction import correct_biases
from edgeseg.quantize.plan.quant_plan import QuantPlan, WeightGrid
from edgeseg.quantize.qdq_onnx import emit_qdq

pytestmark = needs("onnx", "onnx_ir", "onnxruntime")

Image = NDArray[np.float32]


def image_of(*values: float) -> Image:
    return np.array([[[values]]], np.float32)


def save(path: Path, weight: float) -> Path:
    """x -> convolution a with the bias 10 -> convolution y."""
    nodes = [
        node("Conv", [INPUT, "weight", "bias"], "a"),
        node("Conv", ["a", "head"], RESULT),
    ]
    constants = {"weight": pointwise([[weight]]), "bias": [10], "head": pointwise([[1]])}
    return save_graph(path, nodes, constants)


def grid_of(code: int, scale: float) -> WeightGrid:
    return WeightGrid(np.full((1, 1, 1, 1), code, np.int8), np.array([scale], np.float32))


def test_bias_makes_up_for_snapped_weights(tmp_path: Path) -> None:
    path = save(tmp_path / "tiny.onnx", 0.75)
    plan = QuantPlan({}, weights={"a": grid_of(1, 0.5)})
    # Mean of x over both images and all positions is 3: 0.25 too little for each, times 3.
    corrected = correct_biases(path, plan, [image_of(2, 4), image_of(6, 0)])
    assert corrected.biases["a"].tolist() == [10.75]
    assert corrected.weights == plan.weights


def test_bias_makes_up_for_clipped_inputs(tmp_path: Path) -> None:
    path = save(tmp_path / "tiny.onnx", 2)
    plan = QuantPlan({INPUT: 127.0}, weights={"a": grid_of(1, 2.0)})
    # 129 is clipped to 127, and 0.25 rounded to 0: the mean loses (2 + 0.25) / 2, times 2.
    corrected = correct_biases(path, plan, [image_of(129, 0.25)])
    assert corrected.biases["a"].tolist() == [10 + 2.25]


def test_mean_of_the_quantised_graph_becomes_that_of_the_float_one(tmp_path: Path) -> None:
    generator = np.random.default_rng(1)
    first = generator.normal(size=(4, 3, 3, 3)).astype(np.float32)
    nodes = [
        node("Conv", [INPUT, "first"], "a"),
        node("Relu", ["a"], "r"),
        node("Conv", ["r", "head"], RESULT),
    ]
    constants = {"first": first, "head": pointwise([[1, 1, 1, 1]])}
    path = save_graph(tmp_path / "tiny.onnx", nodes, constants, channels=3)
    images = [generator.uniform(0, 4, (1, 3, 9, 9)).astype(np.float32) for _ in range(3)]
    coarse = WeightGrid(np.rint(first / 0.5).astype(np.int8), np.full(4, 0.5, np.float32))
    plan = QuantPlan({INPUT: 3.0}, weights={"a": coarse})

    def channel_means(path: Path) -> Image:
        return np.mean([run_as_written(path, one, ["a"])[0] for one in images], axis=(0, 1, 3, 4))

    written = tmp_path / "quantized.onnx"
    emit_qdq(path, plan, written)
    before = np.abs(channel_means(written) - channel_means(path)).max()
    emit_qdq(path, correct_biases(path, plan, images), written)
    np.testing.assert_allclose(channel_means(written), channel_means(path), atol=1e-4)
    assert before > 0.05


def test_order_of_images_does_not_matter(tmp_path: Path) -> None:
    path = save(tmp_path / "tiny.onnx", 0.3)
    plan = QuantPlan({INPUT: 1.0}, weights={"a": grid_of(1, 0.25)})
    images = [image_of(value, 3 * value) for value in (0.1, 1e-7, 12345.0, 0.7)]
    plans = [correct_biases(path, plan, given) for given in (images, images[::-1])]
    assert plans[0] == plans[1]


def test_what_the_graph_computes_is_left_alone(tmp_path: Path) -> None:
    path = save(tmp_path / "tiny.onnx", 0.5)
    before = path.read_bytes()
    plan = QuantPlan({INPUT: 127.0}, weights={"a": grid_of(1, 0.5)})
    corrected = correct_biases(path, plan, [image_of(1, 2)])
    assert path.read_bytes() == before
    # Nothing is rounded by this plan, so that nothing is corrected.
    assert corrected.biases["a"] == pytest.approx([10])
