from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support import draw_pair, needs

torch = pytest.importorskip("torch")

from edgeseg.data.folder import FolderDataset, open_folder  # noqa: E402
from edgeseg.models import find_model  # noqa: E402
from edgeseg.train.batches import TrainingImages, epoch_batches, epoch_order  # noqa: E402
from edgeseg.train.recipes import Recipe  # noqa: E402

pytestmark = needs("monai")

SPEC = find_model("egeunet").at_size(32, 32)
RECIPE = Recipe("test", batch_size=2, rotation="quarter")
STILL = replace(RECIPE, flip_probability=0.0, rotation="none")


@pytest.fixture
def drawn(tmp_path: Path) -> FolderDataset:
    """Five pairs whose image is its own mask, black and white."""
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for index in range(5):
        _, mask = draw_pair((32, 32), seed=index)
        mask[: index + 2, :5] = 1  # no symmetry
        for folder in ("images", "masks"):
            Image.fromarray(mask * 255).save(tmp_path / folder / f"{index}.png")
    return open_folder(tmp_path)


def images_of(dataset: FolderDataset, recipe: Recipe, epoch: int = 1) -> TrainingImages:
    return TrainingImages(dataset, SPEC.inputs, SPEC.outputs, recipe, epoch)


def all_equal(ours: list[Any], theirs: list[Any]) -> bool:
    return len(ours) == len(theirs) and all(
        torch.equal(a, b)
        for mine, other in zip(ours, theirs, strict=True)
        for a, b in zip(mine, other, strict=True)
    )


def test_shapes_and_types(drawn: FolderDataset) -> None:
    image, labels = next(epoch_batches(images_of(drawn, RECIPE), 0))
    assert (image.shape, image.dtype) == ((2, 3, 32, 32), torch.float32)
    assert (labels.shape, labels.dtype) == ((2, 32, 32), torch.int64)
    assert set(labels.unique().tolist()) == {0, 1}


def test_without_augmentation_images_are_prepared_ones(drawn: FolderDataset) -> None:
    image, labels = images_of(drawn, STILL)[3]
    pixels, truth = drawn[3].read_both(2)
    assert np.array_equal(image.numpy(), SPEC.inputs.prepare(pixels)[0])
    assert np.array_equal(labels.numpy(), truth)


def test_two_sure_flips_are_half_a_turn(drawn: FolderDataset) -> None:
    turned, turned_labels = images_of(drawn, replace(STILL, flip_probability=1.0))[2]
    image, labels = images_of(drawn, STILL)[2]
    assert torch.equal(turned, image.flip(1, 2))
    assert torch.equal(turned_labels, labels.flip(0, 1))


def test_masks_move_with_their_images(drawn: FolderDataset) -> None:
    seen = set()
    for epoch in range(1, 9):
        image, labels = images_of(drawn, RECIPE, epoch)[0]
        assert torch.equal(image[0] > 127, labels == 1)
        seen.add(labels.numpy().tobytes())
    assert len(seen) > 2


def test_masks_move_with_their_images_at_any_angle(drawn: FolderDataset) -> None:
    recipe = replace(RECIPE, rotation="any")
    for epoch in range(1, 9):
        image, labels = images_of(drawn, recipe, epoch)[1]
        # Bilinear and nearest part at edges only.
        assert float(((image[0] > 127) == (labels == 1)).float().mean()) > 0.95


def test_number_of_workers_changes_nothing(drawn: FolderDataset) -> None:
    images = images_of(drawn, RECIPE)
    assert all_equal(list(epoch_batches(images, 0)), list(epoch_batches(images, 1)))


def test_batches_do_not_depend_on_what_was_drawn_before(drawn: FolderDataset) -> None:
    images = images_of(drawn, RECIPE)
    first = list(epoch_batches(images, 0))
    np.random.seed(99)
    torch.manual_seed(99)
    assert all_equal(first, list(epoch_batches(images, 0)))
    assert all_equal(first, list(epoch_batches(images_of(drawn, RECIPE), 0)))


@pytest.mark.parametrize("change", [{"epoch": 2}, {"seed": 43}])
def test_other_epoch_or_seed_gives_other_batches(
    drawn: FolderDataset, change: dict[str, int]
) -> None:
    recipe = RECIPE.changed(seed=change.get("seed"))
    others = list(epoch_batches(images_of(drawn, recipe, change.get("epoch", 1)), 0))
    assert not all_equal(list(epoch_batches(images_of(drawn, RECIPE), 0)), others)


def test_every_image_comes_once_an_epoch() -> None:
    orders = [epoch_order(7, RECIPE, epoch) for epoch in (1, 2)]
    assert [sorted(order) for order in orders] == [list(range(7))] * 2
    assert orders[0] != orders[1]


@pytest.mark.parametrize(
    ("count", "batch", "sizes"),
    [
        (5, 2, [2, 2]),  # the fifth would be alone
        (4, 2, [2, 2]),
        (5, 3, [3, 2]),
        (1, 2, [1]),
        (3, 1, [1, 1, 1]),
    ],
)
def test_last_batch_of_one_image_is_dropped(
    drawn: FolderDataset, count: int, batch: int, sizes: list[int]
) -> None:
    few = replace(drawn, pairs=drawn.pairs[:count])
    images = images_of(few, replace(RECIPE, batch_size=batch))
    assert [len(image) for image, _ in epoch_batches(images, 0)] == sizes
