from __future__ import annotations

import pytest
from rewritten_graphs import graph, left_alone, rewritten
from support import needs

from edgeseg.lower.pooled_mean import mean_by_pooling

pytestmark = needs("onnx", "onnx_ir", "onnxruntime")


@pytest.mark.parametrize(
    ("size", "steps"),
    [((32, 32), 1), ((48, 45), 1), ((37, 40), 1), ((1, 1024), 1), ((512, 512), 2)],
)
def test_a_mean_is_taken_in_steps(size: tuple[int, int], steps: int) -> None:
    model = graph("y = GlobalAveragePool(x)", inputs={"x": (1, 3, *size)})
    left = {"AveragePool": steps, "GlobalAveragePool": 1}
    # A mean of so many numbers around zero is small beside them.
    rewritten(mean_by_pooling, model, left, count=steps, mean=1.0)


@pytest.mark.parametrize("size", [(31, 33), (37, 41), ("height", 64)])
def test_small_maps_and_those_without_a_window_stay(size: tuple[int | str, int]) -> None:
    model = graph("y = GlobalAveragePool(x)", inputs={"x": (1, 3, *size)})
    left_alone(mean_by_pooling, model)
