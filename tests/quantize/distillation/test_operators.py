"""Each operator against ONNX Runtime, and whole networks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import needs

from edgeseg.errors import CalibrationError

pytestmark = needs("torch", "onnx", "onnx_ir", "onnxruntime")

FOUR = (1, 4, 6, 8)
WINDOW = {"kernel_shape": [3, 2], "strides": [2, 1]}
# Operator, shape of its first input, constants behind it, attributes, number of results.
CASES: list[tuple[str, tuple[int, ...], list[Any], dict[str, Any], int]] = [
    *((kind, FOUR, [], {}, 1) for kind in ("Abs", "Relu", "Sigmoid", "Tanh", "Erf", "Neg", "Exp")),
    *((kind, FOUR, [], {}, 1) for kind in ("HardSwish", "HardSigmoid", "Softplus", "Identity")),
    *((kind, FOUR, [0.5], {}, 1) for kind in ("Add", "Sub", "Mul", "Div", "Max", "Min")),
    ("Gelu", FOUR, [], {}, 1),
    ("Gelu", FOUR, [], {"approximate": "tanh"}, 1),
    ("LeakyRelu", FOUR, [], {"alpha": 0.2}, 1),
    ("PRelu", FOUR, [np.full((4, 1, 1), 0.3)], {}, 1),
    ("Clip", FOUR, [-0.5, 0.7], {}, 1),
    ("Clip", FOUR, [None, 0.7], {}, 1),
    ("Pow", FOUR, [2.0], {}, 1),
    ("Conv", FOUR, [(6, 2, 3, 3), (6,)], {"group": 2, "pads": [1, 1, 1, 1]}, 1),
    ("Conv", FOUR, [(4, 4, 3, 3)], {"pads": [0, 1, 2, 0], "dilations": [1, 2]}, 1),
    ("Conv", (1, 4, 9), [(2, 4, 3)], {"strides": [2]}, 1),
    ("ConvTranspose", FOUR, [(4, 3, 2, 2), (3,)], {"strides": [2, 2]}, 1),
    ("MaxPool", FOUR, [], {**WINDOW, "pads": [1, 0, 1, 1]}, 1),
    ("AveragePool", FOUR, [], {**WINDOW, "pads": [1, 0, 1, 0], "count_include_pad": 1}, 1),
    ("AveragePool", FOUR, [], {**WINDOW, "pads": [1, 0, 1, 0]}, 1),
    ("GlobalAveragePool", FOUR, [], {}, 1),
    ("BatchNormalization", FOUR, [(4,), (4,), (4,), np.full(4, 0.5)], {"epsilon": 1e-3}, 1),
    ("InstanceNormalization", FOUR, [(4,), (4,)], {"epsilon": 1e-3}, 1),
    ("LayerNormalization", FOUR, [(8,), (8,)], {"axis": -1}, 1),
    ("GroupNormalization", FOUR, [(4,), (4,)], {"num_groups": 2}, 1),
    ("ReduceMean", FOUR, [np.array([1])], {}, 1),
    ("ReduceSum", FOUR, [np.array([2, 3])], {"keepdims": 0}, 1),
    ("ReduceMax", FOUR, [], {}, 1),
    ("Softmax", FOUR, [], {"axis": 1}, 1),
    ("Concat", FOUR, [(1, 2, 6, 8)], {"axis": 1}, 1),
    ("Split", FOUR, [], {"axis": 1, "num_outputs": 2}, 2),
    ("Split", FOUR, [np.array([1, 3])], {"axis": 1}, 2),
    (
        "Slice",
        FOUR,
        [np.array([1, 0]), np.array([4, 99]), np.array([1, -1]), np.array([1, 2])],
        {},
        1,
    ),
    ("Reshape", FOUR, [np.array([0, 2, -1])], {}, 1),
    ("Flatten", FOUR, [], {"axis": 2}, 1),
    ("Unsqueeze", FOUR, [np.array([0, -1])], {}, 1),
    ("Squeeze", FOUR, [np.array([0])], {}, 1),
    ("Transpose", FOUR, [], {"perm": [0, 2, 3, 1]}, 1),
    ("Expand", (1, 4, 1, 1), [np.array([1, 4, 3, 2])], {}, 1),
    ("MatMul", FOUR, [(8, 5)], {}, 1),
    ("Gemm", (3, 4), [(5, 4), (5,)], {"transB": 1, "alpha": 0.5, "beta": 2.0}, 1),
    ("Pad", FOUR, [np.array([0, 0, 1, 2, 0, 0, 0, 1])], {}, 1),
    ("Pad", FOUR, [np.array([0, 0, 1, 2, 0, 0, 0, 1]), 2.0], {}, 1),
    *(
        ("Resize", FOUR, [None, None, np.array([1, 4, 9, 11])], attributes, 1)
        for attributes in (
            {"mode": "linear", "coordinate_transformation_mode": "half_pixel"},
            {"mode": "linear", "coordinate_transformation_mode": "pytorch_half_pixel"},
            {"mode": "linear", "coordinate_transformation_mode": "align_corners"},
            {
                "mode": "nearest",
                "coordinate_transformation_mode": "asymmetric",
                "nearest_mode": "floor",
            },
        )
    ),
    ("Resize", FOUR, [None, np.array([1, 1, 2, 2], np.float32)], {"mode": "linear"}, 1),
]


def save_operator(
    path: Path, kind: str, shape: tuple[int, ...], constants: list[Any], attributes: Any, count: int
) -> Path:
    """x -> the operator -> y0, y1, ...; a tuple among the constants is the shape of random ones."""
    import onnx

    generator = np.random.default_rng(2)
    names, stored = ["x"], []
    for index, constant in enumerate(constants):
        names.append("" if constant is None else f"k{index}")
        if isinstance(constant, tuple):
            constant = generator.normal(size=constant)
        if constant is not None:
            array = np.asarray(constant)
            array = array if array.dtype in (np.int64, np.float32) else array.astype(np.float32)
            stored.append(onnx.numpy_helper.from_array(array, f"k{index}"))
    results = [f"y{index}" for index in range(count)]
    infer = onnx.helper.make_empty_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node(kind, names, results, **attributes)],
        "one",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape)],
        [infer(name) for name in results],
        stored,
    )
    model = onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", 21)], ir_version=10
    )
    onnx.save(model, path)
    return path


def values_of(path: Path, image: Any) -> tuple[list[Any], list[Any]]:
    """Results of ONNX Runtime, and ours."""
    import onnxruntime
    import torch

    from edgeseg.quantize.distillation.graph import load_graph

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    graph = load_graph(path)
    made = graph.run({graph.input_name: torch.from_numpy(image)}, graph.output_names)
    expected = session.run(list(graph.output_names), {graph.input_name: image})
    return expected, [made[name].numpy() for name in graph.output_names]


@pytest.mark.parametrize(
    "case", CASES, ids=[f"{index}-{case[0]}" for index, case in enumerate(CASES)]
)
def test_operator_gives_what_onnx_runtime_gives(case: Any, tmp_path: Path) -> None:
    path = save_operator(tmp_path / "one.onnx", *case)
    image = np.random.default_rng(1).normal(size=case[1]).astype(np.float32)
    for expected, made in zip(*values_of(path, image), strict=True):
        np.testing.assert_allclose(made, expected, atol=2e-5, rtol=1e-4)


def test_square_root_and_reciprocal_of_positive_numbers(tmp_path: Path) -> None:
    image = np.random.default_rng(1).uniform(0.5, 2, FOUR).astype(np.float32)
    for kind in ("Sqrt", "Reciprocal"):
        path = save_operator(tmp_path / f"{kind}.onnx", kind, FOUR, [], {}, 1)
        expected, made = values_of(path, image)
        np.testing.assert_allclose(made[0], expected[0], rtol=1e-5)


@needs("onnxscript")
def test_exported_network_gives_what_onnx_runtime_gives(small_onnx: Path) -> None:
    image = np.random.default_rng(1).uniform(0, 255, (1, 3, 64, 64)).astype(np.float32)
    expected, made = values_of(small_onnx, image)
    np.testing.assert_allclose(made[0], expected[0], atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "attributes", "reason"),
    [
        ("Ceil", {}, r"operator Ceil of 'y0' in one\.onnx"),
        ("MaxPool", {"kernel_shape": [2, 2], "auto_pad": "SAME_UPPER"}, "MaxPool with auto_pad"),
        ("Pad", {"mode": "reflect"}, "Pad with mode reflect"),
        ("Resize", {"mode": "linear"}, "Resize with scales"),
    ],
)
def test_operator_that_is_not_known_says_what_to_calibrate_with(
    kind: str, attributes: Any, reason: str, tmp_path: Path
) -> None:
    constants = {
        "Pad": [np.array([0, 0, 1, 2, 0, 0, 0, 1])],
        "Resize": [None, np.array([1, 1, 1.25, 1.3], np.float32)],
    }
    path = save_operator(tmp_path / "one.onnx", kind, FOUR, constants.get(kind, []), attributes, 1)
    image = np.zeros(FOUR, np.float32)
    with pytest.raises(CalibrationError, match=rf"{reason}.*Calibrate with --method mse"):
        values_of(path, image)
