"""Small networks with the structure of published ones, which onnx2tf does not convert."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional as F


class ShiftedTokens(nn.Module):
    """Groups of channels that move along rows, then along columns, with products after each."""

    def __init__(self, width: int, reach: int = 2) -> None:
        super().__init__()
        self.reach = reach
        self.first, self.second = nn.Linear(width, width), nn.Linear(width, width)
        self.mix = nn.Conv2d(width, width, 3, 1, 1, groups=width)

    def moved(self, tokens: torch.Tensor, size: tuple[int, int], axis: int) -> torch.Tensor:
        maps = tokens.transpose(1, 2).reshape(len(tokens), -1, *size)
        wide = F.pad(maps, (self.reach,) * 4)
        # 18 channels in five groups: the last one is smaller.
        groups = wide.chunk(2 * self.reach + 1, 1)
        rolled = [torch.roll(part, at - self.reach, axis) for at, part in enumerate(groups)]
        inner = torch.cat(rolled, 1).narrow(2, self.reach, size[0]).narrow(3, self.reach, size[1])
        return inner.flatten(2).transpose(1, 2)

    def forward(self, tokens: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        lines = self.first(self.moved(tokens, size, 2))
        maps = self.mix(lines.transpose(1, 2).reshape(len(lines), -1, *size))
        lines = F.gelu(maps).flatten(2).transpose(1, 2)
        result: torch.Tensor = self.second(self.moved(lines, size, 3))
        return result


class TokenNet(nn.Module):
    """Convolutions, then tokens that move, then maps again, as in UNeXt (arXiv:2203.04967)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 10, 3, 2, 1), nn.BatchNorm2d(10), nn.ReLU())
        self.embed = nn.Conv2d(10, 18, 3, 2, 1)
        self.norms = nn.ModuleList(nn.LayerNorm(18) for _ in range(3))
        self.blocks = nn.ModuleList(ShiftedTokens(18) for _ in range(2))
        self.up = nn.Conv2d(18, 10, 3, 1, 1)
        self.head = nn.Conv2d(10, 1, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        skip = self.stem(image)
        maps = self.embed(skip)
        size = maps.shape[2], maps.shape[3]
        tokens = self.norms[0](maps.flatten(2).transpose(1, 2))
        for norm, block in zip(self.norms[1:], self.blocks, strict=True):
            tokens = tokens + block(norm(tokens), size)
        maps = tokens.reshape(len(tokens), *size, -1).permute(0, 3, 1, 2)
        wide = F.interpolate(self.up(maps), scale_factor=2, mode="bilinear")
        return F.interpolate(self.head(F.relu(wide) + skip), scale_factor=2, mode="bilinear")


class DilatedParts(nn.Module):
    """Uneven parts of the channels with a dilation each, and a small memory of keys and values."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.sizes = [width // 4] * 3 + [width - width // 4 * 3]
        dilations = (1, 2, 5, 7)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(size, size, 3, padding=rate, dilation=rate, groups=size)
            for rate, size in zip(dilations, self.sizes, strict=True)
        )
        self.norm = nn.GroupNorm(1, width)
        self.keys = nn.Conv1d(width, 6, 1, bias=False)
        self.values = nn.Conv1d(6, width, 1, bias=False)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        parts = maps.split(self.sizes, 1)
        seen = [layer(part) for layer, part in zip(self.convolutions, parts, strict=True)]
        lines = self.norm(torch.cat(seen, 1)).flatten(2)
        shares = self.keys(lines).softmax(-1)
        shares = shares / (1e-9 + shares.sum(1, keepdim=True))
        return F.relu(self.values(shares).reshape(maps.shape) + maps)


class SharedGates(nn.Module):
    """One gate over places that all scales share, and one over the channels of all scales."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.place = nn.Conv2d(2, 1, 7, padding=9, dilation=3)
        self.line = nn.Conv1d(1, 1, 3, padding=1, bias=False)
        self.rows = nn.ModuleList(nn.Linear(sum(widths), width) for width in widths)

    def forward(self, scales: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        seen = []
        for maps in scales:
            most = maps.max(1, keepdim=True).values
            gate = self.place(torch.cat([maps.mean(1, keepdim=True), most], 1)).sigmoid()
            seen.append(maps * gate + maps)
        means = self.line(torch.cat([maps.mean((2, 3)) for maps in seen], 1)[:, None])
        gated = []
        for maps, row in zip(seen, self.rows, strict=True):
            gate = row(means).sigmoid().transpose(-1, -2)[..., None].expand_as(maps)
            gated.append(maps + maps * gate)
        return gated


class BridgeNet(nn.Module):
    """Parts of channels and gates across the scales, as in MALUNet (arXiv:2211.01784)."""

    def __init__(self) -> None:
        super().__init__()
        widths = (9, 14, 19)
        self.down = nn.ModuleList(nn.Conv2d(a, b, 3, 1, 1) for a, b in pairwise((3, *widths)))
        self.mixers = nn.ModuleList([nn.Identity(), *map(DilatedParts, widths[1:])])
        self.gates = SharedGates(widths)
        self.up = nn.ModuleList([nn.Conv2d(19, 14, 1), nn.Conv2d(14, 9, 1)])
        self.head = nn.Conv2d(9, 1, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        maps, scales = image, []
        for convolution, mixer in zip(self.down, self.mixers, strict=True):
            maps = F.gelu(F.max_pool2d(mixer(convolution(maps)), 2))
            scales.append(maps)
        first, second, maps = self.gates(scales)
        for skip, layer in zip((second, first), self.up, strict=True):
            maps = layer(maps)
            maps = F.interpolate(maps, skip.shape[2:], mode="bilinear", align_corners=True) + skip
        return F.interpolate(self.head(maps), scale_factor=2, mode="bilinear", align_corners=True)
