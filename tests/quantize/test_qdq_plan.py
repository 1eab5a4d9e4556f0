"""Q/DQ graphs follow what a plan says of weights, scales, zero points and biases."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from support import needs
from tiny_graphs import (
    INPUT,
    RESULT,
    constants_of,
    kinds_of,
    node,
    pointwise,
    run_as_written,
    save_chain,
    save_conv_relu_conv,
    save_graph,
)

from edgeseg.errors import CalibrationError
from edgeseg.quantize.plan.quant_plan import QuantPlan, WeightGrid
from edgeseg.quantize.qdq_onnx import emit_qdq

pytestmark = needs("onnx", "onnx_ir", "onnxruntime")

FEW = settings(max_examples=25, deadline=None)
CODES = arrays(np.int8, (2, 2), elements=st.integers(-127, 127))


# What the plan says of weights and biases


@FEW
@given(CODES, arrays(np.float32, 2, elements=st.floats(2.0**-20, 2.0**20, width=32)))
def test_snapped_weights_of_the_plan_are_kept_bit_for_bit(
    quantized: NDArray[np.int8], scales: NDArray[np.float32]
) -> None:
    grid = WeightGrid(quantized[:, :, None, None], scales)
    with TemporaryDirectory() as folder:
        path = save_conv_relu_conv(Path(folder) / "tiny.onnx", np.ones((2, 2)), [[1, 1]])
        written = path.with_name("quantized.onnx")
        emit_qdq(path, QuantPlan({INPUT: 1.0}, weights={"a": grid}), written)
        image = np.zeros((1, 2, 1, 1), np.float32)
        (seen,) = run_as_written(written, image, ["a_weight_dequantized"])
    assert seen.tobytes() == grid.weights().tobytes()


@FEW
@given(st.floats(1e-30, 1e30), st.floats(1e-30, 1e30))
def test_scales_are_those_of_the_plan(outer: float, inner: float) -> None:
    plan = QuantPlan({INPUT: outer, "r": inner})
    with TemporaryDirectory() as folder:
        path = save_conv_relu_conv(Path(folder) / "tiny.onnx", [[1]], [[1]])
        written = path.with_name("quantized.onnx")
        emit_qdq(path, plan, written)
        stored = constants_of(written)
    assert stored["x_scale"] == plan.scale(INPUT)
    assert stored["r_scale"] == plan.scale("r")


def test_zero_points_shift_what_codes_cover(tmp_path: Path) -> None:
    path = save_conv_relu_conv(tmp_path / "tiny.onnx", [[127]], [[1]])
    plan = QuantPlan({INPUT: 127.0}, zero_points={INPUT: -128})
    emit_qdq(path, plan, tmp_path / "quantized.onnx")
    stored = constants_of(tmp_path / "quantized.onnx")
    assert (stored["x_scale"], stored["x_zero_point"]) == (1, -128)
    assert stored["x_zero_point"].dtype == np.int8
    # Codes -128..127 stand for 0..255.
    image = np.array([-3, 254.6, 300], np.float32).reshape(1, 1, 1, 3)
    (seen,) = run_as_written(tmp_path / "quantized.onnx", image, ["x_dequantized"])
    assert seen.ravel().tolist() == [0, 255, 255]


@pytest.mark.parametrize("has_bias", [True, False])
def test_bias_of_the_plan_takes_the_place_of_the_graphs(tmp_path: Path, has_bias: bool) -> None:
    nodes = [
        node("Conv", [INPUT, "weight", "bias"] if has_bias else [INPUT, "weight"], "a"),
        node("Conv", ["a", "weight"], RESULT),
    ]
    constants = {"weight": pointwise([[2]]), "bias": [5]} if has_bias else {"weight": [[[[2]]]]}
    path = save_graph(tmp_path / "tiny.onnx", nodes, constants)
    plan = QuantPlan({INPUT: 127}, biases={"a": np.array([0.25], np.float32)})
    emit_qdq(path, plan, tmp_path / "quantized.onnx")
    assert "bias" not in constants_of(tmp_path / "quantized.onnx")
    image = np.full((1, 1, 1, 1), 3, np.float32)
    (a,) = run_as_written(tmp_path / "quantized.onnx", image, ["a"])
    assert a.item() == 3 * 2 + 0.25


def test_what_no_int8_convolution_needs_is_passed_over(tmp_path: Path) -> None:
    path = save_chain(tmp_path / "tiny.onnx", "Relu", "Tanh")
    ranges = {INPUT: 1.0, "b0": 1.0, "c1": 1.0}
    weights = {"c0": WeightGrid(np.ones((1, 1, 1, 1), np.int8), np.ones(1, np.float32))}
    biases = {"c0": np.ones(1, np.float32)}
    plan = QuantPlan(ranges, weights=weights, biases=biases).with_float(["c0"])
    assert emit_qdq(path, plan, tmp_path / "quantized.onnx") == 1
    stored = constants_of(tmp_path / "quantized.onnx")
    assert "x_scale" not in stored
    assert stored["weight"].item() == 2
    assert kinds_of(tmp_path / "quantized.onnx")["QuantizeLinear"] == 2


@pytest.mark.parametrize(
    ("plan", "reason"),
    [
        (QuantPlan({"z": 1.0}), "the activation 'z'"),
        (QuantPlan({}, ("make_a",)), "the convolution 'make_a'"),
        (QuantPlan({}, biases={RESULT: np.ones(1, np.float32)}), f"the convolution '{RESULT}'"),
        (
            QuantPlan(
                {},
                weights={"a": WeightGrid(np.ones((3, 1, 1, 1), np.int8), np.ones(3, np.float32))},
            ),
            r"weights of the shape \(3, 1, 1, 1\) for 'a'",
        ),
        (QuantPlan({}, biases={"a": np.ones(3, np.float32)}), "3 biases for 'a'"),
    ],
)
def test_plan_for_another_graph_is_refused(tmp_path: Path, plan: QuantPlan, reason: str) -> None:
    path = save_conv_relu_conv(tmp_path / "tiny.onnx", [[1], [1]], [[1, 1]])
    with pytest.raises(CalibrationError, match=rf"not for tiny\.onnx.*{reason}.*Calibrate this"):
        emit_qdq(path, plan, tmp_path / "quantized.onnx")
    assert not (tmp_path / "quantized.onnx").exists()
