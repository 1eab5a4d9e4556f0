from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from support import needs
from translated import check

pytestmark = needs("tensorflow", "ai_edge_litert", "onnx", "onnx_ir", "onnxruntime", "torch")


def looked_up(x: Any) -> Any:
    order = x.argsort(1)
    return x.gather(1, order) + x[:, [2, 0, -1]] * 2 + x[:, :, [3], [4]][..., None]


def scattered(x: Any) -> Any:
    import torch

    empty = torch.zeros_like(x).scatter(3, x.argsort(3), x)
    return empty + x.scatter(1, torch.ones_like(x[:, :1], dtype=torch.long), 9.0) * 2


def assigned(x: Any) -> Any:
    made = x * 1.0
    made[:, 1, 2:5] = 7.0
    made[:, :, 3] = x[:, :, 4] * 2
    return made


@pytest.mark.parametrize("function", [looked_up, scattered, assigned])
def test_values_are_those_of_torch(function: Callable[[Any], Any]) -> None:
    check(function)
