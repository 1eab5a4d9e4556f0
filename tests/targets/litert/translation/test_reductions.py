from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from support import needs
from translated import check

pytestmark = needs("tensorflow", "ai_edge_litert", "onnx", "onnx_ir", "onnxruntime", "torch")


def statistics(x: Any) -> Any:
    spread = x * x.std((2, 3), keepdim=True) + x.var(1, keepdim=True) + x.norm(dim=1, keepdim=True)
    ends = x.amax(1, keepdim=True) - x.amin((1, 2), keepdim=True) + x.prod(1, keepdim=True)
    return spread + ends + x.logsumexp(1, keepdim=True) + x.abs().sum((2, 3), keepdim=True)


def without_axes(x: Any) -> Any:
    rows = x.mean((1, 3))[:, None, :, None] + x.mean(2)[:, :, None] * 3
    return x + rows + x.mean(1)[:, None] * 5 + x.mean() + x.amax((2, 3))[:, :, None, None]


def shares(x: Any) -> Any:
    return x.softmax(1) + x.softmax(2) * 2 + x.softmax(3) * 3 + x.log_softmax(1) + x.cumsum(2)


def order(x: Any) -> Any:
    import torch

    greatest = x * (x >= x.topk(2, 1).values[:, -1:])
    return (
        greatest
        + x.sort(2).values
        + (x.argmax(1, keepdim=True) - x.argmin(3, keepdim=True))
        + torch.nn.functional.one_hot(x.argmax(1), 3).permute(0, 3, 1, 2)
    )


@pytest.mark.parametrize("function", [statistics, without_axes, shares, order])
def test_values_are_those_of_torch(function: Callable[[Any], Any]) -> None:
    check(function)
