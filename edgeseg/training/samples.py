"""Images of a training run, prepared and augmented.

What is drawn depends on seed, pass and image only: a run that was killed and resumed therefore
sees exactly what an uninterrupted one sees, with any number of loader threads.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..contract import InputContract, OutputContract
from ..data.folder import FolderDataset, Pair
from ..lazy import require
from .recipes import Recipe

FULL_TURN = 2 * np.pi
IMAGE = "image"
LABEL = "label"
KEPT_BYTES = 2**31  # of prepared images in memory

# Further planes (C, h, w) of an image, float32, by name; their size may be another than the
# image's. They are turned and flipped with it.
Companions = Callable[[Pair, NDArray[Any]], Mapping[str, NDArray[np.float32]]]


@dataclass(frozen=True)
class Draw:
    """One image in one pass over the data set; passes count from 1."""

    turn: int
    index: int


class Sample(NamedTuple):
    """One image as the network sees it.

    Attributes:
        image: (C, h, w), float32.
        labels: (h, w), int64; None where the image has no label.
        companions: What goes with it, (C, h', w') each.
    """

    image: Tensor
    labels: Tensor | None
    companions: dict[str, Tensor]


def make_augmentation(
    recipe: Recipe, *, is_square: bool = True, names: tuple[str, ...] = (IMAGE, LABEL)
) -> Any:
    """MONAI transform of a dictionary of planes (C, H, W), the same motion for all of them.

    Quarter turns are left out where height and width differ: they would exchange them. Half
    turns come from the flips.

    Args:
        is_square: Whether all planes are.
        names: Of the entries; `label` is taken for class indices, the others for values.
    """
    transforms = require("monai.transforms", purpose="Training")
    steps = [
        transforms.RandFlipd(names, prob=recipe.flip_probability, spatial_axis=axis)
        for axis in (0, 1)
    ]
    if recipe.rotation == "quarter" and is_square:
        steps.append(transforms.RandRotate90d(names, prob=0.75, max_k=3))
    elif recipe.rotation == "any":
        steps.append(
            transforms.RandRotated(
                names,
                range_x=FULL_TURN,
                prob=0.5,
                mode=["nearest" if name == LABEL else "bilinear" for name in names],
                padding_mode="zeros",
            )
        )
    return transforms.Compose(steps)


class TrainingImages:
    """A data set that can be drawn from; two gibibytes of prepared images stay in memory.

    Args:
        dataset: Pairs without masks give samples without labels.
        inputs, outputs: The contracts of the network.
        recipe: Augmentation and seed.
        companions: Makes further planes of each image.
        stream: Two data sets of one run that differ in it see different random numbers.
    """

    def __init__(
        self,
        dataset: FolderDataset,
        inputs: InputContract,
        outputs: OutputContract,
        recipe: Recipe,
        *,
        companions: Companions | None = None,
        stream: int = 0,
    ) -> None:
        self.dataset = dataset
        self.inputs = inputs
        self.outputs = outputs
        self.recipe = recipe
        self.companions = companions
        self.stream = stream
        self._of_thread = threading.local()
        self._kept: dict[int, dict[str, Tensor]] = {}
        self._kept_bytes = 0

    def __len__(self) -> int:
        return len(self.dataset)

    def load(self, draw: Draw) -> Sample:
        """The image as that pass shows it."""
        planes = self._kept.get(draw.index) or self._prepare(draw.index)
        moved = self._augment(planes, draw)
        image = moved.pop(IMAGE)
        label = moved.pop(LABEL, None)
        return Sample(image, None if label is None else label[0].round().long(), moved)

    def _prepare(self, index: int) -> dict[str, Tensor]:
        pair = self.dataset[index]
        pixels = pair.read_image(self.inputs)
        planes: dict[str, Tensor] = {
            IMAGE: torch.from_numpy(self.inputs.prepare(pixels)[0]),
        }
        if pair.mask_path is not None:
            labels = pair.read_labels(len(self.outputs.classes), self.outputs.ignore)
            small = self.outputs.shrink_labels(labels, self.inputs.height, self.inputs.width)
            planes[LABEL] = torch.from_numpy(small[None].astype(np.float32))
        if self.companions is not None:
            for name, plane in self.companions(pair, pixels).items():
                planes[name] = torch.from_numpy(plane)
        # Decoding and resizing cost a third of a step of a small network.
        size = sum(plane.nbytes for plane in planes.values())
        if self._kept_bytes + size <= KEPT_BYTES:
            self._kept_bytes += size
            self._kept[index] = planes
        return planes

    def _augment(self, planes: dict[str, Tensor], draw: Draw) -> dict[str, Tensor]:
        if not hasattr(self._of_thread, "augment"):
            # One for each thread, since it holds a random state.
            self._of_thread.augment = make_augmentation(
                self.recipe,
                is_square=all(plane.shape[1] == plane.shape[2] for plane in planes.values()),
                names=tuple(planes),
            )
        augment = self._of_thread.augment
        seeds = np.random.SeedSequence((self.recipe.seed, draw.turn, draw.index, self.stream))
        augment.set_random_state(seed=int(seeds.generate_state(1)[0]))
        return {name: _plain(plane) for name, plane in augment(planes).items()}


def _plain(tensor: Any) -> Tensor:
    result: Tensor = tensor.as_tensor() if hasattr(tensor, "as_tensor") else tensor
    return result.contiguous()


def class_shares(dataset: Iterable[Any], outputs: OutputContract) -> list[float]:
    """Share of each class in the pixels of a data set, background first."""
    count = len(outputs.classes)
    shares = []
    for pair in dataset:
        labels = pair.read_labels(count, outputs.ignore)
        counts = np.bincount(labels.ravel(), minlength=count)[:count]
        shares.append(counts / max(counts.sum(), 1))
    return [float(share) for share in np.mean(shares, axis=0)]
