"""Res2Net-50 v1b (26 channels wide, 4 scales), the backbone of MSNet and M2SNet.

Source: Gao et al., "Res2Net: A New Multi-scale Backbone Architecture", TPAMI 2021,
arXiv:1904.01169; v1b has a stem of three 3x3 convolutions and pools in its shortcuts. Parameter
names are those of the published checkpoints, the unused classifier included.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

BASE_WIDTH = 26
SCALES = 4
EXPANSION = 4
DEPTHS = (3, 4, 6, 3)
IMAGENET_CLASSES = 1000


class Bottle2neck(nn.Module):
    """Bottleneck whose 3x3 convolution is a chain over groups of channels.

    Args:
        is_first: Whether it opens a stage: then the groups do not feed each other, and the last
            group is pooled to the new size.
    """

    def __init__(
        self, in_channels: int, planes: int, stride: int = 1, *, is_first: bool = False
    ) -> None:
        super().__init__()
        width = planes * BASE_WIDTH // 64
        out_channels = planes * EXPANSION
        self.conv1 = nn.Conv2d(in_channels, width * SCALES, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width * SCALES)
        self.convs = nn.ModuleList(
            nn.Conv2d(width, width, 3, stride, padding=1, bias=False) for _ in range(SCALES - 1)
        )
        self.bns = nn.ModuleList(nn.BatchNorm2d(width) for _ in range(SCALES - 1))
        self.conv3 = nn.Conv2d(width * SCALES, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.is_first = is_first
        self.stride = stride
        self.downsample: nn.Module = nn.Identity()
        if is_first:
            self.downsample = nn.Sequential(
                nn.AvgPool2d(stride, stride, ceil_mode=True, count_include_pad=False),
                nn.Conv2d(in_channels, out_channels, 1, bias=False),
                nn.BatchNorm2d(out_channels),
            )

    def forward(self, x: Tensor) -> Tensor:
        parts = F.relu(self.bn1(self.conv1(x))).chunk(SCALES, dim=1)
        done: list[Tensor] = []
        for part, convolution, norm in zip(parts, self.convs, self.bns, strict=False):
            chained = part if self.is_first or not done else part + done[-1]
            done.append(F.relu(norm(convolution(chained))))
        last = parts[-1]
        done.append(F.avg_pool2d(last, 3, self.stride, padding=1) if self.is_first else last)
        y = self.bn3(self.conv3(torch.cat(done, dim=1)))
        return F.relu(y + self.downsample(x))


class Res2Net(nn.Module):
    """The backbone; `forward` returns the five feature maps that segmentation uses."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(
            nn.Conv2d(3, 32, 3, 2, padding=1, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.Conv2d(32, 32, 3, padding=1, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3, padding=1, bias=False),
        )
        self.bn1 = nn.BatchNorm2d(64)
        channels = 64
        for index, depth in enumerate(DEPTHS):
            planes = 64 * 2**index
            blocks = [Bottle2neck(channels, planes, 1 if index == 0 else 2, is_first=True)]
            channels = planes * EXPANSION
            blocks += [Bottle2neck(channels, planes) for _ in range(depth - 1)]
            self.add_module(f"layer{index + 1}", nn.Sequential(*blocks))
        self.fc = nn.Linear(channels, IMAGENET_CLASSES)  # in the checkpoints, not used

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """64, 256, 512, 1024 and 2048 channels at 1/4, 1/4, 1/8, 1/16 and 1/32 of the image."""
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(image))), 3, 2, padding=1)
        features = [x]
        for index in range(1, len(DEPTHS) + 1):
            features.append(self.get_submodule(f"layer{index}")(features[-1]))
        return tuple(features)
