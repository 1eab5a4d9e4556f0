from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from support import needs
from translated import check

pytestmark = needs("tensorflow", "ai_edge_litert", "onnx", "onnx_ir", "onnxruntime", "torch")


def smooth(x: Any) -> Any:
    import torch
    from torch.nn import functional as F

    softened = F.mish(x) + F.softplus(x) + F.silu(x) + F.gelu(x) + F.gelu(x, approximate="tanh")
    return softened + torch.erf(x) + F.logsigmoid(x) + F.softsign(x) + torch.tan(x / 3)


def bent(x: Any) -> Any:
    from torch.nn import functional as F

    hard = F.hardswish(x) + F.hardsigmoid(x) + F.hardtanh(x, -0.5, 0.7) + F.relu6(4 * x)
    shrunk = F.softshrink(x) + F.hardshrink(x) + F.leaky_relu(x, 0.2) + F.threshold(x, 0.1, -2)
    return hard + shrunk + F.elu(x) + F.elu(x, 0.3) + F.selu(x) + F.celu(x, 2.0)


def compared(x: Any) -> Any:
    import torch

    chosen = torch.where((x > 0.3) | (x <= -1), x, torch.zeros_like(x)).masked_fill(x < -2, 2.0)
    return chosen + x.clamp(min=-0.2) + (x == x.flip(3)) + ((x > 0) ^ (x > 1)) * 3.0


def rounded(x: Any) -> Any:
    whole = x.sign() + x.round() + x.floor() + x.ceil() + x.trunc()
    return (
        whole
        + x.abs().sqrt()
        + (5 * x).remainder(3.0)
        + (x.abs() + 0.1) ** 1.7
        + x**2
        + 1 / (x**2 + 1)
    )


def doubled(x: Any) -> Any:
    """A part in double precision, which phones do not compute in."""
    wide = x.double()
    return ((wide - wide.mean((2, 3), keepdim=True)) / wide.std((2, 3), keepdim=True)).float()


@pytest.mark.parametrize("function", [smooth, bent, compared, rounded, doubled])
def test_values_are_those_of_torch(function: Callable[[Any], Any]) -> None:
    check(function)


def test_parametric_slopes_stay_with_their_channels() -> None:
    import torch
    from torch import nn

    net = nn.PReLU(3)
    net.weight.data = torch.tensor([0.1, -0.5, 2.0])
    check(net)
