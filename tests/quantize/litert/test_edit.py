"""What is done on codes between INT8 convolutions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support import needs
from tiny_graphs import INPUT, node, pointwise, run_as_written
from tiny_litert import Made, details_of, emit, make, run, save_sized_graph

from edgeseg.formats.tflite import read_tflite
from edgeseg.quantize.calibrators.min_max import MinMaxCalibrator
from edgeseg.quantize.calibrators.range_calibrator import RangeOptions
from edgeseg.quantize.litert.edit import TfliteEdit
from edgeseg.quantize.plan.quant_plan import QuantPlan
from edgeseg.quantize.qdq_onnx import emit_qdq
from edgeseg.records import Artifact

pytestmark = needs("onnx2tf", "ai_edge_litert", "onnx", "onnx_ir", "onnxruntime")

CHANNELS = 4


def weight(seed: int, *shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(0, 0.3, shape).astype(np.float32)


def convolve(source: str, name: str) -> Any:
    """A 3x3 convolution; its result and its weight go by one name."""
    import onnx

    return onnx.helper.make_node("Conv", [source, f"w_{name}"], [name], pads=[1, 1, 1, 1])


def pool(source: str, result: str) -> Any:
    import onnx

    return onnx.helper.make_node("MaxPool", [source], [result], kernel_shape=[2, 2], strides=[2, 2])


def constants(*names: str, head: int) -> dict[str, NDArray[np.float32]]:
    """Weights of convolutions, and of the head, which stays in float."""
    first, *others = names
    made = {f"w_{first}": weight(0, CHANNELS, 3, 3, 3) / 255}
    for seed, name in enumerate(others, 1):
        made[f"w_{name}"] = weight(seed, CHANNELS, CHANNELS, 3, 3)
    return {**made, "head": pointwise(weight(99, 1, head))}


def save_sum(path: Path) -> Path:
    """A sum of two convolutions with ReLU; a convolution, shuffled and pooled, for the head."""
    import onnx

    nodes = [
        convolve(INPUT, "c0"),
        convolve("c0", "c1"),
        convolve("c0", "c2"),
        node("Add", ["c1", "c2"], "sum"),
        node("Relu", ["sum"], "r"),
        convolve("r", "c3"),
        onnx.helper.make_node("DepthToSpace", ["c3"], ["d"], blocksize=2),
        pool("d", "p"),
        node("Tanh", ["p"], "t"),
        node("Conv", ["t", "head"], "logits"),
        node("Sigmoid", ["logits"], "y"),
    ]
    return save_sized_graph(path, nodes, constants("c0", "c1", "c2", "c3", head=1))


def save_pool(path: Path) -> Path:
    """A convolution, pooled, for a convolution and for the head."""
    nodes = [
        convolve(INPUT, "c0"),
        pool("c0", "p"),
        convolve("p", "c1"),
        node("Tanh", ["p"], "t"),
        node("Mul", ["c1", "t"], "m"),
        node("Conv", ["m", "head"], "logits"),
        node("Sigmoid", ["logits"], "y"),
    ]
    return save_sized_graph(path, nodes, constants("c0", "c1", head=CHANNELS))


@pytest.fixture(scope="module")
def with_sum(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(tmp_path_factory.mktemp("litert_sum"), save_sum)


@pytest.fixture(scope="module")
def with_pool(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(tmp_path_factory.mktemp("litert_pool"), save_pool)


def plan_of(made: Made) -> QuantPlan:
    options = RangeOptions(bias_correction=True, zero_points=True)
    return MinMaxCalibrator(options).calibrate(made.onnx_path, made.images)


def operators(artifact: Artifact) -> list[tuple[str, bool]]:
    """Kind of each operator in the order of running, and whether it gives codes."""
    details = details_of(artifact)
    path = artifact.folder / artifact.files[0]
    return [
        (one.kind, details[one.outputs[0]]["dtype"] == np.int8)
        for one in read_tflite(path).operators
    ]


def require_computes_the_plan(
    made: Made, plan: QuantPlan, artifact: Artifact, folder: Path
) -> None:
    """Compare with the plan in ONNX, where each operator is in float between codes."""
    emit_qdq(made.onnx_path, plan, folder / "quantized.onnx")
    for image in made.images:
        (expected,) = run_as_written(folder / "quantized.onnx", image)
        (exact,) = run_as_written(made.onnx_path, image)
        # A code that lies on the edge between two may fall to either side.
        distance = np.abs(run(artifact, image) - expected).mean()
        assert distance < 0.2 * np.abs(exact - expected).mean()


def test_sums_and_moved_values_stay_codes(with_sum: Made, tmp_path: Path) -> None:
    plan = plan_of(with_sum)
    artifact, layers = emit(with_sum, plan, tmp_path / "int8")
    found = operators(artifact)
    assert ("ADD", True) in found
    assert ("ADD", False) not in found
    assert ("MAX_POOL_2D", True) in found
    assert ("DEPTH_TO_SPACE", True) in found
    assert layers["conversions"] == 2
    require_computes_the_plan(with_sum, plan, artifact, tmp_path)


def rescale(plan: QuantPlan, name: str, factor: float) -> QuantPlan:
    return replace(plan, ranges={**plan.ranges, name: plan.ranges[name] * factor})


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda plan: plan.with_float(["c2"]), id="one is float"),
        pytest.param(lambda plan: rescale(plan, "r", 1 / 600), id="steps too fine"),
        pytest.param(lambda plan: rescale(plan, "r", 2000.0), id="steps too coarse"),
    ],
)
def test_sum_that_codes_do_not_give_stays_float(
    with_sum: Made, change: Callable[[QuantPlan], QuantPlan], tmp_path: Path
) -> None:
    plan = change(plan_of(with_sum))
    artifact, _ = emit(with_sum, plan, tmp_path / "int8")
    assert ("ADD", False) in operators(artifact)
    assert ("ADD", True) not in operators(artifact)
    require_computes_the_plan(with_sum, plan, artifact, tmp_path)


def test_rounded_input_of_a_sum_is_added_as_it_was(tmp_path: Path) -> None:
    """What a convolution reads as codes is not rounded for a sum."""
    nodes = [
        convolve(INPUT, "c0"),
        node("Tanh", ["c0"], "t0"),
        convolve("t0", "c1"),
        node("Add", ["c1", "t0"], "sum"),
        convolve("sum", "c2"),
        node("Tanh", ["c2"], "t"),
        node("Conv", ["t", "head"], "logits"),
        node("Sigmoid", ["logits"], "y"),
    ]
    weights = constants("c0", "c1", "c2", head=CHANNELS)
    made = make(tmp_path, lambda path: save_sized_graph(path, nodes, weights))
    artifact, layers = emit(made, plan_of(made), tmp_path / "int8")
    assert layers["int8_convolutions"] == 3
    assert ("ADD", False) in operators(artifact)
    assert ("ADD", True) not in operators(artifact)


@pytest.mark.parametrize("factor", [1.0, 1.3])
def test_pooled_codes_go_to_who_reads_float(
    with_pool: Made, factor: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the convolution behind the pooling rounds to a grid of its own."""
    plan = plan_of(with_pool)
    plan = replace(
        plan,
        ranges={**plan.ranges, "p": plan.ranges["c0"] * factor},
        zero_points={**plan.zero_points, "p": plan.zero_points["c0"]},
    )
    artifact, layers = emit(with_pool, plan, tmp_path / "int8")
    found = operators(artifact)
    assert ("MAX_POOL_2D", True) in found
    assert ("MAX_POOL_2D", False) not in found
    assert layers["conversions"] == (3 if factor == 1.0 else 4)
    monkeypatch.setattr(TfliteEdit, "move_quantized", lambda edit: None)
    unmoved, _ = emit(with_pool, plan, tmp_path / "unmoved")
    assert ("MAX_POOL_2D", False) in operators(unmoved)
    for image in with_pool.images:
        assert np.array_equal(run(artifact, image), run(unmoved, image))


def test_values_that_are_read_before_they_are_moved_are_dequantised_once(tmp_path: Path) -> None:
    import onnx

    nodes = [
        convolve(INPUT, "c0"),
        onnx.helper.make_node("DepthToSpace", ["c0"], ["d"], blocksize=2),
        node("Sin", ["d"], "s"),
        onnx.helper.make_node("SpaceToDepth", ["s"], ["b"], blocksize=2),
        node("Tanh", ["c0"], "t"),
        node("Mul", ["b", "t"], "m"),
        node("Conv", ["m", "head"], "logits"),
        node("Sigmoid", ["logits"], "y"),
    ]
    weights = constants("c0", head=CHANNELS)
    made = make(tmp_path, lambda path: save_sized_graph(path, nodes, weights))
    artifact, layers = emit(made, plan_of(made), tmp_path / "int8")
    assert ("DEPTH_TO_SPACE", False) in operators(artifact)
    assert layers["conversions"] == 2
