"""MSNet: multi-scale subtraction network for polyps.

Source: Zhao et al., "Automatic Polyp Segmentation via Multi-scale Subtraction Network", MICCAI
2021, arXiv:2108.05082; described again in arXiv:2303.10894. Parameter names are those of the
published code.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..backbones.res2net import Res2Net

WIDTH = 64
FEATURE_CHANNELS = {2: 256, 3: 512, 4: 1024, 5: 2048}


def conv_bn_relu(in_channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, WIDTH, 3, padding=1), nn.BatchNorm2d(WIDTH), nn.ReLU()
    )


def resize_to(x: Tensor, other: Tensor) -> Tensor:
    return F.interpolate(x, size=other.shape[2:], mode="bilinear", align_corners=False)


def unit_name(deep: int, shallow: int) -> str:
    """Name of the subtraction unit that spans these feature levels, such as x5_x4_x3."""
    return "_".join(f"x{level}" for level in range(deep, shallow - 1, -1))


class MsNet(nn.Module):
    """The network of the paper on Res2Net-50.

    Args:
        classes: Channels of the output. 1 is a sigmoid mask, more a softmax.

    Input (N, 3, H, W), H and W multiples of 32.
    """

    def __init__(self, classes: int = 1) -> None:
        super().__init__()
        self.resnet = Res2Net()
        for level, channels in FEATURE_CHANNELS.items():
            self.add_module(f"x{level}_dem_1", conv_bn_relu(channels))
        for span in range(1, 5):
            for deep in range(5, span, -1):
                self.add_module(unit_name(deep, deep - span), conv_bn_relu(WIDTH))
        self.x5_dem_4 = conv_bn_relu(WIDTH)
        self.x5_dem_5 = conv_bn_relu(FEATURE_CHANNELS[5])
        for level in (3, 2, 1):
            self.add_module(f"level{level}", conv_bn_relu(WIDTH))
        for level in (4, 3, 2):
            self.add_module(f"output{level}", conv_bn_relu(WIDTH))
        self.output1 = nn.Sequential(nn.Conv2d(WIDTH, classes, 3, padding=1))
        self.classes = classes

    def difference(self, deep: Tensor, shallow: Tensor) -> Tensor:
        """What a subtraction unit sees of two maps of one size."""
        return (deep - shallow).abs()

    def _subtract(self, unit: nn.Module, deep: Tensor, shallow: Tensor) -> Tensor:
        result: Tensor = unit(self.difference(resize_to(deep, shallow), shallow))
        return result

    def pyramid(self, features: tuple[Tensor, ...]) -> dict[int, list[Tensor]]:
        """Results of the subtraction units by the level of their size, shorter spans first."""
        row = {1: features[0]}
        for level in FEATURE_CHANNELS:
            row[level] = self.get_submodule(f"x{level}_dem_1")(features[level - 1])
        found: dict[int, list[Tensor]] = {level: [] for level in (4, 3, 2, 1)}
        for span in range(1, 5):
            if span == 4:
                row[2] = self.x5_dem_4(row[2])  # for the last unit only, not for the sum
            next_row = {}
            for deep in range(5, span, -1):
                shallow = deep - span
                unit = self.get_submodule(unit_name(deep, shallow))
                next_row[shallow] = self._subtract(unit, row[shallow + 1], row[shallow])
                found[shallow].append(next_row[shallow])
            row = next_row
        return found

    def forward_logits(self, image: Tensor) -> Tensor:
        """Output before the sigmoid or softmax, (N, classes, H, W)."""
        features = self.resnet(image)
        found = self.pyramid(features)
        x = self.x5_dem_5(features[-1])
        for level, parts in found.items():
            total = functools.reduce(torch.add, parts)
            if len(parts) > 1:
                total = self.get_submodule(f"level{level}")(total)
            x = self.get_submodule(f"output{level}")(resize_to(x, total) + total)
        return resize_to(x, image)

    def forward(self, image: Tensor) -> Tensor:
        """Probabilities (N, classes, H, W), in 0..1."""
        logits = self.forward_logits(image)
        return torch.sigmoid(logits) if self.classes == 1 else torch.softmax(logits, dim=1)
