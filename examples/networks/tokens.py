"""Networks that mix convolutions with operations on tokens or on channel groups."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


def conv_bn(inputs: int, outputs: int, kernel: int = 3, groups: int = 1) -> nn.Sequential:
    """Convolution that keeps the size, batch norm, ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


def double(image: Tensor) -> Tensor:
    """Twice the height and width, bilinear."""
    return functional.interpolate(image, scale_factor=2, mode="bilinear")


class ShiftedMlp(nn.Module):
    """UNeXt's tokenised MLP: five channel groups are moved by -2..2 pixels before each layer."""

    REACH = 2

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Linear(width, width)
        self.depthwise = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.second = nn.Linear(width, width)

    def forward(self, tokens: Tensor, height: int, width: int) -> Tensor:
        """Tokens (N, height * width, C) to tokens of that shape."""
        hidden = self.first(self._shift(tokens, height, width, dim=2))
        image = hidden.transpose(1, 2).reshape(len(tokens), -1, height, width)
        hidden = functional.gelu(self.depthwise(image)).flatten(2).transpose(1, 2)
        return self.second(self._shift(hidden, height, width, dim=3))

    def _shift(self, tokens: Tensor, height: int, width: int, dim: int) -> Tensor:
        image = tokens.transpose(1, 2).reshape(len(tokens), -1, height, width)
        padded = functional.pad(image, (self.REACH,) * 4)
        groups = torch.chunk(padded, 2 * self.REACH + 1, 1)
        moved = [torch.roll(group, step - self.REACH, dim) for step, group in enumerate(groups)]
        joined = torch.cat(moved, 1)
        cut = joined.narrow(2, self.REACH, height).narrow(3, self.REACH, width)
        return cut.flatten(2).transpose(1, 2)


class TokenBlock(nn.Module):
    """Overlapping patches, then a shifted MLP beside the identity."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.embed = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1)
        self.embedded = nn.LayerNorm(outputs)
        self.before = nn.LayerNorm(outputs)
        self.mlp = ShiftedMlp(outputs)
        self.after = nn.LayerNorm(outputs)

    def forward(self, image: Tensor) -> Tensor:
        image = self.embed(image)
        height, width = image.shape[2:]
        tokens = self.embedded(image.flatten(2).transpose(1, 2))
        tokens = tokens + self.mlp(self.before(tokens), height, width)
        tokens = self.after(tokens)
        return tokens.reshape(len(image), height, width, -1).permute(0, 3, 1, 2).contiguous()


class UNeXt(nn.Module):
    """UNeXt, Valanarasu and Patel 2022, arXiv:2203.04967, the widths of its small version."""

    def __init__(self, widths: tuple[int, ...] = (8, 16, 32, 64, 128)) -> None:
        super().__init__()
        one, two, three, four, five = widths
        pairs = ((3, one), (one, two), (two, three))
        self.down = nn.ModuleList(conv_bn(*pair) for pair in pairs)
        self.tokens = nn.ModuleList([TokenBlock(three, four, 2), TokenBlock(four, five, 2)])
        self.up_tokens = nn.ModuleList([TokenBlock(four, four, 1), TokenBlock(three, three, 1)])
        pairs = ((five, four), (four, three), (three, two), (two, one), (one, one))
        self.up = nn.ModuleList(conv_bn(*pair) for pair in pairs)
        self.head = nn.Conv2d(one, 1, 1)

    def forward(self, image: Tensor) -> Tensor:
        skips = []
        for block in self.down:
            image = functional.max_pool2d(block(image), 2)
            skips.append(image)
        image = self.tokens[0](image)
        skips.append(image)
        image = self.tokens[1](image)
        for index, block in enumerate(self.up):
            image = double(block(image))
            if skips:
                image = image + skips.pop()
            if index < len(self.up_tokens):
                image = self.up_tokens[index](image)
        return self.head(image)


class DilatedGate(nn.Module):
    """MALUNet's gate: uneven quarters with dilations of their own, then attention over pixels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        quarter = width // 4
        self.widths = (quarter, quarter, quarter, width - 3 * quarter)
        self.branches = nn.ModuleList(
            nn.Conv2d(own, own, 3, padding=step, dilation=step, groups=own)
            for own, step in zip(self.widths, (1, 2, 5, 7), strict=True)
        )
        self.norm = nn.GroupNorm(1, width)
        self.gate = nn.Conv2d(width, width, 1)

    def forward(self, image: Tensor) -> Tensor:
        parts = torch.split(image, self.widths, 1)
        mixed = torch.cat([own(part) for own, part in zip(self.branches, parts, strict=True)], 1)
        return image * torch.sigmoid(self.gate(functional.gelu(self.norm(mixed))))


class ExternalAttention(nn.Module):
    """Attention to a memory that all images share, along the pixels."""

    def __init__(self, width: int, memory: int = 16) -> None:
        super().__init__()
        self.into = nn.Conv2d(width, width, 1)
        self.keys = nn.Conv1d(width, memory, 1, bias=False)
        self.values = nn.Conv1d(memory, width, 1, bias=False)
        self.norm = nn.GroupNorm(4, width)

    def forward(self, image: Tensor) -> Tensor:
        tokens = self.into(image).flatten(2)
        weights = torch.softmax(self.keys(tokens), -1)
        weights = weights / (1e-6 + weights.sum(1, keepdim=True))
        values = self.values(weights).reshape(image.shape)
        return functional.relu(self.norm(values) + image)


class Bridge(nn.Module):
    """MALUNet's attention between the stages: one over pixels, one over the channels of all."""

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.spatial = nn.Conv2d(2, 1, 7, padding=9, dilation=3)
        self.channel = nn.Conv1d(1, 1, 3, padding=1, bias=False)
        self.each = nn.ModuleList(nn.Linear(sum(widths), own) for own in widths)

    def forward(self, stages: list[Tensor]) -> list[Tensor]:
        gated = []
        for stage in stages:
            two = torch.cat([stage.mean(1, keepdim=True), stage.max(1, keepdim=True).values], 1)
            gated.append(stage + stage * torch.sigmoid(self.spatial(two)))
        pooled = torch.cat([stage.mean((2, 3)) for stage in gated], 1)
        shared = self.channel(pooled.unsqueeze(1)).squeeze(1)
        return [
            stage + stage * torch.sigmoid(own(shared)).unsqueeze(-1).unsqueeze(-1)
            for own, stage in zip(self.each, gated, strict=True)
        ]


class MALUNet(nn.Module):
    """MALUNet, Ruan et al. 2022, arXiv:2211.01784."""

    def __init__(self, widths: tuple[int, ...] = (8, 16, 26, 32)) -> None:
        super().__init__()
        wide = widths[1:]
        self.first = conv_bn(3, widths[0])
        self.down = nn.ModuleList(
            nn.Sequential(DilatedGate(inputs), nn.Conv2d(inputs, outputs, 3, padding=1))
            for inputs, outputs in zip(widths, wide, strict=False)
        )
        self.bridge = Bridge(widths)
        self.deep = ExternalAttention(widths[-1])
        self.up = nn.ModuleList(
            nn.Sequential(conv_bn(inputs, outputs), DilatedGate(outputs))
            for inputs, outputs in zip(wide[::-1], widths[-2::-1], strict=True)
        )
        self.head = nn.Conv2d(widths[0], 1, 1)

    def forward(self, image: Tensor) -> Tensor:
        stages = [functional.max_pool2d(self.first(image), 2)]
        for block in self.down:
            stages.append(functional.gelu(functional.max_pool2d(block(stages[-1]), 2)))
        *skips, deep = self.bridge(stages)
        image = self.deep(deep)
        for block in self.up:
            image = double(block(image)) + skips.pop()
        return double(self.head(image))
