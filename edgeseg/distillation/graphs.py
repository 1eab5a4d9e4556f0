"""Salience graphs of feature maps, and how they vary from layer to layer.

The core loss of Graph Flow (arXiv:2203.08667) was published in words only. What follows is our
formulation of it. F is a feature map (C, H, W) of one image.

Salience operation: channel c is strongest at x_c = argmax F_c; S_c are the values of F_c in the
3 x 3 patch about x_c, moved inside where x_c lies on the border.

Salience graph: one node a channel.
    vertices  V = (S_1, ..., S_C), C x 9
    edges     E_ij = <S_i, S_j>, C x C, the correlation of two channels' patches

Variation graph between layers a and b of equal C:  dV = V_b - V_a,  dE = E_b - E_a.

Normalised graphs divide each S_c by its length first: the edges are cosines then, and neither
depends on the scale of the features.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import TrainingError

PATCH = 3  # pixels, side of a salience patch


class Graph(NamedTuple):
    """A graph an image.

    Attributes:
        vertices: (N, C, 9).
        edges: (N, C, C), symmetric.
    """

    vertices: Tensor
    edges: Tensor


def salience_patches(features: Tensor) -> Tensor:
    """Values about the strongest activation of each channel: (N, C, 9) of (N, C, H, W).

    Where several are equally strong, the first in reading order counts. The gradient goes to the
    values, none to the choice of the place.

    Raises:
        TrainingError: The map is smaller than a patch.
    """
    height, width = features.shape[2:]
    if min(height, width) < PATCH:
        raise TrainingError(
            f"A feature map of {height}x{width} holds no patch of {PATCH}x{PATCH}. Tap a layer of "
            "higher resolution, or train at a larger --size."
        )
    flat = features.flatten(2)
    strongest = flat.argmax(dim=2)
    margin = PATCH // 2
    rows = (strongest // width).clamp(margin, height - 1 - margin)
    columns = (strongest % width).clamp(margin, width - 1 - margin)
    steps = torch.arange(-margin, margin + 1, device=features.device)
    offsets = (steps[:, None] * width + steps).flatten()
    places = (rows * width + columns)[..., None] + offsets
    return flat.gather(2, places)


def salience_graph(features: Tensor, *, normalized: bool = False) -> Graph:
    """Vertices and edges of each image's features (N, C, H, W)."""
    vertices = salience_patches(features.float())
    if normalized:
        vertices = F.normalize(vertices, dim=2)
    return Graph(vertices, vertices @ vertices.transpose(1, 2))


def variation_graph(first: Graph, second: Graph) -> Graph:
    """What changes from one layer's graph to the next one's."""
    return Graph(second.vertices - first.vertices, second.edges - first.edges)
