"""Real-time networks of two or three branches, which predict a part of the image's size."""

from __future__ import annotations

import torch
from tokens import conv_bn
from torch import Tensor, nn
from torch.nn import functional


def strided(inputs: int, outputs: int) -> nn.Sequential:
    """Convolution that halves the size, batch norm, ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


def resize_to(image: Tensor, like: Tensor) -> Tensor:
    return functional.interpolate(image, like.shape[2:], mode="bilinear", align_corners=False)


class Gather(nn.Module):
    """BiSeNet V2's gather-and-expand layer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv_bn(width, width),
            nn.Conv2d(width, 6 * width, 3, padding=1, groups=width, bias=False),
            nn.BatchNorm2d(6 * width),
            nn.Conv2d(6 * width, width, 1, bias=False),
            nn.BatchNorm2d(width),
        )

    def forward(self, image: Tensor) -> Tensor:
        return functional.relu(image + self.body(image))


class BiSeNetV2(nn.Module):
    """BiSeNet V2, Yu et al. 2020, arXiv:2004.02147: each branch gates the other."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.detail = nn.Sequential(
            strided(3, width), strided(width, width), strided(width, width), conv_bn(width, width)
        )
        self.stem = strided(3, 8)
        self.stem_conv = strided(8, 8)
        self.stem_out = conv_bn(16, width)
        self.semantic = nn.Sequential(
            strided(width, width),
            Gather(width),
            strided(width, width),
            Gather(width),
            strided(width, width),
        )
        self.context = conv_bn(width, width, 1)
        self.detail_keep = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.detail_down = nn.Sequential(
            nn.Conv2d(width, width, 3, stride=2, padding=1),
            nn.AvgPool2d(3, stride=2, padding=1, ceil_mode=False),
        )
        self.semantic_keep = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.semantic_up = nn.Conv2d(width, width, 3, padding=1)
        self.head = nn.Sequential(conv_bn(width, width), nn.Conv2d(width, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        detail = self.detail(image)
        stem = self.stem(image)
        both = torch.cat([self.stem_conv(stem), functional.max_pool2d(stem, 3, 2, 1)], 1)
        semantic = self.semantic(self.stem_out(both))
        semantic = semantic + self.context(functional.adaptive_avg_pool2d(semantic, 1))
        gate = torch.sigmoid(resize_to(self.semantic_up(semantic), detail))
        fine = self.detail_keep(detail) * gate
        coarse = self.detail_down(detail) * torch.sigmoid(self.semantic_keep(semantic))
        return resize_to(self.head(fine + resize_to(coarse, fine)), image)


class BasicBlock(nn.Module):
    """Two convolutions beside the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv_bn(width, width), nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width)
        )

    def forward(self, image: Tensor) -> Tensor:
        return functional.relu(image + self.body(image))


class PyramidPooling(nn.Module):
    """DDRNet's pyramid: averages of windows of 5, 9 and all pixels, each added to the one before.

    The windows reach over the edge; what lies there counts as zero.
    """

    def __init__(self, inputs: int, width: int, outputs: int) -> None:
        super().__init__()
        self.scales = nn.ModuleList(nn.Conv2d(inputs, width, 1) for _ in range(4))
        self.process = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(3))
        self.compress = nn.Conv2d(4 * width, outputs, 1)
        self.shortcut = nn.Conv2d(inputs, outputs, 1)

    def forward(self, image: Tensor) -> Tensor:
        pooled = [
            functional.avg_pool2d(image, 5, 2, 2),
            functional.avg_pool2d(image, 9, 4, 4),
            functional.adaptive_avg_pool2d(image, 1),
        ]
        first, *others = self.scales
        maps = [first(image)]
        for scale, process, smaller in zip(others, self.process, pooled, strict=True):
            maps.append(process(resize_to(scale(smaller), image) + maps[-1]))
        return self.compress(torch.cat(maps, 1)) + self.shortcut(image)


class DDRNet(nn.Module):
    """DDRNet, Hong et al. 2021, arXiv:2101.06085; the map is an eighth of the image's size."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.stem = nn.Sequential(strided(3, width), strided(width, width), BasicBlock(width))
        self.low = strided(width, 2 * width)
        self.high = nn.Sequential(strided(width, width), BasicBlock(width))
        self.high_down = nn.Conv2d(width, 4 * width, 3, stride=2, padding=1)
        self.low_down = nn.Sequential(
            BasicBlock(2 * width), nn.Conv2d(2 * width, 4 * width, 3, stride=2, padding=1)
        )
        self.low_up = nn.Conv2d(4 * width, width, 1)
        self.pyramid = PyramidPooling(4 * width, width, width)
        self.out = BasicBlock(width)
        self.head = nn.Sequential(conv_bn(width, width), nn.Conv2d(width, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        stem = self.stem(image)
        high, low = self.high(stem), self.low(stem)
        low = functional.relu(self.low_down(low) + self.high_down(high))
        high = functional.relu(high + resize_to(self.low_up(low), high))
        return self.head(self.out(high) + resize_to(self.pyramid(low), high))


class PixelAttention(nn.Module):
    """PIDNet's fusion: how alike two maps are at a pixel decides which of them it takes."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.left = nn.Conv2d(width, width // 2, 1, bias=False)
        self.right = nn.Conv2d(width, width // 2, 1, bias=False)

    def forward(self, detail: Tensor, context: Tensor) -> Tensor:
        larger = resize_to(context, detail)
        alike = (self.left(detail) * resize_to(self.right(context), detail)).sum(1, keepdim=True)
        weight = torch.sigmoid(alike)
        return (1 - weight) * detail + weight * larger


class PIDNet(nn.Module):
    """PIDNet, Xu et al. 2022, arXiv:2206.02066: three branches; an eighth of the image's size.

    `forward` returns the map, a map of the middle and one of the edges, as in training.
    """

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.stem = nn.Sequential(strided(3, width), strided(width, width), BasicBlock(width))
        self.proportional = nn.Sequential(strided(width, width), BasicBlock(width))
        self.integral = nn.Sequential(strided(width, width), strided(width, width))
        self.derivative = nn.Sequential(strided(width, width), BasicBlock(width))
        self.fuse = PixelAttention(width)
        self.edge = nn.Conv2d(width, 1, 1)
        self.middle = nn.Conv2d(width, 1, 1)
        self.joined = nn.Conv2d(width, width, 1)
        self.head = nn.Sequential(conv_bn(width, width), nn.Conv2d(width, 1, 1))

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        stem = self.stem(image)
        context = self.integral(stem)
        detail = self.fuse(self.proportional(stem), context)
        edges = self.derivative(stem)
        gate = torch.sigmoid(edges)
        joined = gate * detail + (1 - gate) * resize_to(context, detail)
        out = self.head(functional.relu(self.joined(joined)))
        return {"middle": self.middle(detail), "out": out, "edge": self.edge(edges)}
