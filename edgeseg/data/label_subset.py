"""A share of the labels: what a team has that could afford to label a few images only."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from ..errors import UsageError
from .folder import FolderDataset, Pair


def split_labels(
    dataset: FolderDataset, share: float, seed: int
) -> tuple[FolderDataset, FolderDataset]:
    """Keep the labels of some images and forget those of the others.

    The choice depends on the names and the seed only: it is the same on every machine and for
    every command, and a larger share keeps the images of a smaller one.

    Args:
        share: Of the images, in (0, 1]; at least one keeps its label.
        seed: Another one chooses other images.

    Returns:
        The images with labels, and the others without, both in name order; the second is empty
        where `share` is 1.

    Raises:
        UsageError: `share` is out of bounds.
    """
    if not 0 < share <= 1:
        raise UsageError(
            f"--labels {share:g} is no share of the labels. Give a number above 0 and up to 1, "
            "such as 0.05."
        )
    by_chance = sorted(dataset, key=lambda pair: _digest(pair, seed))
    count = max(round(share * len(dataset)), 1)
    chosen = {pair.name for pair in by_chance[:count]}
    labelled = tuple(pair for pair in dataset if pair.name in chosen)
    others = tuple(pair for pair in dataset if pair.name not in chosen)
    return replace(dataset, pairs=labelled), forget_labels(replace(dataset, pairs=others))


def forget_labels(dataset: FolderDataset) -> FolderDataset:
    """The same images without their masks."""
    return replace(dataset, pairs=tuple(replace(pair, mask_path=None) for pair in dataset))


def _digest(pair: Pair, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}:{pair.name}".encode()).digest()
