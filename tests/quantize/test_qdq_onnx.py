from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import ArrayLike, NDArray
from support import needs
from tiny_graphs import (
    INPUT,
    RESULT,
    constants_of,
    graph_of,
    kinds_of,
    node,
    pointwise,
    run_as_written,
    save_chain,
    save_conv_relu_conv,
    save_graph,
)

from edgeseg.quantize.plan.quant_plan import QuantPlan
from edgeseg.quantize.plan.weight_grids import covering_grid, steps_of_bits
from edgeseg.quantize.qdq_onnx import activations_to_quantize, emit_qdq, quantizable_convolutions

pytestmark = needs("onnx", "onnx_ir", "onnxruntime")

FEW = settings(max_examples=25, deadline=None)
FLOATS = st.floats(-1e3, 1e3, width=32, allow_subnormal=False)
WEIGHTS = arrays(np.float32, array_shapes(min_dims=4, max_dims=4, max_side=3), elements=FLOATS)
CODES = arrays(np.int8, (2, 2), elements=st.integers(-127, 127))
# Weights whose largest magnitude is 127 are their own codes: the scale is 1.
WHOLE_WEIGHTS = CODES.map(lambda quantized: np.concatenate([quantized, [[127], [-127]]], axis=1))
WHOLE_IMAGES = arrays(np.float32, (1, 3, 2, 2), elements=st.integers(-300, 300))


def emit(path: Path, ranges: Mapping[str, float], *float_nodes: str) -> tuple[Path, int]:
    """Write the graph with Q/DQ beside `path`, and check that it is one."""
    import onnx

    written = path.with_name("quantized.onnx")
    count = emit_qdq(path, QuantPlan(ranges, float_nodes), written)
    onnx.checker.check_model(written, full_check=True)
    return written, count


def rounded(values: ArrayLike, limit: float) -> NDArray[np.float32]:
    """What QuantizeLinear and DequantizeLinear are defined to do, at zero point 0."""
    scale = np.float32(limit / 127)
    quantized = np.clip(np.rint(np.asarray(values, np.float32) / scale), -128, 127)
    return quantized.astype(np.float32) * scale


def convolved(image: NDArray[np.float32], weights: ArrayLike) -> NDArray[np.float32]:
    """A 1x1 convolution; the numbers here are whole and small, so that sums are exact."""
    return np.einsum("oi,nihw->nohw", np.asarray(weights, np.float32), image)


# Weights


@FEW
@given(WEIGHTS)
def test_weights_get_the_nearest_codes(weight: NDArray[np.float32]) -> None:
    outputs, inputs = weight.shape[:2]
    with TemporaryDirectory() as folder:
        nodes = [
            node("Conv", [INPUT, "weight"], "c"),
            node("ReduceMean", ["c"], "m"),
            node("Conv", ["m", "head"], RESULT),
        ]
        constants = {"weight": weight, "head": pointwise([[1]])}
        path = Path(folder) / "tiny.onnx"
        # ReduceMean over everything makes the number of channels 1 again.
        written, _ = emit(save_graph(path, nodes, constants, channels=inputs), {})
        stored = constants_of(written)
        image = np.zeros((1, inputs, *weight.shape[2:]), np.float32)
        (seen,) = run_as_written(written, image, ["c_weight_dequantized"])
    quantized, scale = stored["c_weight_codes"], stored["c_weight_scale"]
    assert quantized.dtype == np.int8
    assert quantized.shape == weight.shape
    assert quantized.min() >= -127
    assert scale.shape == (outputs,)
    # Bit for bit: what runtimes compute with is code times scale, and nothing else.
    restored = quantized.astype(np.float32) * scale[:, None, None, None]
    assert seen.tobytes() == restored.tobytes()
    assert (np.abs(restored - weight) <= 0.5001 * scale[:, None, None, None]).all()


def test_channel_of_zeros_stays_zero(tmp_path: Path) -> None:
    path = save_conv_relu_conv(tmp_path / "tiny.onnx", [[0], [2]], [[1, 1]])
    written, _ = emit(path, {INPUT: 127, "r": 127})
    assert constants_of(written)["a_weight_codes"].ravel().tolist() == [0, 127]
    image = np.full((1, 1, 1, 1), 3, np.float32)
    assert run_as_written(written, image, ["a"])[0].ravel().tolist() == [0, 6]


# What is quantised


def test_a_pruned_channel_keeps_its_bias_where_runtimes_add_in_int32(tmp_path: Path) -> None:
    from edgeseg.targets.onnx_file import open_reference

    nodes = [
        node("Conv", [INPUT, "first", "bias"], "c"),
        node("Relu", ["c"], "r"),
        node("Conv", ["r", "second"], "d"),
        node("Conv", ["d", "head"], RESULT),
    ]
    constants = {
        "first": pointwise([[0], [1]]),
        "bias": np.array([0.75, 0], np.float32),
        "second": pointwise([[1, 1]]),
        "head": pointwise([[1]]),
    }
    path = save_graph(tmp_path / "tiny.onnx", nodes, constants)
    # Of 7 bits, so that the sum of two products fits in 16 on any CPU.
    weights = {
        "c": covering_grid(constants["first"], steps_of_bits(7)),
        "d": covering_grid(constants["second"], steps_of_bits(7)),
    }
    written = tmp_path / "quantized.onnx"
    assert emit_qdq(path, QuantPlan({INPUT: 1, "r": 1, "d": 2}, weights=weights), written) == 2
    image = np.array([[[[0.25, 1.0]]]], np.float32)
    # Optimised, ONNX Runtime computes both in integers.
    (got,) = open_reference(written).run(None, {INPUT: image})
    np.testing.assert_allclose(got, [[[[1.0, 1.75]]]], atol=0.03)


def test_last_convolution_stays_float(tmp_path: Path) -> None:
    graph = graph_of(save_chain(tmp_path / "tiny.onnx", "Relu", "Tanh"))
    assert [found.name for found in quantizable_convolutions(graph)] == ["make_c0", "make_c1"]


def test_last_convolution_of_every_head_stays_float(tmp_path: Path) -> None:
    nodes = [
        node("Conv", [INPUT, "weight"], "stem"),
        node("Conv", ["stem", "weight"], "z"),
        node("Conv", ["stem", "weight"], "side"),
        node("Sigmoid", ["side"], RESULT),
    ]
    constants = {"weight": pointwise([[2]])}
    path = save_graph(tmp_path / "tiny.onnx", nodes, constants, results=(RESULT, "z"))
    assert [found.name for found in quantizable_convolutions(graph_of(path))] == ["make_stem"]


def test_convolution_with_computed_weights_stays_float(tmp_path: Path) -> None:
    nodes = [
        node("Abs", ["weight"], "computed"),
        node("Conv", [INPUT, "computed"], "c"),
        node("Conv", ["c", "weight"], "d"),
        node("Conv", ["d", "weight"], RESULT),
    ]
    path = save_graph(tmp_path / "tiny.onnx", nodes, {"weight": pointwise([[2]])})
    graph = graph_of(path)
    assert [found.name for found in quantizable_convolutions(graph)] == ["make_d"]
    assert activations_to_quantize(graph) == ["c", "d"]


def test_convolution_of_constants_stays_float(tmp_path: Path) -> None:
    nodes = [
        node("Conv", ["gate", "weight"], "g"),
        node("Mul", [INPUT, "g"], "m"),
        node("Conv", ["m", "weight"], "c"),
        node("Conv", ["c", "weight"], RESULT),
    ]
    constants = {"weight": pointwise([[2]]), "gate": np.ones((1, 1, 1, 1))}
    graph = graph_of(save_graph(tmp_path / "tiny.onnx", nodes, constants))
    assert [found.name for found in quantizable_convolutions(graph)] == ["make_c"]


@pytest.mark.parametrize(
    ("kind", "result"), [("Relu", "b0"), ("Clip", "b0"), ("Tanh", "c0"), ("Neg", "c0")]
)
def test_result_is_rounded_after_an_activation_that_runtimes_fuse(
    tmp_path: Path, kind: str, result: str
) -> None:
    graph = graph_of(save_chain(tmp_path / "tiny.onnx", kind))
    assert activations_to_quantize(graph) == [INPUT, result]


def test_result_that_others_read_too_is_rounded_before_the_activation(tmp_path: Path) -> None:
    nodes = [
        node("Conv", [INPUT, "weight"], "c"),
        node("Relu", ["c"], "r"),
        node("Add", ["c", "r"], "sum"),
        node("Conv", ["sum", "weight"], RESULT),
    ]
    path = save_graph(tmp_path / "tiny.onnx", nodes, {"weight": pointwise([[2]])})
    assert activations_to_quantize(graph_of(path)) == [INPUT, "c"]


def test_skipped_convolutions_need_no_range(tmp_path: Path) -> None:
    graph = graph_of(save_chain(tmp_path / "tiny.onnx", "Relu", "Tanh", "Tanh"))
    assert activations_to_quantize(graph) == [INPUT, "b0", "c1", "b1", "c2"]
    assert activations_to_quantize(graph, ("c1",)) == [INPUT, "b0", "b1", "c2"]


def test_results_that_no_int8_convolution_reads_need_no_range(tmp_path: Path) -> None:
    graph = graph_of(save_chain(tmp_path / "tiny.onnx", "Relu", "Tanh", "Tanh"))
    # b0 is read by c1; c1 is read by Tanh only, and c2 too.
    assert activations_to_quantize(graph, quantize_outputs=False) == [INPUT, "b0", "b1"]


def test_result_without_a_range_is_not_rounded(tmp_path: Path) -> None:
    path = save_chain(tmp_path / "tiny.onnx", "Tanh", "Relu")
    written, count = emit(path, {INPUT: 1.0, "b0": 1.0})
    assert count == 2
    assert kinds_of(written)["QuantizeLinear"] == 2


# The emitted graph


def test_conv_relu_conv_gets_two_pairs_and_one_weight(tmp_path: Path) -> None:
    path = save_conv_relu_conv(tmp_path / "tiny.onnx", [[1, -12.7]], [[3]])
    written, count = emit(path, {INPUT: 12.7, "r": 25.4})
    assert count == 1
    assert kinds_of(written) == {
        "Conv": 2,
        "Relu": 1,
        "QuantizeLinear": 2,
        "DequantizeLinear": 3,
    }
    stored = constants_of(written)
    assert stored["x_scale"] == pytest.approx(0.1)
    assert stored["r_scale"] == pytest.approx(0.2)
    assert stored["a_weight_scale"] == pytest.approx([0.1])
    assert stored["a_weight_codes"].ravel().tolist() == [10, -127]
    # The float weights are gone; those of the last convolution stay.
    assert "first" not in stored
    assert stored["second"] == 3


def test_values_are_rounded_where_the_plan_says(tmp_path: Path) -> None:
    path = save_conv_relu_conv(tmp_path / "tiny.onnx", [[127], [-127]], [[1, 10]])
    written, _ = emit(path, {INPUT: 127, "r": 1270})
    # Codes of x: 2 (2.5 is rounded to even), 127 (clipped), -128. a is 127 times that. The scale
    # of r is 10: 254 becomes 250, 16129 becomes 1270, 16256 becomes 1270.
    image = np.array([2.5, 400, -400], np.float32).reshape(1, 1, 1, 3)
    a, result = run_as_written(written, image, ["a", RESULT])
    assert a[0, :, 0].tolist() == [[254, 16129, -16256], [-254, -16129, 16256]]
    assert result.ravel().tolist() == [250, 1270, 12700]


@FEW
@given(
    WHOLE_IMAGES,
    WHOLE_WEIGHTS,
    CODES,
    st.sampled_from([63.5, 127.0, 254.0]),
    st.sampled_from([127 * 2.0**power for power in range(9)]),
)
def test_graph_computes_what_rounding_is_defined_to_do(
    image: NDArray[np.float32],
    first: NDArray[np.int8],
    second: NDArray[np.int8],
    input_limit: float,
    inner_limit: float,
) -> None:
    with TemporaryDirectory() as folder:
        path = save_conv_relu_conv(Path(folder) / "tiny.onnx", first, second)
        written, _ = emit(path, {INPUT: input_limit, "r": inner_limit})
        (got,) = run_as_written(written, image)
    inner = np.maximum(convolved(rounded(image, input_limit), first), 0)
    np.testing.assert_array_equal(got, convolved(rounded(inner, inner_limit), second))


def test_input_of_two_convolutions_is_rounded_once(tmp_path: Path) -> None:
    nodes = [
        node("Conv", [INPUT, "one"], "a"),
        node("Conv", [INPUT, "two"], "b"),
        node("Add", ["a", "b"], "sum"),
        node("Conv", ["sum", "one"], RESULT),
    ]
    constants = {"one": pointwise([[127]]), "two": pointwise([[-127]])}
    path = save_graph(tmp_path / "tiny.onnx", nodes, constants)
    written, count = emit(path, {INPUT: 127, "a": 127, "b": 127})
    assert count == 2
    kinds = kinds_of(written)
    assert kinds["QuantizeLinear"] == 3
    assert kinds["DequantizeLinear"] == 3 + 2
    readers = [found for found in graph_of(written) if found.op_type == "Conv"]
    assert [found.inputs[0].name for found in readers[:2]] == ["x_dequantized"] * 2


def test_other_readers_get_the_rounded_values_too(tmp_path: Path) -> None:
    nodes = [
        node("Conv", [INPUT, "weight"], "a"),
        node("Add", ["a", INPUT], "sum"),
        node("Conv", ["sum", "weight"], RESULT),
    ]
    path = save_graph(tmp_path / "tiny.onnx", nodes, {"weight": pointwise([[127]])})
    written, _ = emit(path, {INPUT: 127, "a": 127 * 127})
    # 0.6 has the code 1, so that a is 127, and the sum 127 + 1.
    image = np.full((1, 1, 1, 1), 0.6, np.float32)
    assert run_as_written(written, image, ["sum"])[0].item() == 128


def test_result_of_the_graph_keeps_its_name_and_is_not_rounded(tmp_path: Path) -> None:
    nodes = [
        node("Conv", [INPUT, "weight"], "side"),
        node("Conv", ["side", "weight"], RESULT),
    ]
    constants = {"weight": pointwise([[127]])}
    path = save_graph(tmp_path / "tiny.onnx", nodes, constants, results=(RESULT, "side"))
    written, _ = emit(path, {INPUT: 127, "side": 12700})
    assert [output.name for output in graph_of(written).outputs] == [RESULT, "side"]
    # The code of 127 at a scale of 100 is 1.
    image = np.ones((1, 1, 1, 1), np.float32)
    side, result = run_as_written(written, image, ["side", RESULT])
    assert (side.item(), result.item()) == (127, 12700)


def test_float_nodes_stay_as_they_are(tmp_path: Path) -> None:
    path = save_chain(tmp_path / "tiny.onnx", "Relu", "Tanh")
    ranges = {INPUT: 1.0, "b0": 1.0, "c1": 1.0}
    assert emit(path, ranges)[1] == 2
    written, count = emit(path, {"b0": 1.0, "c1": 1.0}, "c0")
    assert count == 1
    first = next(iter(graph_of(written)))
    assert [value.name for value in first.inputs] == [INPUT, "weight"]
    assert constants_of(written)["weight"].item() == 2
    written, count = emit(path, {}, "c0", "c1")
    assert count == 0
    assert kinds_of(written) == kinds_of(path)


def test_weight_that_two_convolutions_share_is_rounded_for_each(tmp_path: Path) -> None:
    written, count = emit(save_chain(tmp_path / "tiny.onnx", "Relu", "Relu"), {INPUT: 127})
    stored = constants_of(written)
    assert count == 2
    assert stored["c0_weight_codes"].item() == stored["c1_weight_codes"].item() == 127
    assert stored["weight"].item() == 2  # of the last one


def test_operators_without_names_are_told_apart(tmp_path: Path) -> None:
    import onnx

    path = save_conv_relu_conv(tmp_path / "tiny.onnx", [[2], [4]], [[1, 1], [2, -1]])
    model = onnx.load(path)
    last = model.graph.node[-1]
    last.output[0] = "b"
    model.graph.node.append(onnx.helper.make_node("Conv", ["b", "second"], [RESULT]))
    for operator in model.graph.node:
        operator.name = ""
    onnx.save(model, path)
    written, count = emit(path, {INPUT: 127, "r": 127, "b": 254})
    assert count == 2
    # a = (2, 4), b = (2 + 4, 2 * 2 - 4), y = (6 + 0, 2 * 6 - 0)
    image = np.ones((1, 1, 1, 1), np.float32)
    np.testing.assert_allclose(run_as_written(written, image)[0].ravel(), [6, 12], rtol=1e-6)


@needs("torch", "onnxscript")
def test_exported_network_is_in_the_form_that_tensorrt_takes(
    small_onnx: Path, tmp_path: Path
) -> None:
    graph = graph_of(small_onnx)
    names = activations_to_quantize(graph)
    plan = QuantPlan(dict.fromkeys(names, 6.0))
    count = emit_qdq(small_onnx, plan, tmp_path / "quantized.onnx")
    written = graph_of(tmp_path / "quantized.onnx")
    convolutions = [found for found in graph if found.op_type == "Conv"]
    assert 0 < count == len(quantizable_convolutions(graph)) < len(convolutions)

    weights = 0
    for operator in written:
        if operator.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            continue
        scale, zero = (value.const_value.numpy() for value in operator.inputs[1:])
        assert zero.dtype == np.int8
        assert not zero.any()
        assert zero.shape == scale.shape
        assert scale.dtype == np.float32
        assert (scale > 0).all()
        quantized = operator.inputs[0].const_value
        if quantized is None:
            assert scale.shape == ()
        else:
            weights += 1
            assert operator.op_type == "DequantizeLinear"
            assert operator.attributes["axis"].value == 0
            assert scale.shape == quantized.shape[:1]
            assert quantized.numpy().dtype == np.int8
    assert weights == count
    assert kinds_of(tmp_path / "quantized.onnx")["QuantizeLinear"] == len(names)

    # Biases stay in float, and so does everything of the last convolution.
    before = {found.name: found for found in convolutions}
    for found in written:
        if found.op_type == "Conv":
            old = before[found.name].inputs[2].const_value.numpy()
            assert np.array_equal(found.inputs[2].const_value.numpy(), old)
