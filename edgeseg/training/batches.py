"""Batches of a training run, all labelled or half and half."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import UsageError
from .recipes import Recipe
from .samples import Draw, Sample, TrainingImages

BATCHES_AHEAD = 3
RESCALING = 1  # sets its random numbers apart from those of the augmentation

Plan = list[tuple[TrainingImages, Draw]]  # of one batch


class Batch(NamedTuple):
    """Images of one step; those with labels come first.

    Attributes:
        image: (N, C, h, w).
        labels: (L, h, w), int64, of the first L images, 0 <= L <= N.
        companions: What goes with the images, (N, C, h', w') each.
    """

    image: Tensor
    labels: Tensor
    companions: dict[str, Tensor]


def pass_order(count: int, recipe: Recipe, turn: int, stream: int = 0) -> list[int]:
    """Order of the images in a pass over them."""
    seeds = np.random.SeedSequence((recipe.seed, turn, stream))
    order: list[int] = np.random.default_rng(seeds).permutation(count).tolist()
    return order


def step_count(image_count: int, batch_size: int) -> int:
    """Batches in one pass; a last batch of one image is dropped, it has no statistics."""
    full, rest = divmod(image_count, batch_size)
    return full + (rest > 1 or full == 0)


def draw_pass(images: TrainingImages, size: int, turn: int) -> list[list[Draw]]:
    """Draws of the batches of one whole pass; the last may be smaller."""
    order = pass_order(len(images), images.recipe, turn, images.stream)
    return [
        [Draw(turn, index) for index in order[step * size : (step + 1) * size]]
        for step in range(step_count(len(order), size))
    ]


def draw_on(images: TrainingImages, size: int, steps: int, epoch: int) -> list[list[Draw]]:
    """Draws of the batches of one epoch, passes following each other through the whole run."""
    count = len(images)
    orders: dict[int, list[int]] = {}

    def draw(place: int) -> Draw:
        turn, rest = divmod(place, count)
        if turn not in orders:
            orders[turn] = pass_order(count, images.recipe, turn + 1, images.stream)
        return Draw(turn + 1, orders[turn][rest])

    first = (epoch - 1) * steps
    return [
        [draw(step * size + place) for place in range(size)] for step in range(first, first + steps)
    ]


class Feed:
    """Batches epoch by epoch.

    An epoch is one pass over the images, with and without labels over those that take longer, or
    the recipe's `epoch_steps` batches.

    Args:
        labelled: Fills the batches, or half of them (the larger half) beside `unlabelled`.
        unlabelled: None for supervised training.
        workers: Threads that load ahead; 0 loads on demand. Threads, because decoding, resizing
            and augmentation leave Python's lock alone, and because forking a process in which
            runtimes have started threads of their own crashes.

    Raises:
        UsageError: A batch of one image cannot be halved.
    """

    def __init__(
        self,
        labelled: TrainingImages,
        unlabelled: TrainingImages | None = None,
        *,
        workers: int = 0,
    ) -> None:
        self.recipe = labelled.recipe
        size = self.recipe.batch_size
        self.parts = [(labelled, size)]
        if unlabelled is not None:
            if size < 2:
                raise UsageError(
                    "A batch of 1 cannot hold an image with and one without a label. Use "
                    "--batch-size 2 or more."
                )
            self.parts = [(labelled, size - size // 2), (unlabelled, size // 2)]
        self.workers = workers

    @property
    def _passes(self) -> list[int]:
        """Batches in one pass over each part."""
        return [step_count(len(images), size) for images, size in self.parts]

    @property
    def steps(self) -> int:
        """Batches in an epoch."""
        return self.recipe.epoch_steps or max(self._passes)

    def plan(self, epoch: int) -> list[Plan]:
        """What each batch of an epoch consists of."""
        plans: list[Plan] = [[] for _ in range(self.steps)]
        leader = None if self.recipe.epoch_steps else np.argmax(self._passes)
        for index, (images, size) in enumerate(self.parts):
            steps = (
                draw_pass(images, size, epoch)
                if index == leader
                else draw_on(images, size, self.steps, epoch)
            )
            for plan, draws in zip(plans, steps, strict=True):
                plan.extend((images, draw) for draw in draws)
        return plans

    def batches(self, epoch: int) -> Iterator[Batch]:
        plans = self.plan(epoch)
        if self.workers == 0:
            for plan in plans:
                yield _stack(images.load(draw) for images, draw in plan)
            return
        with ThreadPoolExecutor(self.workers) as pool:
            ahead: deque[list[Future[Sample]]] = deque()
            try:
                for plan in plans:
                    ahead.append([pool.submit(images.load, draw) for images, draw in plan])
                    if len(ahead) > BATCHES_AHEAD:
                        yield _stack(future.result() for future in ahead.popleft())
                while ahead:
                    yield _stack(future.result() for future in ahead.popleft())
            finally:
                pool.shutdown(cancel_futures=True)


def _stack(samples: Iterable[Sample]) -> Batch:
    drawn = list(samples)
    image = torch.stack([sample.image for sample in drawn])
    labels = [sample.labels for sample in drawn if sample.labels is not None]
    return Batch(
        image,
        torch.stack(labels) if labels else torch.empty((0, *image.shape[2:]), dtype=torch.int64),
        {
            name: torch.stack([sample.companions[name] for sample in drawn])
            for name in drawn[0].companions
        },
    )


def rescale_batch(batch: Batch, recipe: Recipe, stride: int, epoch: int, step: int) -> Batch:
    """Bring images and labels to one of the recipe's scales, drawn anew for each batch.

    Args:
        stride: Of the network; sides are rounded to multiples of it.
    """
    if not recipe.scales:
        return batch
    seeds = np.random.SeedSequence((recipe.seed, epoch, step, RESCALING))
    scale = recipe.scales[int(np.random.default_rng(seeds).integers(len(recipe.scales)))]
    size = [max(round(side * scale / stride), 1) * stride for side in batch.image.shape[2:]]
    image = F.interpolate(batch.image, size=size, mode="bilinear", align_corners=False)
    nearest = F.interpolate(batch.labels[:, None].float(), size=size, mode="nearest")
    return Batch(image, nearest[:, 0].long(), batch.companions)
