"""Training batches whose content depends on seed, epoch and image only.

A run that was killed and resumed therefore sees exactly what an uninterrupted one sees, with any
number of loader threads.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..contract import InputContract, OutputContract
from ..data.folder import FolderDataset
from ..lazy import require
from .recipes import Recipe

FULL_TURN = 2 * np.pi
BATCHES_AHEAD = 3


def make_augmentation(recipe: Recipe, *, is_square: bool = True) -> Any:
    """MONAI transform of a dictionary with `image` (3, H, W) and `label` (1, H, W).

    Quarter turns are left out where height and width differ: they would exchange them. Half
    turns come from the flips.
    """
    transforms = require("monai.transforms", purpose="Training")
    keys = ("image", "label")
    steps = [
        transforms.RandFlipd(keys, prob=recipe.flip_probability, spatial_axis=axis)
        for axis in (0, 1)
    ]
    if recipe.rotation == "quarter" and is_square:
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


class TrainingImages:
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
        self._of_thread = threading.local()

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image, labels = self.dataset[index].read_both(len(self.outputs.classes))
        small = self.outputs.shrink_labels(labels, self.inputs.height, self.inputs.width)
        seeds = np.random.SeedSequence((self.recipe.seed, self.epoch, index))
        if not hasattr(self._of_thread, "augment"):
            # One for each thread, since it holds a random state.
            self._of_thread.augment = make_augmentation(
                self.recipe, is_square=self.inputs.height == self.inputs.width
            )
        augment = self._of_thread.augment
        augment.set_random_state(seed=int(seeds.generate_state(1)[0]))
        out = augment(
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


def step_count(image_count: int, batch_size: int) -> int:
    """Batches in an epoch; a last batch of one image is dropped, it has no statistics."""
    full, rest = divmod(image_count, batch_size)
    return full + (rest > 1 or full == 0)


def epoch_batches(images: TrainingImages, workers: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of one epoch, images (N, 3, h, w) and labels (N, h, w).

    Args:
        workers: Threads that load ahead; 0 loads on demand. Threads, because decoding, resizing
            and augmentation leave Python's lock alone, and because forking a process in which
            runtimes have started threads of their own crashes.
    """
    size = images.recipe.batch_size
    order = epoch_order(len(images), images.recipe, images.epoch)
    steps = [order[step * size : (step + 1) * size] for step in range(step_count(len(order), size))]
    if workers == 0:
        for step in steps:
            yield _stack(map(images.__getitem__, step))
        return
    with ThreadPoolExecutor(workers) as pool:
        ahead: deque[list[Future[tuple[Tensor, Tensor]]]] = deque()
        try:
            for step in steps:
                ahead.append([pool.submit(images.__getitem__, index) for index in step])
                if len(ahead) > BATCHES_AHEAD:
                    yield _stack(future.result() for future in ahead.popleft())
            while ahead:
                yield _stack(future.result() for future in ahead.popleft())
        finally:
            pool.shutdown(cancel_futures=True)


def _stack(pairs: Iterable[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    images, labels = zip(*pairs, strict=True)
    return torch.stack(images), torch.stack(labels)


def rescale_batch(
    images: Tensor, labels: Tensor, recipe: Recipe, epoch: int, step: int
) -> tuple[Tensor, Tensor]:
    """Bring a batch to one of the recipe's scales, drawn anew for each batch."""
    if not recipe.scales:
        return images, labels
    generator = np.random.default_rng(np.random.SeedSequence((recipe.seed, epoch, step, 1)))
    scale = recipe.scales[int(generator.integers(len(recipe.scales)))]
    size = [round(side * scale) for side in images.shape[2:]]
    resized = F.interpolate(images, size=size, mode="bilinear", align_corners=False)
    nearest = F.interpolate(labels[:, None].float(), size=size, mode="nearest")
    return resized, nearest[:, 0].long()


def class_shares(dataset: FolderDataset, outputs: OutputContract) -> list[float]:
    """Share of each class in the pixels of a data set, background first."""
    count = len(outputs.classes)
    totals = np.zeros(count)
    for pair in dataset:
        labels = pair.read_labels(count)
        totals += np.bincount(labels.ravel(), minlength=count) / labels.size
    return [float(share) for share in totals / len(dataset)]
