from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support import needs
from tiny_graphs import INPUT, node, pointwise, run_as_written
from tiny_litert import Made, convolutions_of, details_of, emit, make, run, save_sized_graph

from edgeseg.errors import CalibrationError
from edgeseg.formats.tflite import read_tflite
from edgeseg.quantize.calibrators.min_max import MinMaxCalibrator
from edgeseg.quantize.calibrators.range_calibrator import RangeOptions
from edgeseg.quantize.plan.quant_plan import QuantPlan
from edgeseg.quantize.qdq_onnx import emit_qdq

pytestmark = needs("onnx2tf", "ai_edge_litert", "onnx", "onnx_ir", "onnxruntime")

CHANNELS = 4


def save_network(path: Path) -> Path:
    """A padded dense, a depthwise with ReLU and a dense convolution, and a sigmoid."""
    import onnx

    generator = np.random.default_rng(4)

    def weight(*shape: int) -> NDArray[np.float32]:
        return generator.normal(0, 0.3, shape).astype(np.float32)

    def convolve(sources: list[str], result: str, **attributes: Any) -> Any:
        return onnx.helper.make_node("Conv", sources, [result], **attributes)

    nodes = [
        convolve([INPUT, "w0", "b0"], "c0", pads=[1, 1, 1, 1]),
        convolve(["c0", "w1"], "c1", pads=[1, 1, 1, 1], group=CHANNELS),
        node("Relu", ["c1"], "r1"),
        convolve(["r1", "w2", "b2"], "c2", strides=[2, 2]),
        node("Tanh", ["c2"], "t"),
        node("Conv", ["t", "head"], "logits"),
        node("Sigmoid", ["logits"], "y"),
    ]
    constants = {
        "w0": weight(CHANNELS, 3, 3, 3) / 255,
        "b0": weight(CHANNELS),
        "w1": weight(CHANNELS, 1, 3, 3),
        "w2": weight(CHANNELS, CHANNELS, 1, 1),
        "b2": weight(CHANNELS),
        "head": pointwise([[1, -2, 3, -1]]),
    }
    return save_sized_graph(path, nodes, constants)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(tmp_path_factory.mktemp("litert_plan"), save_network)


@pytest.fixture(params=[False, True], ids=["symmetric", "zero points"])
def plan(made: Made, request: pytest.FixtureRequest) -> QuantPlan:
    options = RangeOptions(bias_correction=True, zero_points=request.param)
    return MinMaxCalibrator(options).calibrate(made.onnx_path, made.images)


def test_artifact_is_int8_of_the_same_kind(made: Made, plan: QuantPlan, tmp_path: Path) -> None:
    artifact, layers = emit(made, plan, tmp_path / "new" / "int8")
    assert artifact.precision == "int8"
    for name in ("runtime", "format", "files", "settings"):
        assert getattr(artifact, name) == getattr(made.source, name), name
    assert layers["int8_convolutions"] == 3
    assert layers["convolutions"] == 4
    assert layers["not_found_convolutions"] == 0
    kinds = [one.kind for one in read_tflite(artifact.folder / artifact.files[0]).operators]
    assert layers["conversions"] == kinds.count("QUANTIZE") + kinds.count("DEQUANTIZE") == 2


def test_codes_scales_and_zero_points_are_those_of_the_plan(
    made: Made, plan: QuantPlan, tmp_path: Path
) -> None:
    from ai_edge_litert.interpreter import Interpreter

    artifact, _ = emit(made, plan, tmp_path)
    details = details_of(artifact)
    path = artifact.folder / artifact.files[0]
    interpreter = Interpreter(model_content=path.read_bytes())
    tensors = {"c0": (INPUT, "c0"), "c1": ("c0", "r1"), "c2": ("r1", "c2")}
    for operator, name in zip(convolutions_of(artifact)[:3], tensors, strict=True):
        source, weight, bias = (details[index] for index in operator.inputs)
        result = details[operator.outputs[0]]
        for one, tensor in zip((source, result), tensors[name], strict=True):
            assert one["dtype"] == np.int8
            found = one["quantization_parameters"]
            assert found["scales"].tolist() == [plan.scale(tensor)]
            assert found["zero_points"].tolist() == [plan.zero_point(tensor)]
        grid = plan.weights[name]
        found = weight["quantization_parameters"]
        assert found["scales"].tobytes() == grid.scales.tobytes()
        assert not found["zero_points"].any()
        order = (1, 2, 3, 0) if name == "c1" else (0, 2, 3, 1)
        quantized = interpreter.get_tensor(operator.inputs[1])
        assert np.array_equal(quantized, grid.values.transpose(order))
        # Dequantised bit for bit, each channel along the axis that the file names.
        axis = found["quantized_dimension"]
        shape = [-1 if place == axis else 1 for place in range(4)]
        restored = quantized.astype(np.float32) * found["scales"].reshape(shape)
        assert restored.tobytes() == np.ascontiguousarray(grid.weights().transpose(order)).tobytes()
        steps = np.float32(plan.scale(tensors[name][0])) * grid.scales
        assert bias["dtype"] == np.int32
        np.testing.assert_allclose(
            interpreter.get_tensor(operator.inputs[2]) * steps, plan.biases[name], atol=steps.max()
        )


def test_it_computes_what_the_onnx_graph_of_the_plan_computes(
    made: Made, plan: QuantPlan, tmp_path: Path
) -> None:
    artifact, _ = emit(made, plan, tmp_path / "int8")
    emit_qdq(made.onnx_path, plan, tmp_path / "quantized.onnx")
    for image in made.images:
        (expected,) = run_as_written(tmp_path / "quantized.onnx", image)
        (exact,) = run_as_written(made.onnx_path, image)
        got = run(artifact, image)
        # A code that lies on the edge between two may fall to either side.
        assert np.abs(got - expected).mean() < 0.2 * np.abs(exact - expected).mean()


def test_float_convolutions_of_the_plan_stay_float(
    made: Made, plan: QuantPlan, tmp_path: Path
) -> None:
    artifact, layers = emit(made, plan.with_float(["c0", "c1", "c2"][1:2]), tmp_path / "two")
    assert layers["int8_convolutions"] == 2
    kinds = {
        one.kind: details_of(artifact)[one.inputs[1]]["dtype"]
        for one in convolutions_of(artifact)[1:2]
    }
    assert kinds == {"DEPTHWISE_CONV_2D": np.float32}
    with pytest.raises(CalibrationError, match=r"none of the conv.*--method ai-edge-quantizer"):
        emit(made, plan.with_float(["c0", "c1", "c2"]), tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_result_that_is_not_rounded_stays_float(made: Made, tmp_path: Path) -> None:
    from ai_edge_litert.interpreter import Interpreter

    options = RangeOptions(
        bias_correction=True, quantize_outputs=False, quantize_depthwise_outputs=True
    )
    plan = MinMaxCalibrator(options).calibrate(made.onnx_path, made.images)
    assert set(plan.ranges) == {INPUT, "c0", "r1"}
    artifact, layers = emit(made, plan, tmp_path / "int8")
    assert (layers["int8_convolutions"], layers["dynamic_convolutions"]) == (3, 1)
    details = details_of(artifact)
    path = artifact.folder / artifact.files[0]
    interpreter = Interpreter(model_content=path.read_bytes())
    *_, dynamic, _ = convolutions_of(artifact)
    weight, grid = details[dynamic.inputs[1]], plan.weights["c2"]
    assert details[dynamic.inputs[0]]["dtype"] == details[dynamic.outputs[0]]["dtype"] == np.float32
    scales = weight["quantization_parameters"]["scales"]
    assert scales.tobytes() == grid.scales.tobytes()
    quantized = interpreter.get_tensor(dynamic.inputs[1])
    assert np.array_equal(quantized, grid.values.transpose(0, 2, 3, 1))
    assert interpreter.get_tensor(dynamic.inputs[2]).tobytes() == plan.biases["c2"].tobytes()
    emit_qdq(made.onnx_path, plan, tmp_path / "quantized.onnx")
    for image in made.images:
        (expected,) = run_as_written(tmp_path / "quantized.onnx", image)
        (exact,) = run_as_written(made.onnx_path, image)
        # Its input is rounded once more, on steps of the image's own.
        assert np.abs(run(artifact, image) - expected).mean() < np.abs(exact - expected).mean()


def test_depthwise_result_that_is_not_rounded_is_refused(
    made: Made, plan: QuantPlan, tmp_path: Path
) -> None:
    ranges = {name: limit for name, limit in plan.ranges.items() if name not in ("r1", "c2")}
    zero_points = {name: zero for name, zero in plan.zero_points.items() if name in ranges}
    changed = replace(plan.with_float(["c2"]), ranges=ranges, zero_points=zero_points)
    with pytest.raises(
        CalibrationError, match=r"does not round 'r1'.*quantize_depthwise_outputs=true"
    ):
        emit(made, changed, tmp_path / "int8")
    assert not (tmp_path / "int8").exists()


def test_activation_without_a_range_is_named(made: Made, plan: QuantPlan, tmp_path: Path) -> None:
    ranges = {name: limit for name, limit in plan.ranges.items() if name != INPUT}
    zero_points = {name: zero for name, zero in plan.zero_points.items() if name in ranges}
    with pytest.raises(CalibrationError, match=rf"no range for '{INPUT}', which an INT8"):
        emit(made, replace(plan, ranges=ranges, zero_points=zero_points), tmp_path / "int8")
    assert not (tmp_path / "int8").exists()


def test_float_weights_are_gone(made: Made, plan: QuantPlan, tmp_path: Path) -> None:
    artifact, _ = emit(made, plan, tmp_path)
    operators = convolutions_of(artifact)
    used = {
        index
        for one in read_tflite(tmp_path / artifact.files[0]).operators
        for index in (*one.inputs, *one.outputs)
    }
    assert set(details_of(artifact)) == used
    assert [details_of(artifact)[one.inputs[1]]["dtype"] for one in operators] == [
        *[np.int8] * 3,
        np.float32,
    ]


def test_plan_without_weights_takes_the_covering_grid(
    made: Made, plan: QuantPlan, tmp_path: Path
) -> None:
    whole, _ = emit(made, replace(plan, biases={}), tmp_path / "whole")
    bare, _ = emit(made, replace(plan, biases={}, weights={}), tmp_path / "bare")
    contents = [(one.folder / one.files[0]).read_bytes() for one in (whole, bare)]
    assert contents[0] == contents[1]


def test_channel_without_weights_keeps_its_bias(
    made: Made, plan: QuantPlan, tmp_path: Path
) -> None:
    grid = plan.weights["c0"]
    quantized, scales = grid.values.copy(), grid.scales.copy()
    quantized[0], scales[0] = 0, 1e-12
    biases = {**plan.biases, "c0": np.array([0.25, 0, 0, 0], np.float32)}
    changed = replace(
        plan,
        weights={**plan.weights, "c0": replace(grid, values=quantized, scales=scales)},
        biases=biases,
    )
    artifact, _ = emit(made, changed, tmp_path)
    emit_qdq(made.onnx_path, changed, tmp_path / "quantized.onnx")
    image = next(iter(made.images))
    (expected,) = run_as_written(tmp_path / "quantized.onnx", image)
    assert np.abs(run(artifact, image) - expected).mean() < 0.01


def test_steps_of_weights_grow_until_int32_holds_the_bias(
    made: Made, plan: QuantPlan, tmp_path: Path
) -> None:
    from ai_edge_litert.interpreter import Interpreter

    grid = plan.weights["c0"]
    tiny = replace(grid, scales=np.full(CHANNELS, 1e-12, np.float32))
    biases = {**plan.biases, "c0": np.array([1, -1, 0.5, 0], np.float32)}
    changed = replace(plan, weights={**plan.weights, "c0": tiny}, biases=biases)
    artifact, _ = emit(made, changed, tmp_path)
    content = (artifact.folder / artifact.files[0]).read_bytes()
    interpreter = Interpreter(model_content=content)
    details = details_of(artifact)
    _, weight, bias = convolutions_of(artifact)[0].inputs
    steps = details[bias]["quantization_parameters"]["scales"]
    # In the last channel there is no bias to hold.
    assert (details[weight]["quantization_parameters"]["scales"][:3] > 1e-12).all()
    np.testing.assert_allclose(interpreter.get_tensor(bias) * steps, biases["c0"], rtol=1e-6)
