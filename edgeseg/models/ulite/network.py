"""U-Lite: a 0.88 M parameter U-shaped network of axial depthwise convolutions.

Source: Dinh et al., "1M parameters are enough? A lightweight CNN-based model for medical image
segmentation", APSIPA 2023, arXiv:2306.16103. Parameter names are those of the published code.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WIDTHS = (16, 32, 64, 128, 256, 512)
BOTTLENECK_DILATIONS = (1, 2, 3)


class AxialDepthwise(nn.Module):
    """x + depthwise (k x 1) of x + depthwise (1 x k) of x.

    It equals one depthwise k x k convolution whose kernel is a cross. Padding is written in
    numbers: padding="same" with dilation exports as auto_pad, which ONNX Runtime refuses.
    """

    def __init__(self, channels: int, size: int, dilation: int = 1) -> None:
        super().__init__()
        pad = dilation * (size - 1) // 2
        self.dw_h = nn.Conv2d(
            channels, channels, (size, 1), padding=(pad, 0), dilation=dilation, groups=channels
        )
        self.dw_w = nn.Conv2d(
            channels, channels, (1, size), padding=(0, pad), dilation=dilation, groups=channels
        )

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = x + self.dw_h(x) + self.dw_w(x)
        return result


class Encoder(nn.Module):
    """One step down; also gives the skip connection at the size of its input."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.dw = AxialDepthwise(in_channels, 7)
        self.bn = nn.BatchNorm2d(in_channels)
        self.pw = nn.Conv2d(in_channels, out_channels, 1)
        self.activation = nn.GELU()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        skip = self.bn(self.dw(x))
        return self.activation(F.max_pool2d(self.pw(skip), 2)), skip


class Bottleneck(nn.Module):
    """The deepest block: three dilations side by side on a quarter of the channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        part = channels // 4
        self.pw1 = nn.Conv2d(channels, part, 1)
        for index, dilation in enumerate(BOTTLENECK_DILATIONS, start=1):
            self.add_module(f"dw{index}", AxialDepthwise(part, 3, dilation))
        self.bn = nn.BatchNorm2d(channels)
        self.pw2 = nn.Conv2d(channels, channels, 1)
        self.activation = nn.GELU()

    def forward(self, x: Tensor) -> Tensor:
        x = self.pw1(x)
        branches = [self.get_submodule(f"dw{index}")(x) for index in (1, 2, 3)]
        result: Tensor = self.activation(self.pw2(self.bn(torch.cat((x, *branches), dim=1))))
        return result


class Decoder(nn.Module):
    """One step up."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.pw = nn.Conv2d(in_channels + out_channels, out_channels, 1)
        self.bn = nn.BatchNorm2d(out_channels)
        self.dw = AxialDepthwise(out_channels, 7)
        self.pw2 = nn.Conv2d(out_channels, out_channels, 1)
        self.activation = nn.GELU()

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        x = F.interpolate(x, scale_factor=2.0, mode="nearest")
        x = self.bn(self.pw(torch.cat((x, skip), dim=1)))
        result: Tensor = self.activation(self.pw2(self.dw(x)))
        return result


class ULite(nn.Module):
    """The network of the paper, with its default widths.

    Args:
        classes: Channels of the output. 1 is a sigmoid mask, more a softmax.

    Input (N, 3, H, W), H and W multiples of 32.
    """

    def __init__(self, classes: int = 1) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(3, WIDTHS[0], 7, padding=3)
        for index, (narrow, wide) in enumerate(itertools.pairwise(WIDTHS), start=1):
            self.add_module(f"e{index}", Encoder(narrow, wide))
            self.add_module(f"d{index}", Decoder(wide, narrow))
        self.b5 = Bottleneck(WIDTHS[-1])
        self.conv_out = nn.Conv2d(WIDTHS[0], classes, 1)
        self.classes = classes

    def forward_logits(self, image: Tensor) -> Tensor:
        """Output before the sigmoid or softmax, (N, classes, H, W)."""
        x = self.conv_in(image)
        skips: list[Tensor] = []
        for index in range(1, len(WIDTHS)):
            x, skip = self.get_submodule(f"e{index}")(x)
            skips.append(skip)
        x = self.b5(x)
        for index in range(len(WIDTHS) - 1, 0, -1):
            x = self.get_submodule(f"d{index}")(x, skips[index - 1])
        result: Tensor = self.conv_out(x)
        return result

    def forward(self, image: Tensor) -> Tensor:
        """Probabilities (N, classes, H, W), in 0..1."""
        logits = self.forward_logits(image)
        return torch.sigmoid(logits) if self.classes == 1 else torch.softmax(logits, dim=1)
