"""Training batches whose content depends on seed, epoch and image only.

A run that was killed and resumed therefore sees exactly what an uninterrupted one sees, with any
number of loader processes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ..contract import InputContract, OutputContract
from ..data.folder import FolderDataset
from ..lazy import require
from .recipes import Recipe

FULL_TURN = 2 * np.pi


def make_augmentation(recipe: Recipe) -> Any:
    """MONAI transform of a dictionary with `image` (3, H, W) and `label` (1, H, W)."""
    transforms = require("monai.transforms", purpose="Training")
    keys = ("image", "label")
    steps = [
        transforms.RandFlipd(keys, prob=recipe.flip_probability, spatial_axis=axis)
        for axis in (0, 1)
    ]
    if recipe.rotation == "quarter":
        steps.append(transforms.RandRotate90d(keys, prob=0.75, max_k=3))
    elif recipe.rotation == "any":
        steps.append(
            transforms.RandRotated(
                keys,
                range_x=FULL_TURN,
                prob=0.5,
                mode=("bilinear", "nearest"),
                padding_mode="zeros",
            )
        )
    return transforms.Compose(steps)


class TrainingImages(Dataset[tuple[Tensor, Tensor]]):
    """Prepared and augmented images of one epoch: image (3, h, w) float32, labels (h, w) int64."""

    def __init__(
        self,
        dataset: FolderDataset,
        inputs: InputContract,
        outputs: OutputContract,
        recipe: Recipe,
        epoch: int,
    ) -> None:
        self.dataset = dataset
        self.inputs = inputs
        self.outputs = outputs
        self.recipe = recipe
        self.epoch = epoch
        self.augment = make_augmentation(recipe)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image, labels = self.dataset[index].read_both(len(self.outputs.classes))
        small = self.outputs.shrink_labels(labels, self.inputs.height, self.inputs.width)
        seeds = np.random.SeedSequence((self.recipe.seed, self.epoch, index))
        self.augment.set_random_state(seed=int(seeds.generate_state(1)[0]))
        out = self.augment(
            {
                "image": torch.from_numpy(self.inputs.prepare(image)[0]),
                "label": torch.from_numpy(small[None].astype(np.float32)),
            }
        )
        return _plain(out["image"]), _plain(out["label"])[0].round().long()


def _plain(tensor: Any) -> Tensor:
    result: Tensor = tensor.as_tensor() if hasattr(tensor, "as_tensor") else tensor
    return result.contiguous()


def epoch_order(count: int, recipe: Recipe, epoch: int) -> list[int]:
    seeds = np.random.SeedSequence((recipe.seed, epoch))
    order: list[int] = np.random.default_rng(seeds).permutation(count).tolist()
    return order


def epoch_batches(images: TrainingImages, workers: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of one epoch; a last batch of one image is dropped, it has no statistics."""
    recipe = images.recipe
    order = epoch_order(len(images), recipe, images.epoch)
    loader = DataLoader(
        images,
        batch_size=recipe.batch_size,
        sampler=order,
        num_workers=workers,
        drop_last=len(images) > recipe.batch_size and len(images) % recipe.batch_size == 1,
    )
    yield from loader
