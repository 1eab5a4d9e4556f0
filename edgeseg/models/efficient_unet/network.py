"""A U-Net whose encoder is an EfficientNet-Lite0: the teacher where labels are few.

Sources: Ronneberger et al., "U-Net: Convolutional Networks for Biomedical Image Segmentation",
MICCAI 2015, arXiv:1505.04597; the encoder in `edgeseg.models.backbones.efficientnet`.
Where we differ from the U-Net: padded convolutions with BatchNorm, bilinear upsampling, narrower,
and the mask is made at half the size of the image.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..backbones.efficientnet import FEATURE_CHANNELS, EfficientNetLite0

DECODER_CHANNELS = (128, 64, 48, 32)


class DecoderStep(nn.Module):
    """Twice the size, beside the encoder's features of that size, and two 3x3 convolutions."""

    def __init__(self, in_channels: int, skip_channels: int, out_channels: int) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv2d(in_channels + skip_channels, out_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(),
            nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(),
        )

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        x = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
        result: Tensor = self.convolutions(torch.cat((x, skip), dim=1))
        return result


class EfficientUnet(nn.Module):
    """The network.

    Args:
        classes: Channels of the output. 1 is a sigmoid mask, more a softmax.

    Input (N, 3, H, W), H and W multiples of 32.
    """

    def __init__(self, classes: int = 1) -> None:
        super().__init__()
        self.encoder = EfficientNetLite0()
        channels = FEATURE_CHANNELS[-1]
        skips = FEATURE_CHANNELS[-2::-1]
        self.decoder = nn.ModuleList()
        for skip, wide in zip(skips, DECODER_CHANNELS, strict=True):
            self.decoder.append(DecoderStep(channels, skip, wide))
            channels = wide
        self.head = nn.Conv2d(channels, classes, 1)
        self.classes = classes

    def forward_logits(self, image: Tensor) -> Tensor:
        """Output before the sigmoid or softmax, (N, classes, H, W)."""
        *skips, x = self.encoder(image)
        for step in self.decoder:
            x = step(x, skips.pop())
        return F.interpolate(self.head(x), scale_factor=2.0, mode="bilinear", align_corners=False)

    def forward(self, image: Tensor) -> Tensor:
        """Probabilities (N, classes, H, W), in 0..1."""
        logits = self.forward_logits(image)
        return torch.sigmoid(logits) if self.classes == 1 else torch.softmax(logits, dim=1)
