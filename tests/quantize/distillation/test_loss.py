from __future__ import annotations

from pathlib import Path

import pytest
from support import needs
from tiny_graphs import INPUT, RESULT, node, pointwise, save_graph

from edgeseg.errors import CalibrationError

pytestmark = needs("torch", "onnx", "onnx_ir")


def logits(*values: list[float]):  # type: ignore[no-untyped-def]
    """(1, C, 1, W) from a list for each channel."""
    import torch

    return torch.tensor(values)[None, :, None, :]


@pytest.mark.parametrize("answer", [logits([0.0, 3, -2]), logits([0.0, 3], [1, -1], [2, 2])])
def test_equal_answers_cost_nothing(answer) -> None:  # type: ignore[no-untyped-def]
    from edgeseg.quantize.distillation.loss import count_flips, distillation_loss

    assert float(distillation_loss(answer, answer, 5.0)) == pytest.approx(0, abs=1e-6)
    assert count_flips(answer, answer) == 0


def test_flips_are_pixels_with_another_label() -> None:
    from edgeseg.quantize.distillation.loss import count_flips

    assert count_flips(logits([1.0, -1, 2, 3]), logits([1.0, 1, 2, 3])) == 2500
    assert count_flips(logits([1.0, 0], [0, 1]), logits([1.0, 1], [0, 0])) == 5000


def test_one_channel_is_worked_out_by_hand() -> None:
    import math

    from edgeseg.quantize.distillation.loss import distillation_loss

    # Teacher 1/2 and almost 1; the student says 3/4 and the same.
    student, teacher = logits([math.log(3), 20.0]), logits([0.0, 20.0])
    divergence = 0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25)
    dice = (2 * (0.5 * 0.75 + 1) + 1) / (0.25 + 0.5625 + 2 + 1)
    for band_weight in (0.0, 3.0):
        weight = 1 + band_weight
        expected = weight * divergence / (weight + 1) + 1 - dice
        made = float(distillation_loss(student, teacher, band_weight))
        assert made == pytest.approx(expected, abs=1e-5)


def test_many_channels_are_worked_out_by_hand() -> None:
    import math

    from edgeseg.quantize.distillation.loss import distillation_loss

    # The teacher knows nothing, the student says 3/4.
    student, teacher = logits([math.log(3)], [0.0]), logits([0.0], [0.0])
    divergence = 0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25)
    dices = [(2 * 0.5 * p + 1) / (0.25 + p * p + 1) for p in (0.75, 0.25)]
    expected = divergence + 1 - sum(dices) / 2
    assert float(distillation_loss(student, teacher, 7.0)) == pytest.approx(expected, abs=1e-6)


def test_head_is_found(tmp_path: Path) -> None:
    from edgeseg.quantize.distillation.graph import load_graph
    from edgeseg.quantize.distillation.loss import logits_of

    constants = {"weight": pointwise([[1]])}
    nodes = [node("Conv", [INPUT, "weight"], "c"), node("Sigmoid", ["c"], RESULT)]
    graph = load_graph(save_graph(tmp_path / "one.onnx", nodes, constants))
    assert logits_of(graph, "one.onnx") == "c"
    nodes[1] = node("Tanh", ["c"], RESULT)
    graph = load_graph(save_graph(tmp_path / "two.onnx", nodes, constants))
    with pytest.raises(CalibrationError, match=r"two\.onnx ends in Tanh.*--method mse"):
        logits_of(graph, "two.onnx")
