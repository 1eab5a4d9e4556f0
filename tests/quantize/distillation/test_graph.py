from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support import needs
from tiny_graphs import INPUT, RESULT, node, pointwise, run_as_written, save_graph

from edgeseg.quantize.plan.quant_plan import QuantPlan
from edgeseg.quantize.plan.weight_grids import covering_grid
from edgeseg.quantize.qdq_onnx import emit_qdq

pytestmark = needs("torch", "onnx", "onnx_ir", "onnxruntime")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """x -> a -> relu r -> b (with a bias) -> + r -> c, where g is a gate of constants."""
    generator = np.random.default_rng(5)
    nodes = [
        node("Sigmoid", ["gate"], "g"),
        node("Conv", [INPUT, "first"], "a"),
        node("Relu", ["a"], "r"),
        node("Conv", ["r", "second", "bias"], "b"),
        node("Mul", ["b", "g"], "m"),
        node("Add", ["m", "r"], "s"),
        node("Conv", ["s", "head"], "c"),
        node("Sigmoid", ["c"], RESULT),
    ]
    constants = {
        "gate": np.float32(0.3),
        "first": pointwise(generator.normal(size=(3, 3))),
        "second": pointwise(generator.normal(size=(3, 3))),
        "bias": generator.normal(size=3),
        "head": pointwise([[1, -1, 0.5]]),
    }
    return save_graph(tmp_path / "tiny.onnx", nodes, constants, channels=3)


def image(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 2, (1, 3, 4, 4)).astype(np.float32)


def plan_for(path: Path) -> QuantPlan:
    import onnx_ir

    stored = onnx_ir.load(path).graph.initializers
    weights = {
        name: covering_grid(stored[weight].const_value.numpy())
        for name, weight in (("a", "first"), ("b", "second"))
    }
    biases = {"a": np.array([0.5, 0, -0.25], np.float32)}
    ranges = {INPUT: 3.0, "r": 4.0, "b": 5.0}
    return QuantPlan(ranges, weights=weights, biases=biases, zero_points={"r": -128})


def test_what_depends_on_constants_only_is_a_constant(path: Path) -> None:
    from edgeseg.quantize.distillation.graph import load_graph

    graph = load_graph(path)
    assert [step.name for step in graph.steps] == ["a", "r", "b", "m", "s", "c", RESULT]
    assert float(graph.constants["g"]) == pytest.approx(1 / (1 + np.exp(-0.3)))
    assert set(graph.convolutions) == {"a", "b"}
    assert graph.convolutions["b"].bias == "bias"
    assert graph.convolutions["a"].result == "r"
    assert not graph.constants[graph.convolutions["a"].bias].any()


def test_rounding_computes_what_the_emitted_graph_computes(path: Path, tmp_path: Path) -> None:
    import torch

    from edgeseg.quantize.distillation.graph import load_graph
    from edgeseg.quantize.distillation.rounding import Rounding

    plan = plan_for(path)
    emit_qdq(path, plan, tmp_path / "quantized.onnx")
    graph = load_graph(path)
    rounding = Rounding(graph, plan)
    made = graph.run(
        {INPUT: torch.from_numpy(image())}, ["c"], rounding.exchange, rounding.constants()
    )
    (expected,) = run_as_written(tmp_path / "quantized.onnx", image(), ["c"])
    np.testing.assert_allclose(made["c"].numpy(), expected, atol=1e-5)


def test_rounding_that_was_not_learned_gives_the_plan_back(path: Path) -> None:
    from edgeseg.quantize.distillation.graph import load_graph
    from edgeseg.quantize.distillation.rounding import Rounding

    plan = plan_for(path)
    again = Rounding(load_graph(path), plan).to_plan()
    assert again.zero_points == plan.zero_points
    for name, limit in plan.ranges.items():
        assert again.ranges[name] == pytest.approx(limit, rel=1e-12)
    for name, grid in plan.weights.items():
        assert np.array_equal(again.weights[name].values, grid.values)
        np.testing.assert_allclose(again.weights[name].scales, grid.scales, rtol=1e-6)
    np.testing.assert_allclose(again.biases["a"], plan.biases["a"], atol=1e-6)


def test_gradients_of_rounding_are_those_of_the_paper() -> None:
    import torch

    from edgeseg.quantize.distillation.rounding import round_activation

    x = torch.tensor([0.3, -0.8, 200.0, -200.0], requires_grad=True)
    scale = torch.tensor(0.5, requires_grad=True)
    rounded = round_activation(x, scale)
    assert rounded.tolist() == [0.5, -1.0, 63.5, -64.0]
    rounded.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [1, 1, 0, 0]
    # round(v) - v inside, the bound outside: (1 - 0.6) + (-2 + 1.6) + 127 - 128.
    assert scale.grad is not None
    assert float(scale.grad) == pytest.approx(-1, abs=1e-5)


def test_parts_of_a_graph_give_what_the_whole_gives(path: Path) -> None:
    import torch

    from edgeseg.quantize.distillation.graph import load_graph
    from edgeseg.quantize.distillation.partition import cut_into_blocks

    graph = load_graph(path)
    blocks = cut_into_blocks(graph)
    assert [step for block in blocks for step in block.steps] == list(graph.steps)
    assert sorted(name for block in blocks for name in block.convolutions) == ["a", "b"]
    alive = {INPUT: torch.from_numpy(image())}
    (whole,) = graph.run(alive, [RESULT]).values()
    for block in blocks:
        made = graph.run(
            {name: alive[name] for name in block.inputs}, block.results, None, None, block.steps
        )
        alive = {name: made.get(name, alive.get(name)) for name in block.alive}
    assert torch.equal(alive[RESULT], whole)


@needs("onnxscript")
def test_blocks_of_a_network_are_small_and_few_tensors_cross_cuts(small_onnx: Path) -> None:
    from edgeseg.quantize.distillation.graph import load_graph
    from edgeseg.quantize.distillation.partition import LARGEST_BLOCK, cut_into_blocks

    graph = load_graph(small_onnx)
    blocks = cut_into_blocks(graph)
    counts = [len(block.convolutions) for block in blocks]
    assert sum(counts) == len(graph.convolutions)
    assert 1 <= min(counts) <= max(counts) <= LARGEST_BLOCK
    # Five skips and what leads from block to block.
    assert max(len(block.alive) for block in blocks) <= 8
