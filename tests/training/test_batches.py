from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support import draw_pair, needs

torch = pytest.importorskip("torch")

from edgeseg.data.folder import FolderDataset, Pair, open_folder
from edgeseg.data.label_subset import forget_labels
from edgeseg.errors import UsageError
from edgeseg.models import find_model
from edgeseg.training.batches import Batch, Feed, pass_order, rescale_batch
from edgeseg.training.recipes import Recipe
from edgeseg.training.samples import Draw, TrainingImages

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


def images_of(dataset: FolderDataset, recipe: Recipe, **options: Any) -> TrainingImages:
    return TrainingImages(dataset, SPEC.inputs, SPEC.outputs, recipe, **options)


def load(images: TrainingImages, index: int, turn: int = 1) -> tuple[Any, Any]:
    image, labels, _ = images.load(Draw(turn, index))
    return image, labels


def batches_of(dataset: FolderDataset, recipe: Recipe, epoch: int = 1, workers: int = 0) -> Any:
    return list(Feed(images_of(dataset, recipe), workers=workers).batches(epoch))


def all_equal(ours: list[Batch], theirs: list[Batch]) -> bool:
    return len(ours) == len(theirs) and all(
        torch.equal(a, b)
        for mine, other in zip(ours, theirs, strict=True)
        for a, b in zip(mine[:2], other[:2], strict=True)
    )


def test_shapes_and_types(drawn: FolderDataset) -> None:
    image, labels, companions = batches_of(drawn, RECIPE)[0]
    assert companions == {}
    assert (image.shape, image.dtype) == ((2, 3, 32, 32), torch.float32)
    assert (labels.shape, labels.dtype) == ((2, 32, 32), torch.int64)
    assert set(labels.unique().tolist()) == {0, 1}


def test_without_augmentation_images_are_prepared_ones(drawn: FolderDataset) -> None:
    image, labels = load(images_of(drawn, STILL), 3)
    pixels, truth = drawn[3].read_both(2)
    assert np.array_equal(image.numpy(), SPEC.inputs.prepare(pixels)[0])
    assert np.array_equal(labels.numpy(), truth)


def test_two_sure_flips_are_half_a_turn(drawn: FolderDataset) -> None:
    turned, turned_labels = load(images_of(drawn, replace(STILL, flip_probability=1.0)), 2)
    image, labels = load(images_of(drawn, STILL), 2)
    assert torch.equal(turned, image.flip(1, 2))
    assert torch.equal(turned_labels, labels.flip(0, 1))


def test_masks_move_with_their_images(drawn: FolderDataset) -> None:
    seen = set()
    for epoch in range(1, 9):
        image, labels = load(images_of(drawn, RECIPE), 0, epoch)
        assert torch.equal(image[0] > 127, labels == 1)
        seen.add(labels.numpy().tobytes())
    assert len(seen) > 2


def test_masks_move_with_their_images_at_any_angle(drawn: FolderDataset) -> None:
    recipe = replace(RECIPE, rotation="any")
    for epoch in range(1, 9):
        image, labels = load(images_of(drawn, recipe), 1, epoch)
        # Bilinear and nearest part at edges only.
        assert float(((image[0] > 127) == (labels == 1)).float().mean()) > 0.95


def test_number_of_workers_changes_nothing(drawn: FolderDataset) -> None:
    assert all_equal(batches_of(drawn, RECIPE), batches_of(drawn, RECIPE, workers=2))


def test_batches_do_not_depend_on_what_was_drawn_before(drawn: FolderDataset) -> None:
    feed = Feed(images_of(drawn, RECIPE))
    first = list(feed.batches(1))
    np.random.seed(99)
    torch.manual_seed(99)
    assert all_equal(first, list(feed.batches(1)))
    assert all_equal(first, batches_of(drawn, RECIPE))


@pytest.mark.parametrize("change", [{"epoch": 2}, {"seed": 43}])
def test_other_epoch_or_seed_gives_other_batches(
    drawn: FolderDataset, change: dict[str, int]
) -> None:
    recipe = RECIPE.changed(seed=change.get("seed"))
    others = batches_of(drawn, recipe, change.get("epoch", 1))
    assert not all_equal(batches_of(drawn, RECIPE), others)


def test_every_image_comes_once_a_pass() -> None:
    orders = [pass_order(7, RECIPE, turn) for turn in (1, 2)]
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
    batches = batches_of(few, replace(RECIPE, batch_size=batch))
    assert [len(batch.image) for batch in batches] == sizes


def test_passes_follow_each_other_through_epochs_of_a_given_length(drawn: FolderDataset) -> None:
    feed = Feed(images_of(drawn, replace(RECIPE, epoch_steps=4)))
    assert feed.steps == 4
    draws = [draw for epoch in (1, 2) for plan in feed.plan(epoch) for _, draw in plan]
    assert len(draws) == 2 * 4 * 2
    assert [draw.turn for draw in draws] == [1] * 5 + [2] * 5 + [3] * 5 + [4]
    for turn in (1, 2, 3):
        assert sorted(draw.index for draw in draws if draw.turn == turn) == list(range(5))


def halves(dataset: FolderDataset, labelled: int, recipe: Recipe) -> Feed:
    some = replace(dataset, pairs=dataset.pairs[:labelled])
    others = forget_labels(replace(dataset, pairs=dataset.pairs[labelled:]))
    return Feed(images_of(some, recipe), images_of(others, recipe, stream=2))


@pytest.mark.parametrize(("batch", "with_labels"), [(2, 1), (3, 2), (4, 2)])
def test_half_of_a_batch_has_labels(drawn: FolderDataset, batch: int, with_labels: int) -> None:
    feed = halves(drawn, 2, replace(RECIPE, batch_size=batch, epoch_steps=3))
    batches = list(feed.batches(1))
    assert len(batches) == feed.steps == 3
    for one in batches:
        assert (len(one.image), len(one.labels)) == (batch, with_labels)
        assert torch.equal(one.image[:with_labels, 0] > 127, one.labels == 1)


def test_an_epoch_is_one_pass_over_the_unlabelled_images(drawn: FolderDataset) -> None:
    feed = halves(drawn, 2, RECIPE)
    seen = [plan[1][1].index for plan in feed.plan(3)]
    assert sorted(seen) == [0, 1, 2]
    assert {plan[1][1].turn for plan in feed.plan(3)} == {3}


def test_a_few_unlabelled_images_do_not_cut_a_pass_short(drawn: FolderDataset) -> None:
    feed = halves(drawn, 4, RECIPE)
    seen = [plan[0][1].index for plan in feed.plan(2)]
    assert sorted(seen) == [0, 1, 2, 3]
    assert {plan[1][1].index for plan in feed.plan(2)} == {0}


def test_a_batch_of_one_cannot_be_halved(drawn: FolderDataset) -> None:
    with pytest.raises(UsageError, match="Use --batch-size 2 or more"):
        halves(drawn, 2, replace(RECIPE, batch_size=1))


def test_companions_move_with_their_image(drawn: FolderDataset) -> None:
    def red(pair: Pair, pixels: Any) -> dict[str, Any]:
        return {"red": np.repeat(np.repeat(pixels[None, ..., 0], 2, 1), 2, 2).astype(np.float32)}

    images = images_of(drawn, RECIPE, companions=red)
    for turn in range(1, 9):
        image, _, companions = images.load(Draw(turn, 0))
        assert companions["red"].shape == (1, 64, 64)
        assert torch.equal(companions["red"][:, ::2, ::2], image[:1])


def test_rescaled_batches_leave_companions_alone(drawn: FolderDataset) -> None:
    recipe = replace(RECIPE, scales=(0.5,))
    batch = batches_of(drawn, recipe)[0]._replace(companions={"plane": torch.ones(2, 1, 8, 8)})
    small = rescale_batch(batch, recipe, 16, 1, 0)
    assert small.image.shape == (2, 3, 16, 16)
    assert (small.labels.shape, small.labels.dtype) == ((2, 16, 16), torch.int64)
    assert small.companions["plane"].shape == (2, 1, 8, 8)


@pytest.mark.parametrize(("scale", "side"), [(0.7, 16), (0.8, 32), (0.01, 16), (1.6, 48)])
def test_scales_keep_to_the_stride_of_the_network(
    drawn: FolderDataset, scale: float, side: int
) -> None:
    recipe = replace(RECIPE, scales=(scale,))
    batch = batches_of(drawn, recipe)[0]
    assert rescale_batch(batch, recipe, 16, 1, 0).image.shape == (2, 3, side, side)
