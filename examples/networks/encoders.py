"""Networks that decode several stages, pool by indices, or return several maps."""

from __future__ import annotations

import itertools

import torch
from tokens import conv_bn, double
from torch import Tensor, nn
from torch.nn import functional


class LargeKernelBlock(nn.Module):
    """CMUNeXt's block: a depthwise 7x7 beside the identity, then two pointwise layers."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.depthwise = nn.Sequential(
            nn.Conv2d(inputs, inputs, 7, padding=3, groups=inputs),
            nn.GELU(),
            nn.BatchNorm2d(inputs),
        )
        self.pointwise = nn.Sequential(
            nn.Conv2d(inputs, 4 * inputs, 1),
            nn.GELU(),
            nn.BatchNorm2d(4 * inputs),
            nn.Conv2d(4 * inputs, inputs, 1),
            nn.GELU(),
            nn.BatchNorm2d(inputs),
        )
        self.out = conv_bn(inputs, outputs)

    def forward(self, image: Tensor) -> Tensor:
        return self.out(self.pointwise(image + self.depthwise(image)))


class FusionBlock(nn.Module):
    """CMUNeXt's fusion of two stages: a grouped convolution, each stage one group."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.grouped = nn.Sequential(
            nn.Conv2d(2 * width, 2 * width, 3, padding=1, groups=2),
            nn.GELU(),
            nn.BatchNorm2d(2 * width),
        )
        self.out = nn.Sequential(nn.Conv2d(2 * width, width, 1), nn.GELU(), nn.BatchNorm2d(width))

    def forward(self, skip: Tensor, deep: Tensor) -> Tensor:
        return self.out(self.grouped(torch.cat([skip, deep], 1)))


class CMUNeXt(nn.Module):
    """CMUNeXt, Tang et al. 2023, arXiv:2308.01239."""

    def __init__(self, widths: tuple[int, ...] = (8, 16, 32, 48)) -> None:
        super().__init__()
        self.stem = conv_bn(3, widths[0])
        inner = itertools.pairwise(widths)
        self.down = nn.ModuleList(LargeKernelBlock(*pair) for pair in inner)
        outer = list(zip(widths[::-1], widths[-2::-1], strict=False))
        self.up = nn.ModuleList(conv_bn(*pair) for pair in outer)
        self.fuse = nn.ModuleList(FusionBlock(own) for _, own in outer)
        self.head = nn.Conv2d(widths[0], 1, 1)

    def forward(self, image: Tensor) -> Tensor:
        image = self.stem(image)
        skips = []
        for block in self.down:
            skips.append(image)
            image = block(functional.max_pool2d(image, 2))
        for up, fuse in zip(self.up, self.fuse, strict=True):
            larger = functional.interpolate(
                image, scale_factor=2, mode="bilinear", align_corners=True
            )
            image = fuse(skips.pop(), up(larger))
        return self.head(image)


class Bottleneck(nn.Module):
    """ENet's bottleneck with a PReLU for each channel.

    Args:
        middle: The convolution between the two projections.
    """

    def __init__(self, width: int, middle: nn.Module) -> None:
        super().__init__()
        quarter = width // 4
        self.narrow = nn.Conv2d(width, quarter, 1, bias=False)
        self.norm = nn.Sequential(nn.BatchNorm2d(quarter), nn.PReLU(quarter))
        self.middle = middle
        self.wide = nn.Sequential(
            nn.BatchNorm2d(quarter), nn.PReLU(quarter), nn.Conv2d(quarter, width, 1, bias=False)
        )
        self.out = nn.Sequential(nn.BatchNorm2d(width), nn.Dropout2d(0.1))
        self.activation = nn.PReLU(width)

    def forward(self, image: Tensor) -> Tensor:
        branch = self.wide(self.middle(self.norm(self.narrow(image))))
        return self.activation(image + self.out(branch))


class ENet(nn.Module):
    """ENet, Paszke et al. 2016, arXiv:1606.02147: pooling whose indices steer the unpooling."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        quarter = width // 4
        self.stem = nn.Conv2d(3, 13, 3, stride=2, padding=1, bias=False)
        self.stem_norm = nn.Sequential(nn.BatchNorm2d(16), nn.PReLU(16))
        self.widen = nn.Conv2d(16, width, 1, bias=False)
        middles: list[nn.Module] = [nn.Conv2d(quarter, quarter, 3, padding=1)]
        for dilation in (2, 4, 8):
            middles.append(nn.Conv2d(quarter, quarter, 3, padding=dilation, dilation=dilation))
            middles.append(
                nn.Sequential(
                    nn.Conv2d(quarter, quarter, (5, 1), padding=(2, 0), bias=False),
                    nn.Conv2d(quarter, quarter, (1, 5), padding=(0, 2), bias=False),
                )
            )
        self.body = nn.Sequential(*(Bottleneck(width, middle) for middle in middles))
        self.narrow = nn.Conv2d(width, 16, 1, bias=False)
        self.refine = Bottleneck(16, nn.Conv2d(4, 4, 3, padding=1))
        self.head = nn.ConvTranspose2d(16, 1, 3, stride=2, padding=1, output_padding=1)

    def forward(self, image: Tensor) -> Tensor:
        stem = torch.cat([self.stem(image), functional.max_pool2d(image, 2)], 1)
        image = self.stem_norm(stem)
        pooled, indices = functional.max_pool2d(image, 2, return_indices=True)
        image = self.narrow(self.body(self.widen(pooled)))
        image = functional.max_unpool2d(image, indices, 2)
        return self.head(self.refine(image))


class Res2Block(nn.Module):
    """Res2Net's block: channel groups, each convolved with the result of the one before."""

    def __init__(self, width: int, scale: int = 4) -> None:
        super().__init__()
        self.into = conv_bn(width, width, 1)
        self.group = width // scale
        self.branches = nn.ModuleList(conv_bn(self.group, self.group) for _ in range(scale - 1))
        self.out = nn.Sequential(nn.Conv2d(width, width, 1), nn.BatchNorm2d(width))

    def forward(self, image: Tensor) -> Tensor:
        first, *others = torch.split(self.into(image), self.group, 1)
        done = [first]
        for branch, part in zip(self.branches, others, strict=True):
            done.append(branch(part if len(done) == 1 else part + done[-1]))
        return functional.relu(image + self.out(torch.cat(done, 1)))


class PraNet(nn.Module):
    """PraNet, Fan et al. 2020, arXiv:2006.11392: a coarse map, refined by reverse attention.

    `forward` returns four maps of the image's size, the best one last.
    """

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, width, 7, stride=2, padding=3), nn.ReLU())
        stage = nn.Sequential
        self.stages = nn.ModuleList(
            stage(nn.Conv2d(width, width, 3, stride=2, padding=1), Res2Block(width))
            for _ in range(4)
        )
        self.partial = nn.Sequential(conv_bn(3 * width, width), nn.Conv2d(width, 1, 1))
        self.refine = nn.ModuleList(
            nn.Sequential(conv_bn(width, width), nn.Conv2d(width, 1, 3, padding=1))
            for _ in range(3)
        )

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        size = image.shape[2:]
        stages = [self.stem(image)]
        for stage in self.stages:
            stages.append(stage(stages[-1]))
        _, _, two, three, four = stages
        joined = torch.cat([two, double(three), double(double(four))], 1)
        maps = [self.partial(joined)]
        for block, features in zip(self.refine, (four, three, two), strict=True):
            coarse = functional.interpolate(maps[-1], features.shape[2:], mode="bilinear")
            reverse = 1 - torch.sigmoid(coarse)
            maps.append(block(reverse.expand(-1, features.shape[1], -1, -1) * features) + coarse)
        return tuple(functional.interpolate(own, size, mode="bilinear") for own in maps)
