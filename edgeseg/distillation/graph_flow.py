"""The graph-flow loss: the student's features shall vary through the network as the teacher's."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from .graphs import Graph, salience_graph, variation_graph


def graph_flow_loss(
    student: Sequence[Tensor], teacher: Sequence[Tensor], *, normalized: bool = False
) -> tuple[Tensor, Tensor]:
    """Distance of the variation graphs of two networks, vertices and edges apart.

    Our formulation (see `edgeseg.distillation.graphs`). For layers l = 1..L of either network, each
    with k channels, and n = 1..N images:

        L_V = sum_{l<L} 1/N sum_n || dV_T(l, l+1) - dV_S(l, l+1) ||^2
        L_E = sum_{l<L} 1/N sum_n || dE_T(l, l+1) - dE_S(l, l+1) ||^2

    with the Frobenius norm. The weights of the paper, 1e-5 and 1e-8, are for these sums. The
    normalised form takes graphs of unit patches and means over all entries in place of sums, so
    that its terms are of the order of 1 or below for any network, k and L; weights of the order of
    1 go with it.

    Args:
        student, teacher: Features of the same images in the same number of layers, at least two,
            (N, k, H, W) each; heights and widths may differ. No gradient goes to the teacher.

    Returns:
        L_V and L_E, scalars >= 0.
    """
    if len(student) != len(teacher) or len(student) < 2:
        raise ValueError(
            f"Graph flow needs two or more layers of each network, got {len(student)} and "
            f"{len(teacher)}."
        )
    found = _flow(student, normalized=normalized)
    with torch.no_grad():
        wanted = _flow(teacher, normalized=normalized)
    pairs = list(zip(found, wanted, strict=True))
    vertices = [_distance(ours.vertices, theirs.vertices, normalized) for ours, theirs in pairs]
    edges = [_distance(ours.edges, theirs.edges, normalized) for ours, theirs in pairs]
    if normalized:
        return torch.stack(vertices).mean(), torch.stack(edges).mean()
    return torch.stack(vertices).sum(), torch.stack(edges).sum()


def _flow(features: Sequence[Tensor], *, normalized: bool) -> list[Graph]:
    graphs = [salience_graph(one, normalized=normalized) for one in features]
    return [variation_graph(first, second) for first, second in itertools.pairwise(graphs)]


def _distance(ours: Tensor, theirs: Tensor, normalized: bool) -> Tensor:
    squares = (ours - theirs).square()
    return squares.mean() if normalized else squares.sum((1, 2)).mean()
