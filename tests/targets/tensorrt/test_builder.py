"""Building ahead of time with the real TensorRT-RTX, which needs no GPU for it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import needs
from tiny_graphs import INPUT, RESULT, node, save_graph

from edgeseg.errors import MissingBackendError, TargetError
from edgeseg.targets.onnx_file import read_typed_graph
from edgeseg.targets.tensorrt.builder import KernelReport, build_ahead_of_time, read_layers

pytestmark = needs("onnx", "onnx_ir", "tensorrt_rtx")


def weight(seed: int, shape: tuple[int, ...] = (8, 8, 3, 3)) -> Any:
    return np.random.default_rng(seed).normal(0, 0.1, shape).astype(np.float32)


def with_fixed_size(path: Path, size: int = 16) -> Any:
    """Model and bytes of a tiny graph for images of size x size."""
    import onnx

    model = onnx.load(path)
    for value in (*model.graph.input, *model.graph.output):
        for dimension in value.type.tensor_type.shape.dim[2:]:
            dimension.dim_value = size
    onnx.save(model, path)
    return read_typed_graph(path), path.read_bytes()


@pytest.fixture
def float_graph(tmp_path: Path) -> Path:
    nodes = [
        node("Conv", [INPUT, "first"], "a"),
        node("Relu", ["a"], "r"),
        node("Conv", ["r", "second"], "b"),
        node("Sigmoid", ["b"], RESULT),
    ]
    constants = {"first": weight(0), "second": weight(1)}
    return save_graph(tmp_path / "tiny.onnx", nodes, constants, channels=8)


@pytest.fixture
def int8_graph(float_graph: Path) -> Path:
    from edgeseg.quantize.plan.quant_plan import QuantPlan
    from edgeseg.quantize.qdq_onnx import emit_qdq

    path = float_graph.with_name("int8.onnx")
    emit_qdq(float_graph, QuantPlan({INPUT: 3.0, "a": 4.0, "r": 4.0}), path)
    return path


def test_float_graph_is_built_and_reported(float_graph: Path) -> None:
    engine, report = build_ahead_of_time(*with_fixed_size(float_graph), "8.6")
    assert len(engine) > 10_000
    assert report is not None
    assert report.convolutions == {"fp32": 2}
    assert report.float_convolutions == ()
    assert report.kernels >= 2


def test_int8_graph_computes_its_convolutions_in_int8(int8_graph: Path) -> None:
    _, report = build_ahead_of_time(*with_fixed_size(int8_graph), "8.6")
    assert report is not None
    # The last one gives the logits and stays in float on purpose.
    assert report.convolutions == {"fp32": 1, "int8": 1}
    assert report.float_convolutions == ("make_b",)


def test_gpus_before_ampere_compute_int8_in_float(int8_graph: Path) -> None:
    _, report = build_ahead_of_time(*with_fixed_size(int8_graph), "7.5")
    assert report is not None
    assert report.convolutions == {"fp32": 2}
    assert report.float_convolutions == ("make_a", "make_b")


def test_unknown_operator_is_named(tmp_path: Path) -> None:
    import onnx

    path = save_graph(tmp_path / "tiny.onnx", [node("Relu", [INPUT], RESULT)], {})
    model = onnx.load(path)
    model.graph.node[0].op_type = "Det"
    del model.graph.output[0].type.tensor_type.shape.dim[:]
    with pytest.raises(TargetError, match=r"Det 'make_y': there is no such operator in TensorRT\."):
        build_ahead_of_time(read_typed_graph(path), model.SerializeToString(), "8.6")


def test_refused_setting_gives_the_reason(tmp_path: Path) -> None:
    import onnx

    resize = onnx.helper.make_node(
        "Resize", [INPUT, "", "scales"], [RESULT], name="up2", mode="linear", antialias=1
    )
    constants = {"scales": [1, 1, 0.5, 0.5]}
    path = save_graph(tmp_path / "tiny.onnx", [resize], constants)
    with pytest.raises(TargetError, match=r"does not take the graph: Resize 'up2': .*ntialias"):
        build_ahead_of_time(*with_fixed_size(path), "8.6")


def test_missing_package_names_the_command(
    float_graph: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    with pytest.raises(MissingBackendError, match=r"pip install 'edgeseg\[jetson\]'"):
        build_ahead_of_time(*with_fixed_size(float_graph), "8.6")


# The list of layers


def layer(kind: str, number: str, *nodes: str) -> str:
    names = "".join(f"[ONNX Layer: {name}]" for name in nodes)
    return (
        f"Name: {kind}_1, LayerType: {kind}, Inputs: [ {{ Name: t, Dimensions: [1,8,16,16], "
        f"Datatype: {number}, Format: (Linear) }}], Outputs: [ {{ Name: u, Datatype: Float }}], "
        f"TacticName: t, StreamId: 0, Metadata: {names}"
    )


def test_layers_are_told_apart(float_graph: Path) -> None:
    text = "\n".join(
        [
            "Layers:",
            layer("correlation", "Half", "make_a", "make_r"),
            layer("wait", "", ""),
            # Does something to the result of make_a, which it therefore names.
            layer("kgen", "Float", "make_a", "make_y"),
            layer("runtime_fusion", "Float", "make_b"),
        ]
    )
    assert read_layers(text, read_typed_graph(float_graph).graph) == KernelReport(
        kernels=3,
        convolutions={"fp16": 1, "fp32": 1},
        float_convolutions=(),
        unfused={"Sigmoid": 1},
    )


def test_convolution_in_a_generated_kernel_counts(float_graph: Path) -> None:
    text = layer("kgen", "Half", "make_a", "make_r", "make_b", "make_y")
    report = read_layers(text, read_typed_graph(float_graph).graph)
    assert report is not None
    assert report.convolutions == {"fp16": 2}


@pytest.mark.parametrize("text", ["", "Layers:\n", "Layers:\nname=conv type=Half"])
def test_unknown_form_gives_no_report(float_graph: Path, text: str) -> None:
    assert read_layers(text, read_typed_graph(float_graph).graph) is None


def test_report_is_one_line_or_json() -> None:
    report = KernelReport(3, {"fp32": 1, "int8": 2}, ("a",), {"Relu": 4, "Add": 1})
    assert str(report) == (
        "3 kernels, convolutions 1 fp32, 2 int8, 5 operators outside their kernels"
    )
    assert report.to_json() == {
        "kernels": 3,
        "convolutions": {"fp32": 1, "int8": 2},
        "float_convolutions": ("a",),
        "unfused": {"Relu": 4, "Add": 1},
    }
