"""Which convolutions stay in float: those that INT8 changes the masks by."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from support import needs
from tiny_graphs import node, pointwise, save_graph

from edgeseg.contract import OutputContract
from edgeseg.errors import CalibrationError
from edgeseg.quantize.plan.quant_plan import QuantPlan
from edgeseg.quantize.sensitivity import convolutions_to_keep, rank_by_change

MASK = OutputContract(("background", "lesion"), 1)
CONVOLUTIONS = ("a", "b", "c")
FINE, COARSE = 4.0, 900.0  # ranges: steps of 0.03 and of 7; values lie within -3.4..3.4


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    """x -> convolutions a, b, c and one for the logits, each near the identity -> sigmoid y."""
    weight = pointwise(np.eye(3) + 0.01)
    kinds = [*CONVOLUTIONS, "logits"]
    nodes = [node("Conv", [source, "w"], name) for source, name in zip("xabc", kinds, strict=True)]
    nodes.append(node("Sigmoid", ["logits"], "y"))
    return save_graph(tmp_path / "net.onnx", nodes, {"w": weight}, channels=3)


@pytest.fixture
def images() -> list[NDArray[np.float32]]:
    """Without values near 0, where the masks have their edge."""
    noise = np.random.default_rng(5).uniform(-2, 2, (6, 1, 3, 24, 24))
    return list((noise + np.sign(noise)).astype(np.float32))


def keep(graph: Path, images: list[NDArray[np.float32]], plan: QuantPlan) -> tuple[str, ...]:
    return convolutions_to_keep(
        graph, plan, images, MASK, dict.fromkeys(CONVOLUTIONS, 9.0 * 24 * 24)
    )


@needs("onnx", "onnx_ir", "onnxruntime")
@pytest.mark.parametrize(
    ("coarse", "kept"), [("x", ("a",)), ("a", ("a", "b")), ("b", ("b", "c")), ("xa", ("a", "b"))]
)
def test_those_that_read_or_give_coarse_values_stay_in_float(
    coarse: str, kept: tuple[str, ...], graph: Path, images: list[NDArray[np.float32]]
) -> None:
    ranges = {name: COARSE if name in coarse else FINE for name in "xab"}
    assert keep(graph, images, QuantPlan(ranges)) == kept


@needs("onnx", "onnx_ir", "onnxruntime")
def test_nothing_more_where_few_pixels_flip(graph: Path, images: list[NDArray[np.float32]]) -> None:
    plan = QuantPlan(dict.fromkeys("xab", FINE), float_nodes=("b",))
    assert keep(graph, images, plan) == ("b",)


@needs("onnx", "onnx_ir", "onnxruntime")
def test_all_where_each_is_too_much(graph: Path, images: list[NDArray[np.float32]]) -> None:
    plan = QuantPlan(dict.fromkeys("xab", COARSE))
    assert keep(graph, images, plan) == CONVOLUTIONS


@needs("onnx", "onnx_ir", "onnxruntime")
def test_a_plan_of_another_graph_is_refused(graph: Path, images: list[NDArray[np.float32]]) -> None:
    with pytest.raises(CalibrationError, match=r"The plan is not for net\.onnx: it names .*'z'"):
        keep(graph, images, QuantPlan({"z": 1.0}))


@needs("onnx", "onnx_ir", "onnxruntime")
def test_a_graph_that_does_not_run_is_named(graph: Path) -> None:
    wrong = [np.zeros((1, 2, 8, 8), np.float32)]
    with pytest.raises(CalibrationError, match=r"ONNX Runtime does not run net\.onnx"):
        keep(graph, wrong, QuantPlan(dict.fromkeys("xab", FINE)))


def test_change_counts_by_the_work_that_it_costs_in_float() -> None:
    changes = {"wide": 3.0, "narrow": 2.0, "still": 0.0}
    assert rank_by_change(changes, dict.fromkeys(changes, 10.0)) == ["wide", "narrow", "still"]
    dear = {"wide": 100.0, "narrow": 10.0, "still": 10.0}
    assert rank_by_change(changes, dear) == ["narrow", "wide", "still"]
