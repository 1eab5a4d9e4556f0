from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from support import needs
from translated import check

pytestmark = needs("tensorflow", "ai_edge_litert", "onnx", "onnx_ir", "onnxruntime", "torch")


def norms(x: Any) -> Any:
    from torch.nn import functional as F

    whole = F.layer_norm(x, x.shape[1:]) + F.layer_norm(x, x.shape[3:]) * 2
    return whole + F.instance_norm(x) + F.normalize(x, dim=1) + F.group_norm(x, 3) * x


def sums(x: Any) -> Any:
    import torch

    return torch.einsum("nchw,ndhw,nchv->ndhv", x, x.softmax(1), x)


def attention(x: Any) -> Any:
    from torch.nn import functional as F

    tokens = x.flatten(2).transpose(1, 2)[:, None]
    seen = F.scaled_dot_product_attention(tokens, tokens * 2, tokens)
    return seen[:, 0].transpose(1, 2).reshape(x.shape)


@pytest.mark.parametrize("function", [norms, sums, attention])
def test_values_are_those_of_torch(function: Callable[[Any], Any]) -> None:
    check(function)


def test_norms_with_weights_and_products_of_tokens() -> None:
    import torch
    from torch import nn

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.batch, self.group = nn.BatchNorm2d(3), nn.GroupNorm(3, 3)
            self.gate, self.mix = nn.Linear(3, 3), nn.Linear(16, 16)
            for norm in (self.batch, self.group):
                norm.weight.data = torch.tensor([1.0, -2.0, 3.0])
                norm.bias.data = torch.tensor([0.5, 0.0, -1.0])
            self.batch.running_mean = torch.tensor([0.1, 0.2, 0.3])

        def forward(self, x: Any) -> Any:
            gate = self.gate(x.mean((2, 3))).sigmoid()[:, :, None, None]
            return self.mix(self.group(torch.tanh(self.batch(x)))) * gate

    check(Network())
