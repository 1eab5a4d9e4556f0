"""EGE-UNet: a 53 k parameter network for skin lesion segmentation.

Source: Ruan et al., "EGE-UNet: an Efficient Group Enhanced UNet for skin lesion segmentation",
MICCAI 2023, arXiv:2307.08473. Parameter names are those of the published checkpoints, so that
such a file loads unchanged. The gates of the Hadamard attention depend on parameters only: at a
fixed input size they are constants.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

GATE_SIZE = 8  # side of the learned gates before they are stretched to the feature map
GAB_DILATIONS = (1, 2, 5, 7)
NORM_GROUPS = 4
LAYER_NORM_EPS = 1e-6


class EgeUnetLogits(NamedTuple):
    """Raw outputs of :class:`EgeUnet`, before the sigmoid.

    Attributes:
        mask: Main output, (N, classes, H, W).
        side: Five deep-supervision outputs from deep to shallow, each (N, 1, H, W).
    """

    mask: Tensor
    side: tuple[Tensor, ...]


def resize_bilinear(x: Tensor, height: int, width: int) -> Tensor:
    """Resize (N, C, H, W) bilinearly with aligned corners, as the paper's code does throughout."""
    return F.interpolate(x, size=(height, width), mode="bilinear", align_corners=True)


class ChannelLayerNorm(nn.Module):
    """LayerNorm over the channels of each pixel of an (N, C, H, W) map."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        centred = x - x.mean(1, keepdim=True)
        variance = centred.square().mean(1, keepdim=True)
        normed = centred * torch.rsqrt(variance + LAYER_NORM_EPS)
        return normed * self.weight[:, None, None] + self.bias[:, None, None]


def depthwise_then_pointwise(channels: int, out_channels: int) -> nn.Sequential:
    """Depthwise 3x3, GELU, 1x1."""
    return nn.Sequential(
        nn.Conv2d(channels, channels, 3, padding=1, groups=channels),
        nn.GELU(),
        nn.Conv2d(channels, out_channels, 1),
    )


class Ghpa(nn.Module):
    """Grouped multi-axis Hadamard Product Attention.

    The channels are split in four. Three parts are multiplied by learned gates, stretched over
    the (H, W), (C, H) and (C, W) planes; the fourth passes a small convolution.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        part = in_channels // 4
        self.params_xy = nn.Parameter(torch.ones(1, part, GATE_SIZE, GATE_SIZE))
        self.conv_xy = depthwise_then_pointwise(part, part)
        self.params_zx = nn.Parameter(torch.ones(1, 1, part, GATE_SIZE))
        self.conv_zx = self._line_convolution(part)
        self.params_zy = nn.Parameter(torch.ones(1, 1, part, GATE_SIZE))
        self.conv_zy = self._line_convolution(part)
        self.dw = nn.Sequential(
            nn.Conv2d(part, part, 1),
            nn.GELU(),
            nn.Conv2d(part, part, 3, padding=1, groups=part),
        )
        self.norm1 = ChannelLayerNorm(in_channels)
        self.norm2 = ChannelLayerNorm(in_channels)
        self.ldw = depthwise_then_pointwise(in_channels, out_channels)

    @staticmethod
    def _line_convolution(channels: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv1d(channels, channels, 3, padding=1, groups=channels),
            nn.GELU(),
            nn.Conv1d(channels, channels, 1),
        )

    def gates(self, height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
        """Gates for a feature map of this size: (1, C/4, H, W), (1, C/4, H, 1), (1, C/4, 1, W)."""
        plane = self.conv_xy(resize_bilinear(self.params_xy, height, width))
        part = self.params_zx.shape[2]
        rows = self.conv_zx(resize_bilinear(self.params_zx, part, height)[:, 0])
        columns = self.conv_zy(resize_bilinear(self.params_zy, part, width)[:, 0])
        return plane, rows[..., None], columns[:, :, None]

    def forward(self, x: Tensor) -> Tensor:
        first, second, third, fourth = self.norm1(x).chunk(4, dim=1)
        plane, rows, columns = self.gates(x.shape[2], x.shape[3])
        mixed = torch.cat((first * plane, second * rows, third * columns, self.dw(fourth)), dim=1)
        result: Tensor = self.ldw(self.norm2(mixed))
        return result


class Gab(nn.Module):
    """Group Aggregation Bridge: a skip connection guided by a coarse mask."""

    def __init__(self, high_channels: int, low_channels: int) -> None:
        super().__init__()
        self.pre_project = nn.Conv2d(high_channels, low_channels, 1)
        group = low_channels // 2 + 1
        for index, dilation in enumerate(GAB_DILATIONS):
            convolution = nn.Conv2d(
                group, group, 3, padding=dilation, dilation=dilation, groups=group
            )
            self.add_module(f"g{index}", nn.Sequential(ChannelLayerNorm(group), convolution))
        self.tail_conv = nn.Sequential(
            ChannelLayerNorm(4 * group), nn.Conv2d(4 * group, low_channels, 1)
        )

    def forward(self, high: Tensor, low: Tensor, mask_logit: Tensor) -> Tensor:
        high = resize_bilinear(self.pre_project(high), low.shape[2], low.shape[3])
        pairs = zip(high.chunk(4, dim=1), low.chunk(4, dim=1), strict=True)
        mixed = [
            self.get_submodule(f"g{index}")(torch.cat((high_part, low_part, mask_logit), dim=1))
            for index, (high_part, low_part) in enumerate(pairs)
        ]
        result: Tensor = self.tail_conv(torch.cat(mixed, dim=1))
        return result


class EgeUnet(nn.Module):
    """The network of the paper, with its default widths.

    Args:
        classes: Channels of the main output. 1 is a sigmoid mask, more a softmax.
        channels: Widths of the six encoder stages.

    Input (N, 3, H, W), H and W multiples of 32, values 0..255 (see the model's input contract).
    """

    def __init__(
        self, classes: int = 1, channels: tuple[int, ...] = (8, 16, 24, 32, 48, 64)
    ) -> None:
        super().__init__()
        c1, c2, c3, c4, c5, c6 = channels
        self.encoder1 = nn.Sequential(nn.Conv2d(3, c1, 3, padding=1))
        self.encoder2 = nn.Sequential(nn.Conv2d(c1, c2, 3, padding=1))
        self.encoder3 = nn.Sequential(nn.Conv2d(c2, c3, 3, padding=1))
        self.encoder4 = nn.Sequential(Ghpa(c3, c4))
        self.encoder5 = nn.Sequential(Ghpa(c4, c5))
        self.encoder6 = nn.Sequential(Ghpa(c5, c6))
        self.GAB1 = Gab(c2, c1)
        self.GAB2 = Gab(c3, c2)
        self.GAB3 = Gab(c4, c3)
        self.GAB4 = Gab(c5, c4)
        self.GAB5 = Gab(c6, c5)
        for index, width in enumerate((c5, c4, c3, c2, c1), start=1):
            self.add_module(f"gt_conv{index}", nn.Sequential(nn.Conv2d(width, 1, 1)))
        self.decoder1 = nn.Sequential(Ghpa(c6, c5))
        self.decoder2 = nn.Sequential(Ghpa(c5, c4))
        self.decoder3 = nn.Sequential(Ghpa(c4, c3))
        self.decoder4 = nn.Sequential(nn.Conv2d(c3, c2, 3, padding=1))
        self.decoder5 = nn.Sequential(nn.Conv2d(c2, c1, 3, padding=1))
        for index, width in enumerate((c1, c2, c3, c4, c5), start=1):
            self.add_module(f"ebn{index}", nn.GroupNorm(NORM_GROUPS, width))
        for index, width in enumerate((c5, c4, c3, c2, c1), start=1):
            self.add_module(f"dbn{index}", nn.GroupNorm(NORM_GROUPS, width))
        self.final = nn.Conv2d(c1, classes, 1)
        self.activation = nn.GELU()

    def forward_logits(self, image: Tensor) -> EgeUnetLogits:
        """Main and side outputs before the sigmoid, all at the size of the image."""
        height, width = image.shape[2:]
        x = image
        skips: list[Tensor] = []
        for index in range(1, 6):
            x = self.get_submodule(f"encoder{index}")(x)
            x = self.activation(F.max_pool2d(self.get_submodule(f"ebn{index}")(x), 2))
            skips.append(x)
        x = bridge = self.activation(self.encoder6(x))
        side: list[Tensor] = []
        for index in range(1, 6):
            skip = skips[5 - index]
            x = self.get_submodule(f"dbn{index}")(self.get_submodule(f"decoder{index}")(x))
            if index > 1:
                x = resize_bilinear(x, skip.shape[2], skip.shape[3])
            x = self.activation(x)
            logit = self.get_submodule(f"gt_conv{index}")(x)
            bridge = self.get_submodule(f"GAB{6 - index}")(bridge, skip, logit)
            x = x + bridge
            side.append(resize_bilinear(logit, height, width))
        return EgeUnetLogits(resize_bilinear(self.final(x), height, width), tuple(side))

    def forward(self, image: Tensor) -> Tensor:
        """Mask probabilities (N, classes, H, W), in 0..1. Side outputs are for training only."""
        logits = self.forward_logits(image).mask
        return torch.sigmoid(logits) if logits.shape[1] == 1 else torch.softmax(logits, dim=1)
