"""The Paraphraser: says a teacher's features in few channels."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..progress import SILENT, Progress

LEAK = 0.1
WIDEST = 256  # inner channels, those of the paper
LEARNING_RATE = 1e-3
BATCH_SIZE = 8


class Paraphraser(nn.Module):
    """An autoencoder of feature maps, all 3x3 and at their resolution.

    Encoder: channels > inner > width > width with inner = channels, at most 256; decoder the
    mirror image by transposed convolutions; LeakyReLU with 0.1 after each layer but the last. Its
    encoder is what is used in distillation.

    Args:
        channels: Of the features.
        width: k, the nodes of a salience graph.

    Source: arXiv:2203.08667, after Kim et al. 2018, arXiv:1802.04977.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        inner = min(channels, WIDEST)
        down = ((channels, inner), (inner, width), (width, width))
        self.encoder = nn.Sequential()
        for taken, given in down:
            self.encoder.append(nn.Conv2d(taken, given, 3, padding=1))
            self.encoder.append(nn.LeakyReLU(LEAK))
        self.decoder = nn.Sequential()
        for given, taken in reversed(down):
            self.decoder.append(nn.ConvTranspose2d(taken, given, 3, padding=1))
            self.decoder.append(nn.LeakyReLU(LEAK))
        del self.decoder[-1]  # features may have any sign

    def forward(self, features: Tensor) -> Tensor:
        """The features again, (N, channels, H, W)."""
        result: Tensor = self.decoder(self.encoder(features))
        return result


def train_paraphrasers(
    channels: Sequence[int],
    width: int,
    features_of: Callable[[list[int]], list[Tensor]],
    image_count: int,
    *,
    steps: int,
    seed: int,
    device: torch.device | str = "cpu",
    progress: Progress = SILENT,
) -> tuple[list[Paraphraser], list[float]]:
    """Train one Paraphraser a layer to reconstruct the teacher's features; no labels are needed.

    Each minimises its mean squared error over the mean square of the features.

    Args:
        channels: Of each layer.
        width: k.
        features_of: Features of the images with these numbers, one (N, C, H, W) a layer.
        image_count: Images to draw from.
        steps: Batches of 8.
        seed: Of weights and order.

    Returns:
        The Paraphrasers, which learn no more, and the error of each in its last batch: 0 is
        perfect, 1 no better than to answer zero.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        paraphrasers = [Paraphraser(count, width).to(device) for count in channels]
    parameters = [value for one in paraphrasers for value in one.parameters()]
    optimizer = torch.optim.Adam(parameters, LEARNING_RATE)
    generator = np.random.default_rng(seed)
    last = [1.0] * len(paraphrasers)
    with progress.stage("train paraphrasers", total=steps) as stage:
        for _ in range(steps):
            drawn = generator.choice(image_count, min(BATCH_SIZE, image_count), replace=False)
            features = [one.detach().float() for one in features_of(drawn.tolist())]
            errors = torch.stack(
                [
                    F.mse_loss(paraphraser(one), one) / one.square().mean().clamp_min(1e-12)
                    for paraphraser, one in zip(paraphrasers, features, strict=True)
                ]
            )
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(errors.sum())
            optimizer.step()
            last = errors.tolist()
            stage.advance()
            stage.note(f"error {max(last):.3f}")
    for paraphraser in paraphrasers:
        paraphraser.eval().requires_grad_(False)
    return paraphrasers, last
