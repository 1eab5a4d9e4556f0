from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from support import needs
from translated import check

pytestmark = needs("tensorflow", "ai_edge_litert", "onnx", "onnx_ir", "onnxruntime", "torch")


def rolled(x: Any) -> Any:
    import torch

    return torch.roll(x, (3, -2), (2, 3)) + x.flip(1) * 2 + x.flip((2, 3))


def padded(x: Any) -> Any:
    from torch.nn import functional as F

    mirrored = F.pad(x, (2, 1, 3, 0), mode="reflect")[:, :, 3:, 2:-1]
    circular = F.pad(x, (1, 2, 1, 2), mode="circular")[:, :, :-3, 3:]
    return mirrored + circular + F.pad(x, (1, 2, 0, 2), mode="replicate")[:, :, 2:, :-3]


def cropped(x: Any) -> Any:
    from torch.nn import functional as F

    return F.pad(F.pad(x, (-2, 3, 4, -1)), (0, -1, 0, -3), value=0.5)[:, :, ::2, 1::3]


def split_unevenly(x: Any) -> Any:
    import torch

    first, second, third = torch.cat([x, x * 2, x + 1], 1).split([2, 5, 2], 1)
    left, right = second.tensor_split([5], 3)
    return torch.cat([torch.cat([right, left], 3)[:, 1:3], third, first[:, [1, 0, 1]]], 1)


def windows(x: Any) -> Any:
    """Attention inside windows of four by four, as in Swin transformers."""
    count, channels, height, width = x.shape
    tokens = x.view(count, channels, height // 4, 4, width // 4, 4).permute(0, 2, 4, 3, 5, 1)
    tokens = tokens.reshape(-1, 16, channels)
    mixed = (tokens @ tokens.transpose(1, 2)).softmax(-1) @ tokens
    mixed = mixed.view(count, height // 4, width // 4, 4, 4, channels)
    return mixed.permute(0, 5, 1, 3, 2, 4).reshape(x.shape)


def shuffled(x: Any) -> Any:
    from torch.nn import functional as F

    deep = F.pixel_unshuffle(x, 2)
    return F.pixel_shuffle(F.channel_shuffle(deep, 4) + deep.flip(1), 2)


def repeated(x: Any) -> Any:
    import torch

    wide = x.mean((2, 3), keepdim=True).expand_as(x) + x.repeat(1, 2, 1, 1)[:, 2:5]
    return wide + torch.triu(x, 2) + torch.tril(x[:, :1], -1)


@pytest.mark.parametrize(
    "function", [rolled, padded, cropped, split_unevenly, windows, shuffled, repeated]
)
def test_values_lie_where_torch_puts_them(function: Callable[[Any], Any]) -> None:
    check(function)


def test_as_many_rows_and_columns_as_channels_confuse_nothing() -> None:
    check(
        lambda x: x.permute(0, 2, 1, 3) + x.transpose(2, 3) * 2 + x.flatten(2)[:, :, :3, None],
        (1, 3, 3, 3),
    )


def test_tokens_and_maps_are_the_same_in_memory() -> None:
    from torch import nn

    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.norm = nn.Conv2d(3, 5, 1), nn.LayerNorm(5)
            self.last = nn.Conv2d(5, 2, 1)

        def forward(self, x: Any) -> Any:
            maps = self.first(x)
            tokens = self.norm(maps.flatten(2).transpose(1, 2))
            return self.last(tokens.transpose(1, 2).reshape(maps.shape))

    assert check(Tokens())["TRANSPOSE"] == 0
