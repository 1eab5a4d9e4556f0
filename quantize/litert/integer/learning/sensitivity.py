"""Which tensors of an integer-only model change its logits the most."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ....distillation.graph import TorchGraph
from ..grids import Groups
from .graph import LOGITS
from .rounding import IntegerRounding


def most_sensitive(
    graph: TorchGraph,
    groups: Groups,
    rounding: IntegerRounding,
    images: Sequence[Tensor],
    share: float,
) -> frozenset[int]:
    """A share, 0..1, of the groups that may be of int16: those whose rounding matters most."""
    effects = rounding_effects(graph, groups, rounding, images)
    free = sorted(groups.may_be_wide - groups.wide, key=lambda one: -effects.get(one, 0.0))
    return frozenset(free[: round(share * len(free))])


def rounding_effects(
    graph: TorchGraph, groups: Groups, rounding: IntegerRounding, images: Sequence[Tensor]
) -> dict[int, float]:
    """By how much the rounding of each group of tensors changes the logits, in arbitrary units.

        effect = sum over images and elements of (d s / d x)^2 e^2,
        s = sum over pixels of v sqrt(4 p (1 - p)) logit

    with an element x, the error e of its rounding, the probability p of its pixel, and random
    signs v: the expectation over v is the squared change of all logits, weighted towards uncertain
    pixels, of errors that do not correlate. One backward pass for each image finds all of them.

    Source: Hutchinson 1990, doi:10.1080/03610919008812866 (random signs); the weights are those of
    `distillation_loss`.
    """
    effects: dict[int, float] = {}
    generator = torch.Generator().manual_seed(0)
    for image in images:
        kept: dict[str, Tensor] = {}

        def keep(name: str, value: Tensor, kept: dict[str, Tensor] = kept) -> Tensor:
            if rounding.grid_of(name) is None:
                return value
            if value.requires_grad:
                value.retain_grad()
            else:
                value = value.detach().requires_grad_()
            kept[name] = value
            return value

        logits = graph.run({graph.input_name: image}, [LOGITS], keep)[LOGITS]
        shares = logits.detach()
        shares = torch.sigmoid(shares) if shares.shape[1] == 1 else torch.softmax(shares, 1)
        signs = torch.randint(0, 2, logits.shape, generator=generator) * 2 - 1
        (logits * signs * (4 * shares * (1 - shares)).sqrt()).sum().backward()  # type: ignore[no-untyped-call]
        for name, value in kept.items():
            if value.grad is None:
                continue
            with torch.no_grad():
                error = (rounding.exchange(name, value) - value).double()
                effect = float((value.grad.double() ** 2 * error**2).sum())
            place = groups.of_tensor[int(name)]
            effects[place] = effects.get(place, 0.0) + effect
    return effects
