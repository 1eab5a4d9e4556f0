"""LossNet: the distance of two masks in the features of VGG-16.

Source: arXiv:2303.10894. VGG-16 is configuration D of Simonyan and Zisserman, ICLR 2015,
arXiv:1409.1556, with the parameter names of torchvision's checkpoints.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..models.backbones.statistics import IMAGENET_MEAN, IMAGENET_STD
from ..models.weights import load_weights

STAGE_WIDTHS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512))
SIZE = (224, 224)  # pixels
RANDOM_SEED = 16
# What a whole VGG-16 has behind the fourth stage.
UNUSED = ("features.24.", "features.26.", "features.28.", "classifier.")


class VggFeatures(nn.Module):
    """The first four stages of VGG-16; they do not learn.

    Args:
        weights: torchvision's VGG-16 checkpoint, with or without what lies behind the fourth
            stage. None draws the same random features each time: He et al. 2015,
            arXiv:1502.01852, biases zero.

    Attributes:
        origin: What the features are, whatever file they come from.

    Raises:
        WeightsError: The file is missing, damaged, or no VGG-16.
    """

    def __init__(self, weights: Path | None = None) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        ends = []
        channels = 3
        for widths in STAGE_WIDTHS:
            if layers:
                layers.append(nn.MaxPool2d(2))
            for width in widths:
                # On meta, as torch's own initialisation would move its global generator.
                layers.append(nn.Conv2d(channels, width, 3, padding=1, device="meta"))
                layers.append(nn.ReLU(inplace=True))
                channels = width
            ends.append(len(layers))
        self.features = nn.Sequential(*layers).to_empty(device="cpu")
        self.stage_ends = tuple(ends)
        self.requires_grad_(False)
        if weights is None:
            self._draw()
            self.origin = f"random, seed {RANDOM_SEED}"
        else:
            load_weights(self, weights, ignored=UNUSED, advice=self._expected())
            self.origin = f"weights {self._digest()}"

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """64, 128, 256 and 512 channels at 1, 1/2, 1/4 and 1/8 of the image, (N, 3, H, W)."""
        found = []
        for count, layer in enumerate(self.features, start=1):
            image = layer(image)
            if count in self.stage_ends:
                found.append(image)
        return tuple(found)

    def _draw(self) -> None:
        generator = torch.Generator().manual_seed(RANDOM_SEED)
        for layer in self.features:
            if isinstance(layer, nn.Conv2d) and layer.bias is not None:
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=generator)
                nn.init.zeros_(layer.bias)

    def _expected(self) -> str:
        places = [
            str(place) for place, layer in enumerate(self.features) if isinstance(layer, nn.Conv2d)
        ]
        return (
            "Name torchvision's VGG-16 (vgg16, not vgg16_bn): features.N.weight and "
            f"features.N.bias for N = {', '.join(places)}."
        )

    def _digest(self) -> str:
        digest = hashlib.sha256()
        for tensor in self.state_dict().values():
            digest.update(tensor.numpy().tobytes())
        return digest.hexdigest()[:8]


class LossNet:
    """Sum over the stages of the mean squared difference between the features of two masks.

    Both masks are taken as grey images: resized to 224 x 224, repeated to three channels and
    normalised as ImageNet's. Computed in float32 unless autocast says otherwise; the published
    code has it under autocast, in half precision.
    """

    def __init__(self, features: VggFeatures) -> None:
        self.features = features

    def __call__(self, probability: Tensor, mask: Tensor) -> Tensor:
        """Scalar >= 0 from (N, 1, H, W) in 0..1 each; the gradient goes to `probability` only."""
        features = self.features.to(probability.device)
        with torch.no_grad():
            wanted = features(_image_from_mask(mask))
        found = features(_image_from_mask(probability))
        errors = [F.mse_loss(one, other) for one, other in zip(found, wanted, strict=True)]
        return torch.stack(errors).sum()


def _image_from_mask(mask: Tensor) -> Tensor:
    # The published code resizes last. The order changes nothing, as the weights of a resize sum
    # to 1, and one channel costs a third.
    small = F.interpolate(mask.float(), size=SIZE, mode="bilinear", align_corners=False)
    mean, std = (small.new_tensor(v).view(1, 3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    return (small - mean) / std
