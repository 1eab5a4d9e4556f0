"""Unlabelled images that are mixed with one another, and what goes with them alike."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..training.batches import Batch

BOX_AREA = 0.5  # share of the image that a box covers


def blend_unlabelled(batch: Batch, chance: float) -> Batch:
    """Blend each unlabelled image with another of them, by that chance, in shares drawn evenly.

    There must be two of them or more. Companions of the shape (N, C, h, w) are blended alike.
    Random numbers are torch's. Source: mixup, Zhang et al. 2018 (arXiv:1710.09412), with shares
    from Beta(1, 1).
    """
    others = _draw_others(batch)
    is_blended = _draw_images(batch, chance)
    share = torch.where(is_blended, torch.rand(len(others)), 1.0)[:, None, None, None]
    return _mix(batch, others, lambda height, width: share)


def cut_unlabelled(batch: Batch, chance: float) -> Batch:
    """Paste a box of another unlabelled image into each, by that chance.

    The box covers half of the image and has any aspect from 1:2 to 2:1 of the image's. There must
    be two unlabelled images or more. Companions of the shape (N, C, h, w), whatever their size, get
    the same part. Random numbers are torch's. Source: CutMix, Yun et al. 2019 (arXiv:1905.04899),
    for segmentation as by French et al. 2020 (arXiv:1906.01916).
    """
    others = _draw_others(batch)
    is_cut = _draw_images(batch, chance)
    count = len(others)
    rows = BOX_AREA ** torch.rand(count)
    sides = torch.stack((rows, BOX_AREA / rows))
    first = torch.rand(2, count) * (1 - sides)
    last = first + sides

    def inside(axis: int, length: int) -> Tensor:
        places = (torch.arange(length) + 0.5) / length
        return (places >= first[axis, :, None]) & (places < last[axis, :, None])

    def own_share(height: int, width: int) -> Tensor:
        box = inside(0, height)[:, :, None] & inside(1, width)[:, None, :]
        return (~(box & is_cut[:, None, None])).float()[:, None]

    return _mix(batch, others, own_share)


def _draw_others(batch: Batch) -> Tensor:
    """For each image the number of the one to mix it with; with labels its own."""
    first, count = len(batch.labels), len(batch.image)
    others = torch.arange(count)
    circle = first + torch.randperm(count - first)
    others[circle] = circle.roll(1)
    return others


def _draw_images(batch: Batch, chance: float) -> Tensor:
    """Which images are to be mixed; those with labels are not."""
    drawn = torch.rand(len(batch.image)) < chance
    drawn[: len(batch.labels)] = False
    return drawn


def _mix(batch: Batch, others: Tensor, own_share: Callable[[int, int], Tensor]) -> Batch:
    """Mix by the share that an image keeps, broadcast to (N, 1, h, w) for planes of that size."""

    def mix(planes: Tensor) -> Tensor:
        own = own_share(planes.shape[2], planes.shape[3]).to(planes)
        return own * planes + (1 - own) * planes[others.to(planes.device)]

    companions = {name: mix(planes) for name, planes in batch.companions.items()}
    return batch._replace(image=mix(batch.image), companions=companions)
