from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from support import needs
from translated import check

pytestmark = needs("tensorflow", "ai_edge_litert", "onnx", "onnx_ir", "onnxruntime", "torch")
ODD = (1, 3, 15, 19)


def largest(x: Any) -> Any:
    from torch.nn import functional as F

    return F.max_pool2d(x, 3, 2, 1, ceil_mode=True) + F.max_pool2d(x, 2, 2, ceil_mode=True)


def spread(x: Any) -> Any:
    from torch.nn import functional as F

    return F.max_pool2d(x, 3, 1, 1, dilation=2)


def means(x: Any) -> Any:
    from torch.nn import functional as F

    settings = {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True}
    counted = F.avg_pool2d(x, **settings) + 2 * F.avg_pool2d(x, **settings, count_include_pad=False)
    return (
        counted
        + F.avg_pool2d(x, 2, 2, ceil_mode=True)
        + F.avg_pool2d(x, 4, 2, 1, ceil_mode=True)[:, :, [*range(7), 6], [9]][..., None]
    )


def adaptive(x: Any) -> Any:
    from torch.nn import functional as F

    small = F.adaptive_avg_pool2d(x, (6, 7))
    return small * F.adaptive_avg_pool2d(x, 1) + x.amax((2, 3), keepdim=True)


@pytest.mark.parametrize("function", [largest, spread, means, adaptive])
def test_values_are_those_of_torch(function: Callable[[Any], Any]) -> None:
    check(function, ODD)


@pytest.mark.parametrize("settings", [(2, 2, 0), (3, 3, 1)])
def test_indices_of_a_pooling_steer_an_unpooling(settings: tuple[int, int, int]) -> None:
    import torch
    from torch import nn

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pool = nn.MaxPool2d(*settings, return_indices=True)
            self.unpool = nn.MaxUnpool2d(*settings)
            self.between = nn.Conv2d(3, 3, 1)

        def forward(self, x: torch.Tensor) -> Any:
            small, places = self.pool(x)
            return self.unpool(self.between(small), places, output_size=x.shape[2:])

    check(Network(), (1, 3, 12, 18))
