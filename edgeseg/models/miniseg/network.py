"""MiniSeg: an 83 k parameter network for COVID-19 infections in CT.

Source: Qiu et al., "MiniSeg: An Extremely Minimum Network for Efficient COVID-19 Segmentation",
AAAI 2021, arXiv:2004.09750. Parameter names are those of the published code.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WIDTHS = (8, 24, 32, 64)
DEPTHS = (2, 3, 8, 6)
LONG_DEPTHS = (1, 1, 4, 3)
BRANCH_DILATIONS = (1, 2, 4, 8)
DROPOUT = 0.01


def resize_as(x: Tensor, height: int, width: int) -> Tensor:
    return F.interpolate(x, size=(height, width), mode="bilinear", align_corners=False)


def depthwise(channels: int, size: int, *, dilation: int = 1, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(
        channels,
        channels,
        size,
        stride=stride,
        padding=dilation * (size - 1) // 2,
        dilation=dilation,
        groups=channels,
        bias=False,
    )


class ConvBlock(nn.Module):
    """Conv 3x3, BatchNorm, PReLU: the blocks of the first level."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(out_channels)
        self.act = nn.PReLU(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.act(self.bn(self.conv(x)))
        return result


class AhspBlock(nn.Module):
    """Attentive hierarchical spatial pyramid.

    Four depthwise convolutions of growing dilation on a quarter of the channels, each adding the
    result of the one before it, the first an average pool; each is weighted by one plus its
    attention map.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        part = out_channels // 4
        self.conv1x1_down = nn.Conv2d(in_channels, part, 1, bias=False)
        for index, dilation in enumerate(BRANCH_DILATIONS, start=1):
            self.add_module(f"conv{index}", depthwise(part, 3, dilation=dilation, stride=stride))
        self.pool = nn.AvgPool2d(3, stride=stride, padding=1)
        self.attention = nn.Conv2d(out_channels, 4, 1, groups=4, bias=False)
        self.conv1x1_fuse = nn.Conv2d(out_channels, out_channels, 1, groups=4, bias=False)
        self.bn = nn.BatchNorm2d(out_channels)
        self.act = nn.PReLU(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1x1_down(x)
        total = self.pool(x)
        branches: list[Tensor] = []
        for index in range(1, len(BRANCH_DILATIONS) + 1):
            total = total + self.get_submodule(f"conv{index}")(x)
            branches.append(total)
        attention = torch.sigmoid(self.attention(torch.cat(branches, dim=1)))
        weighted = [
            branch + branch * attention[:, index : index + 1]
            for index, branch in enumerate(branches)
        ]
        result: Tensor = self.act(self.bn(self.conv1x1_fuse(torch.cat(weighted, dim=1))))
        return result


class LongBlock(nn.Module):
    """1x1, depthwise 5x5, BatchNorm, PReLU: the blocks of the long path."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv0 = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.conv1 = depthwise(out_channels, 5, stride=stride)
        self.bn = nn.BatchNorm2d(out_channels)
        self.act = nn.PReLU(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.act(self.bn(self.conv1(self.conv0(x))))
        return result


class DecoderBlock(nn.Module):
    """1x1, then two depthwise 3x3 (dilation 1 and 2) side by side, summed, BatchNorm."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv0 = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.conv1 = depthwise(out_channels, 3)
        self.conv2 = depthwise(out_channels, 3, dilation=2)
        self.bn = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv0(x)
        result: Tensor = self.bn(self.conv1(x) + self.conv2(x))
        return result


class MiniSeg(nn.Module):
    """The network of the paper, with its default widths.

    Args:
        classes: Output channels, softmax; background is one of them.
        side_outputs: Whether the three auxiliary heads, which only training uses, exist.

    Input (N, 3, H, W), H and W multiples of 16.
    """

    def __init__(self, classes: int = 2, *, side_outputs: bool = True) -> None:
        super().__init__()
        before = 3
        for level, width in enumerate(WIDTHS, start=1):
            block = ConvBlock if level == 1 else AhspBlock
            depth, long_depth = DEPTHS[level - 1], LONG_DEPTHS[level - 1]
            self.add_module(f"long{level}", LongBlock(before, width, stride=2))
            self.add_module(f"down{level}", block(before, width, stride=2))
            self.add_module(
                f"level{level}", nn.ModuleList(block(width, width) for _ in range(depth))
            )
            self.add_module(
                f"level{level}_long",
                nn.ModuleList(LongBlock(width, width) for _ in range(long_depth)),
            )
            if level < len(WIDTHS):
                fuse = nn.Conv2d(2 * width, 2 * width, 1, bias=False)
                self.add_module(f"cat{level}", nn.Sequential(fuse, nn.BatchNorm2d(2 * width)))
            before = width
        for level, width in enumerate(WIDTHS, start=1):
            if level < len(WIDTHS):
                self.add_module(f"up{level}_conv{level + 1}", DecoderBlock(WIDTHS[level], width))
            self.add_module(f"up{level}_conv{level}", nn.Conv2d(width, width, 1))
            self.add_module(f"up{level}_bn{level}", nn.BatchNorm2d(width))
            self.add_module(f"up{level}_act", nn.PReLU(width))
            if side_outputs or level == 1:
                head = nn.Sequential(nn.Dropout2d(DROPOUT), nn.Conv2d(width, classes, 1))
                self.add_module(f"pred{level}", head)
        self.side_outputs = side_outputs

    def encode(self, image: Tensor) -> list[Tensor]:
        """Features of the four levels, at 1/2, 1/4, 1/8 and 1/16 of the image."""
        out = long = image
        features: list[Tensor] = []
        for level in range(1, len(WIDTHS) + 1):
            out = self.get_submodule(f"down{level}")(out)
            long = self.get_submodule(f"long{level}")(long)
            long_blocks = list(self.get_submodule(f"level{level}_long").children())
            for index, block in enumerate(self.get_submodule(f"level{level}").children()):
                both = out + long
                out = block(both) + out
                if index < len(long_blocks):
                    long = long_blocks[index](both) + long
            features.append(out)
            if level < len(WIDTHS):
                fused = self.get_submodule(f"cat{level}")(torch.cat((long, out), dim=1))
                to_long, to_out = fused.chunk(2, dim=1)
                long, out = long + to_long, out + to_out
        return features

    def decode(self, features: list[Tensor]) -> list[Tensor]:
        """Decoder maps from fine to coarse."""
        maps: list[Tensor] = []
        x = features[-1]
        for level in range(len(WIDTHS), 0, -1):
            skip = features[level - 1]
            lateral = self.get_submodule(f"up{level}_bn{level}")(
                self.get_submodule(f"up{level}_conv{level}")(skip)
            )
            if maps:
                x = resize_as(x, skip.shape[2], skip.shape[3])
                lateral = self.get_submodule(f"up{level}_conv{level + 1}")(x) + lateral
            x = self.get_submodule(f"up{level}_act")(lateral)
            maps.insert(0, x)
        return maps

    def forward_logits(self, image: Tensor) -> tuple[Tensor, ...]:
        """Outputs before the softmax, (N, classes, H, W) each: the main one, then from fine to
        coarse the auxiliary ones, if there are any."""
        maps = self.decode(self.encode(image))
        logits = [self._head(1, maps[0], image)]
        if self.side_outputs:
            # An auxiliary map is first brought to the size of the next finer one.
            for level in range(2, len(WIDTHS) + 1):
                finer = maps[level - 2]
                x = resize_as(maps[level - 1], finer.shape[2], finer.shape[3])
                logits.append(self._head(level, x, image))
        return tuple(logits)

    def _head(self, level: int, x: Tensor, image: Tensor) -> Tensor:
        return resize_as(self.get_submodule(f"pred{level}")(x), image.shape[2], image.shape[3])

    def forward(self, image: Tensor) -> Tensor:
        """Probabilities (N, classes, H, W), in 0..1."""
        maps = self.decode(self.encode(image))
        return torch.softmax(self._head(1, maps[0], image), dim=1)
