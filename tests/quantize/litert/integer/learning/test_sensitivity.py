"""Tensors are ranked by what their rounding does to the logits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support import needs

pytestmark = needs("torch", "ai_edge_litert")


def network() -> tuple[Any, Any, Any]:
    """Three convolutions; the gains 1, 100 and 0 stand between their results and the logit."""
    import torch

    from edgeseg.quantize.distillation.graph import Step, TorchGraph
    from edgeseg.quantize.litert.edit import Grid
    from edgeseg.quantize.litert.integer.grids import Groups, IntegerPlan
    from edgeseg.quantize.litert.integer.learning.graph import LOGITS
    from edgeseg.quantize.litert.integer.learning.operators import OPERATORS, planes
    from edgeseg.quantize.litert.integer.learning.rounding import IntegerRounding

    def step(kind: str, inputs: tuple[str, ...], output: str) -> Step:
        return Step(kind, output, OPERATORS[kind], inputs, (output,), {})

    constants = {str(10 + index): torch.tensor([float(index)]) for index in range(3)}
    gains = {"20": torch.tensor([1.0]), "21": torch.tensor([100.0]), "22": torch.tensor([0.0])}
    steps = [step("ADD", ("0", f"1{index}"), f"{1 + index}") for index in range(3)]
    steps += [step("MUL", (f"{1 + index}", f"2{index}"), f"{4 + index}") for index in range(3)]
    steps += [step("ADD", ("4", "5"), "7"), step("ADD", ("7", "6"), "8")]
    transposed = Step("TRANSPOSE", LOGITS, lambda x, _: planes(x[0]), ("8",), (LOGITS,), {})
    graph = TorchGraph((*steps, transposed), {**constants, **gains}, "0", (LOGITS,), {})
    tensors = {index: index for index in range(9)}
    fixed = {0: Grid(1 / 256, -128)}
    groups = Groups(tensors, fixed, may_be_wide=frozenset(range(9)))
    plan = IntegerPlan(dict.fromkeys(range(9), Grid(0.02, 0)))
    return graph, groups, IntegerRounding(graph, plan)


def images() -> list[Any]:
    import torch

    generator = torch.Generator().manual_seed(0)
    return [torch.rand((1, 8, 8, 1), generator=generator) * 0.01 - 1 for _ in range(3)]


def test_the_effect_grows_with_the_square_of_what_comes_after() -> None:
    from edgeseg.quantize.litert.integer.learning.sensitivity import rounding_effects

    graph, groups, rounding = network()
    effects = rounding_effects(graph, groups, rounding, images())
    assert effects[3] == 0
    assert effects[2] == pytest.approx(1e4 * effects[1], rel=0.5)
    assert all(np.isfinite(list(effects.values())))


@pytest.mark.parametrize(("share", "count"), [(0.0, 0), (0.1, 1), (0.5, 4)])
def test_the_share_that_matters_most_is_taken(share: float, count: int) -> None:
    from edgeseg.quantize.litert.integer.learning.sensitivity import (
        most_sensitive,
        rounding_effects,
    )

    graph, groups, rounding = network()
    found = most_sensitive(graph, groups, rounding, images(), share)
    effects = rounding_effects(graph, groups, rounding, images())
    assert len(found) == count
    assert all(effects[one] >= effects[other] for one in found for other in effects.keys() - found)
