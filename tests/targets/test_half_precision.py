from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import ArrayLike, NDArray
from support import needs
from tiny_graphs import INPUT, RESULT, node, pointwise, run_as_written, save_graph

from edgeseg.targets.half_precision import affine_from_batch_norms, halve_graph
from edgeseg.targets.onnx_file import read_typed_graph

pytestmark = needs("onnx", "onnx_ir", "onnxruntime")

WEIGHT = pointwise([[1, 0], [0, 1]])
NORM = [
    node("ReduceMean", ["a", "axes"], "mean"),
    node("Sub", ["a", "mean"], "centred"),
    node("Pow", ["centred", "two"], "square"),
    node("ReduceMean", ["square", "axes"], "variance"),
    node("Sqrt", ["variance"], "deviation"),
    node("Div", ["centred", "deviation"], "normed"),
]


def save(
    path: Path, nodes: Sequence[Any], constants: Mapping[str, ArrayLike], channels: int = 2
) -> Path:
    return save_graph(path, nodes, constants, channels=channels)


def halve(path: Path) -> tuple[Any, int]:
    """The graph with casts, and how many operators compute in FP16; saved beside `path`."""
    import onnx
    import onnx_ir as ir

    model = read_typed_graph(path)
    count = halve_graph(model.graph)
    made = path.with_name("half.onnx")
    ir.save(model, made)
    onnx.checker.check_model(made, full_check=True)
    return model.graph, count


def types_of(graph: Any) -> dict[str, str]:
    """Type of each operator's result, by its name."""
    return {made.outputs[0].name: made.outputs[0].dtype.name for made in graph}


def kinds_of(graph: Any) -> Counter[str]:
    return Counter(made.op_type for made in graph)


def test_operators_compute_in_half_and_the_ends_stay_float(tmp_path: Path) -> None:
    nodes = [
        node("Conv", [INPUT, "weight"], "a"),
        node("Relu", ["a"], "r"),
        node("Conv", ["r", "weight"], "b"),
        node("Sigmoid", ["b"], RESULT),
    ]
    graph, count = halve(save(tmp_path / "tiny.onnx", nodes, {"weight": WEIGHT}))
    assert count == 3
    types = types_of(graph)
    assert {types[name] for name in ("a", "r", "b")} == {"FLOAT16"}
    assert types[RESULT] == "FLOAT"
    # One at the input, one before the sigmoid that gives the output.
    assert kinds_of(graph)["Cast"] == 2
    # Two convolutions share one constant, in half precision only.
    assert {value.dtype.name for value in graph.initializers.values()} == {"FLOAT16"}
    assert len(graph.initializers) == 1


def test_norm_stays_float_and_is_cast_once_on_each_side(tmp_path: Path) -> None:
    import onnx

    nodes = [
        node("Conv", [INPUT, "weight"], "a"),
        *NORM,
        node("Mul", ["normed", "gamma"], "scaled"),
        node("Add", ["scaled", "gamma"], "shifted"),
        node("Conv", ["shifted", "weight"], "b"),
        node("Sigmoid", ["b"], RESULT),
    ]
    constants = {"weight": WEIGHT, "two": 2.0, "gamma": np.ones((1, 2, 1, 1))}
    path = save(tmp_path / "tiny.onnx", [nodes[0], node("Sigmoid", ["a"], RESULT)], constants)
    model = onnx.load(path)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([1]), "axes"))
    onnx.save(model, path)
    graph, count = halve(path)
    types = types_of(graph)
    assert {types[name] for name in ("a", "b")} == {"FLOAT16"}
    for name in ("mean", "centred", "square", "variance", "deviation", "normed", "shifted"):
        assert types[name] == "FLOAT"
    # Input to a, a to the norm (two readers), the norm to b, b to the sigmoid.
    assert (count, kinds_of(graph)["Cast"]) == (2, 4)


def test_variance_by_a_convolution_stays_float(tmp_path: Path) -> None:
    nodes = [
        node("Conv", [INPUT, "weight"], "a"),
        node("Mul", ["a", "a"], "square"),
        node("Conv", ["square", "weight"], "variance"),
        node("Mul", ["a", "variance"], "normed"),
        node("Conv", ["normed", "weight"], "b"),
        node("Sigmoid", ["b"], RESULT),
    ]
    path = save(tmp_path / "tiny.onnx", nodes, {"weight": WEIGHT})
    types = types_of(halve(path)[0])
    assert {name for name, kind in types.items() if kind == "FLOAT16"} >= {"a", "b"}
    assert {types[name] for name in ("square", "variance", "normed")} == {"FLOAT"}


def test_constant_beyond_half_keeps_its_operator_float(tmp_path: Path) -> None:
    nodes = [
        node("Conv", [INPUT, "weight"], "a"),
        node("Mul", ["a", "large"], "b"),
        node("Relu", ["b"], "r"),
        node("Sigmoid", ["r"], RESULT),
    ]
    constants = {"weight": WEIGHT, "large": 70000.0}
    types = types_of(halve(save(tmp_path / "tiny.onnx", nodes, constants))[0])
    assert (types["a"], types["b"], types["r"]) == ("FLOAT16", "FLOAT", "FLOAT16")


def test_a_least_divisor_does_not_become_zero(tmp_path: Path) -> None:
    nodes = [
        node("Conv", [INPUT, "weight"], "a"),
        node("Relu", ["a"], "r"),
        node("GlobalMaxPool", ["r"], "largest"),
        node("Clip", ["largest", "least"], "divisor"),
        node("Div", ["r", "divisor"], "unit"),
        node("Sigmoid", ["unit"], RESULT),
    ]
    constants = {"weight": WEIGHT, "least": 1e-12}
    types = types_of(halve(save(tmp_path / "tiny.onnx", nodes, constants))[0])
    assert (types["r"], types["divisor"], types["unit"]) == ("FLOAT16", "FLOAT", "FLOAT")


@pytest.mark.parametrize(("window", "kind"), [(5, "FLOAT16"), (6, "FLOAT")])
def test_pooling_over_many_cells_stays_float(tmp_path: Path, window: int, kind: str) -> None:
    import onnx

    pool = onnx.helper.make_node("AveragePool", ["a"], ["p"], kernel_shape=[window, window])
    nodes = [node("Conv", [INPUT, "weight"], "a"), pool, node("Sigmoid", ["p"], RESULT)]
    graph, _ = halve(save(tmp_path / "tiny.onnx", nodes, {"weight": WEIGHT}))
    assert types_of(graph)["p"] == kind


def test_scales_of_a_resize_stay_float(tmp_path: Path) -> None:
    import onnx

    resize = onnx.helper.make_node("Resize", ["a", "", "scales"], ["big"], mode="linear")
    nodes = [node("Conv", [INPUT, "weight"], "a"), resize, node("Sigmoid", ["big"], RESULT)]
    constants = {"weight": WEIGHT, "scales": [1, 1, 2, 2]}
    graph, _ = halve(save(tmp_path / "tiny.onnx", nodes, constants))
    assert types_of(graph)["big"] == "FLOAT16"
    assert graph.initializers["scales"].dtype.name == "FLOAT"


def test_values_differ_by_the_rounding_of_half(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    weight = generator.normal(0, 0.3, (8, 2, 3, 3)).astype(np.float32)
    nodes = [
        node("Conv", [INPUT, "weight"], "a"),
        node("Relu", ["a"], "r"),
        node("Sigmoid", ["r"], RESULT),
    ]
    path = save(tmp_path / "tiny.onnx", nodes, {"weight": weight})
    halve(path)
    image = generator.normal(0, 1, (1, 2, 12, 12)).astype(np.float32)
    (expected,) = run_as_written(path, image)
    (got,) = run_as_written(tmp_path / "half.onnx", image)
    assert got.dtype == np.float32
    # Sums of 18 products, each rounded to 11 bits, through a slope of at most 1/4.
    assert 0 < np.abs(got - expected).max() < 18 * 2**-11


# Batch norms


def save_batch_norm(path: Path, parameters: Mapping[str, NDArray[np.float32]]) -> Path:
    nodes = [
        node("Conv", [INPUT, "weight"], "a"),
        node("BatchNormalization", ["a", *parameters], "n"),
        node("Sigmoid", ["n"], RESULT),
    ]
    return save(path, nodes, {"weight": WEIGHT, **parameters})


NUMBERS = arrays(np.float32, 2, elements=st.floats(-4, 4, width=32, allow_subnormal=False))
VARIANCES = arrays(np.float32, 2, elements=st.floats(2**-20, 4, width=32))


@settings(max_examples=25, deadline=None)
@given(NUMBERS, NUMBERS, NUMBERS, VARIANCES)
def test_batch_norm_and_its_affine_form_agree(
    tmp_path_factory: pytest.TempPathFactory,
    gamma: NDArray[np.float32],
    beta: NDArray[np.float32],
    mean: NDArray[np.float32],
    variance: NDArray[np.float32],
) -> None:
    import onnx_ir as ir

    folder = tmp_path_factory.mktemp("norm")
    parameters = {"gamma": gamma, "beta": beta, "mean": mean, "variance": variance}
    path = save_batch_norm(folder / "tiny.onnx", parameters)
    model = read_typed_graph(path)
    assert affine_from_batch_norms(model.graph) == 1
    ir.save(model, folder / "affine.onnx")
    image = np.random.default_rng(1).normal(0, 1, (1, 2, 3, 3)).astype(np.float32)
    (expected,) = run_as_written(path, image)
    (got,) = run_as_written(folder / "affine.onnx", image)
    np.testing.assert_allclose(got, expected, atol=2e-4)


def test_batch_norm_of_small_variance_survives_half(tmp_path: Path) -> None:
    # 1e-7 is zero in FP16: the norm would divide by sqrt(epsilon) alone.
    parameters = {
        "gamma": np.full(2, 1e-3, np.float32),
        "beta": np.zeros(2, np.float32),
        "mean": np.zeros(2, np.float32),
        "variance": np.full(2, 1e-7, np.float32),
    }
    path = save_batch_norm(tmp_path / "tiny.onnx", parameters)
    graph, _ = halve(path)
    assert kinds_of(graph) == {"Conv": 1, "Cast": 2, "Mul": 1, "Add": 1, "Sigmoid": 1}
    image = np.random.default_rng(1).normal(0, 1, (1, 2, 3, 3)).astype(np.float32)
    (expected,) = run_as_written(path, image)
    (got,) = run_as_written(tmp_path / "half.onnx", image)
    np.testing.assert_allclose(got, expected, atol=1e-3)
