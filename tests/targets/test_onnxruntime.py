from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

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
    node,
    pointwise,
    run_as_written,
    save_conv_relu_conv,
    save_graph,
)

from edgeseg.errors import TargetError, UnknownNameError
from edgeseg.records import Artifact
from edgeseg.targets.onnxruntime import MODEL_FILE, OnnxRuntime, quantize_biases

pytestmark = needs("onnx", "onnx_ir", "onnxruntime")

RUNTIME = OnnxRuntime()

FEW = settings(max_examples=30, deadline=None)
SCALES = st.floats(2**-13, 10, width=32)


def quantized_graph(
    scale_in: float, scales: NDArray[np.float32], *biases: NDArray[np.float32] | None
) -> Any:
    """An `onnx_ir.Graph` with a convolution for each bias between Q/DQ operators.

    All read the same input and have weights of code 1.
    """
    import onnx
    import onnx_ir
    from onnx import TensorProto, helper, numpy_helper

    channels = len(biases[0]) if biases[0] is not None else scales.size
    axis = {"axis": 0} if scales.ndim else {}
    nodes = [
        helper.make_node("QuantizeLinear", [INPUT, "scale_in", "zero"], ["x_codes"]),
        helper.make_node("DequantizeLinear", ["x_codes", "scale_in", "zero"], ["x_rounded"]),
        helper.make_node("DequantizeLinear", ["codes", "scales", "zeros"], ["weight"], **axis),
    ]
    constants = {
        "scale_in": np.float32(scale_in),
        "zero": np.int8(0),
        "codes": np.ones((channels, 1, 1, 1), np.int8),
        "scales": scales,
        "zeros": np.zeros(scales.shape, np.int8),
    }
    for index, bias in enumerate(biases):
        sources = ["x_rounded", "weight"]
        if bias is not None:
            # Equal biases are one constant.
            same = [name for name, content in constants.items() if content is bias]
            name = same[0] if same else f"bias{index}"
            constants[name] = bias
            sources.append(name)
        nodes.append(helper.make_node("Conv", sources, [f"y{index}"]))
    kind = TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(INPUT, kind, [1, 1, 1, 1])],
        [
            helper.make_tensor_value_info(f"y{index}", kind, [1, channels, 1, 1])
            for index in range(len(biases))
        ],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid("", 18)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return onnx_ir.from_proto(model).graph


def content(graph: Any, name: str) -> NDArray[Any]:
    array: NDArray[Any] = graph.initializers[name].const_value.numpy()
    return array


def row(*values: float) -> NDArray[np.float32]:
    return np.array(values, np.float32)


def test_bias_codes_are_the_bias_over_both_scales() -> None:
    # Scales 0.1 * 0.1 and 0.1 * 0.02.
    graph = quantized_graph(0.1, row(0.1, 0.02), row(0.5, -0.254))
    assert quantize_biases(graph) == 1
    codes = content(graph, "y0_bias_codes")
    assert codes.dtype == np.int32
    assert codes.tolist() == [50, -127]
    assert content(graph, "y0_bias_scale").tolist() == pytest.approx([0.01, 0.002])
    assert content(graph, "y0_bias_zero_point").tolist() == [0, 0]
    assert "bias0" not in graph.initializers


@FEW
@given(
    SCALES,
    arrays(np.float32, 3, elements=SCALES),
    arrays(np.float32, 3, elements=st.floats(-1, 1, width=32, allow_subnormal=False)),
)
def test_biases_are_off_by_half_a_step_at_most(
    scale_in: float, scales: NDArray[np.float32], bias: NDArray[np.float32]
) -> None:
    graph = quantized_graph(scale_in, scales, bias)
    assert quantize_biases(graph) == 1
    scale = content(graph, "y0_bias_scale").astype(np.float64)
    assert scale == pytest.approx(scale_in * scales.astype(np.float64))
    difference = np.abs(content(graph, "y0_bias_codes") * scale - bias)
    assert (difference <= 0.5001 * scale).all()


def test_bias_of_a_weight_with_one_scale() -> None:
    graph = quantized_graph(0.5, np.array(0.5, np.float32), row(1, -2))
    assert quantize_biases(graph) == 1
    assert content(graph, "y0_bias_codes").tolist() == [4, -8]
    assert content(graph, "y0_bias_scale").tolist() == [0.25, 0.25]


def test_bias_that_two_convolutions_share_is_rounded_for_each() -> None:
    bias = row(1, 2)
    graph = quantized_graph(1, row(1, 1), bias, bias)
    assert quantize_biases(graph) == 2
    for name in ("y0", "y1"):
        assert content(graph, f"{name}_bias_codes").tolist() == [1, 2]
    assert "bias0" not in graph.initializers


def test_bias_beyond_int32_stays_float() -> None:
    # A channel of zeros has a scale of 1e-12.
    graph = quantized_graph(0.1, row(0.1, 1e-12), row(0.5, 0.5))
    assert quantize_biases(graph) == 0
    assert content(graph, "bias0").tolist() == [0.5, 0.5]


def test_convolution_without_bias_is_left_as_it_is() -> None:
    graph = quantized_graph(0.1, row(0.1), None)
    before = list(graph)
    assert quantize_biases(graph) == 0
    assert list(graph) == before


def test_graph_without_rounding_keeps_its_biases(tmp_path: Path) -> None:
    nodes = [node("Conv", [INPUT, "weight", "bias"], RESULT)]
    constants = {"weight": pointwise([[2], [3]]), "bias": row(0.5, -1)}
    path = save_graph(tmp_path / "tiny.onnx", nodes, constants)
    artifact = RUNTIME.compile(path, tmp_path / "new", "fp32")
    stored = constants_of(artifact.folder / MODEL_FILE)
    assert sorted(content.ravel().tolist() for content in stored.values()) == [[0.5, -1], [2, 3]]


def test_inner_names_are_short_and_results_keep_theirs(tmp_path: Path) -> None:
    import onnx

    nodes = [
        node("Conv", [INPUT, "a_long_name_of_a_weight"], "a_long_name_of_a_value"),
        node("Relu", ["a_long_name_of_a_value"], "a"),
    ]
    path = save_graph(
        tmp_path / "tiny.onnx", nodes, {"a_long_name_of_a_weight": pointwise([[2]])}, results=["a"]
    )
    artifact = RUNTIME.compile(path, tmp_path / "new", "fp32")
    graph = onnx.load(artifact.folder / MODEL_FILE).graph
    onnx.checker.check_model(artifact.folder / MODEL_FILE, full_check=True)
    # "a" is a result's name, so that inner values begin with b.
    assert [list(item.output) for item in graph.node] == [["c"], ["a"]]
    assert [item.name for item in graph.initializer] == ["b"]
    assert not any(item.name for item in graph.node)
    assert not graph.value_info


# INT8 graphs as `edgeseg.quantize` writes them


@pytest.fixture(scope="module")
def int8_graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """x -> convolution a -> convolution b -> tanh -> convolution y; a and b are INT8.

    Weights have 7 bits, the target's default: x86 CPUs without VNNI saturate with 8.
    """
    from edgeseg.quantize.plan.quant_plan import QuantPlan
    from edgeseg.quantize.plan.weight_grids import covering_grid, steps_of_bits
    from edgeseg.quantize.qdq_onnx import emit_qdq

    generator = np.random.default_rng(4)
    constants = {
        "weight": generator.normal(0, 0.5, (4, 4, 3, 3)).astype(np.float32),
        "bias": generator.normal(0, 0.5, 4).astype(np.float32),
    }
    nodes = [
        node("Conv", [INPUT, "weight", "bias"], "a"),
        node("Conv", ["a", "weight", "bias"], "b"),
        node("Tanh", ["b"], "t"),
        node("Conv", ["t", "weight", "bias"], RESULT),
    ]
    folder = tmp_path_factory.mktemp("int8")
    path = save_graph(folder / "float.onnx", nodes, constants, channels=4)
    grid = covering_grid(constants["weight"], steps_of_bits(7))
    plan = QuantPlan({INPUT: 3.0, "a": 12.0, "b": 40.0}, weights={"a": grid, "b": grid})
    emit_qdq(path, plan, folder / "quantized.onnx")
    return folder / "quantized.onnx"


@pytest.fixture(scope="module")
def artifact(int8_graph: Path) -> Artifact:
    return RUNTIME.compile(int8_graph, int8_graph.parent / "new", "int8")


@pytest.fixture
def image() -> NDArray[np.float32]:
    return np.random.default_rng(3).normal(0, 1, (1, 4, 12, 12)).astype(np.float32)


def test_int8_artifact_describes_itself(artifact: Artifact) -> None:
    assert (artifact.runtime, artifact.precision, artifact.format) == (
        "onnxruntime",
        "int8",
        "onnx",
    )
    assert artifact.files == (MODEL_FILE,)
    assert artifact.settings == {"provider": "CPUExecutionProvider"}


def test_int8_artifact_computes_what_its_graph_says(
    int8_graph: Path, artifact: Artifact, image: NDArray[np.float32]
) -> None:
    backend = RUNTIME.load(artifact)
    (expected,) = run_as_written(int8_graph, image)
    difference = np.abs(backend.run(image) - expected)
    # Integer and float sums may fall on either side of a half: one code of b, 40 / 127, there.
    assert np.median(difference) < 1e-5
    assert (difference > 0.05).mean() < 0.05


def test_onnx_runtime_computes_the_convolutions_in_int8(artifact: Artifact, tmp_path: Path) -> None:
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(
        artifact.folder / MODEL_FILE, options, providers=["CPUExecutionProvider"]
    )
    kinds = Counter(made.op_type for made in onnx.load(tmp_path / "optimized.onnx").graph.node)
    assert kinds["QLinearConv"] == 2
    assert kinds["Conv"] == 1


@pytest.mark.parametrize("threads", [1, 2])
def test_backend_keeps_its_settings(artifact: Artifact, threads: int) -> None:
    backend: Any = RUNTIME.load(artifact, threads)
    options = backend._session.get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (threads, 1)
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    assert backend._session.get_providers() == ["CPUExecutionProvider"]


def test_the_layout_is_kept_where_that_was_chosen(artifact: Artifact) -> None:
    levels = []
    for changes in ({}, *RUNTIME.runtime_variants("fp32").values()):
        changed = replace(artifact, settings={**artifact.settings, **changes})
        backend: Any = RUNTIME.load(changed)
        levels.append(backend._session.get_session_options().graph_optimization_level.name)
    assert levels == ["ORT_ENABLE_ALL", "ORT_ENABLE_EXTENDED"]
    with pytest.raises(TargetError, match="Build it again with the installed"):
        RUNTIME.load(replace(artifact, settings={**artifact.settings, "optimization": "x"}))


def test_provider_that_is_not_there_says_what_to_do(artifact: Artifact) -> None:
    with pytest.raises(TargetError, match=r"has no NoSuchProvider\. Build it again"):
        RUNTIME.load(replace(artifact, settings={"provider": "NoSuchProvider"}))


def test_unknown_precision_is_refused_before_the_work(tmp_path: Path) -> None:
    path = save_conv_relu_conv(tmp_path / "tiny.onnx", [[1]], [[1]])
    with pytest.raises(UnknownNameError, match=r"'fp16'\..*Available: fp32, int8"):
        RUNTIME.compile(path, tmp_path / "new", "fp16")
    assert not (tmp_path / "new").exists()


def test_diagnosis_names_the_providers() -> None:
    assert "CPUExecutionProvider" in RUNTIME.diagnose().notes[-1]


def test_the_plain_form_is_the_file_itself(tmp_path: Path) -> None:
    path = save_conv_relu_conv(tmp_path / "tiny.onnx", [[1]], [[1]])
    plain = RUNTIME.compile_plain(path, tmp_path / "new")
    assert (plain.folder / MODEL_FILE).read_bytes() == path.read_bytes()
    assert plain.files == (MODEL_FILE,)
