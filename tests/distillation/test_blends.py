"""Unlabelled images that are mixed with one another."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from edgeseg.distillation.blends import blend_unlabelled, cut_unlabelled
from edgeseg.training.batches import Batch


def test_only_unlabelled_images_are_blended_and_companions_alike() -> None:
    torch.manual_seed(0)
    values = torch.tensor([10.0, 20.0, 1.0, 2.0, 4.0, 8.0])[:, None, None, None]
    batch = Batch(
        values.expand(6, 3, 4, 4),
        torch.zeros(2, 4, 4).long(),
        {"plane": 100 * values.expand(6, 1, 2, 2)},
    )
    blended = blend_unlabelled(batch, 1.0)
    assert blended.image[:2].equal(batch.image[:2])
    assert blended.image[2:].min() >= 1
    assert blended.image[2:].max() <= 8
    # None is blended with itself.
    assert (blended.image[2:] != batch.image[2:]).all()
    torch.testing.assert_close(blended.companions["plane"][:, 0], 100 * blended.image[:, 0, :2, :2])
    assert blend_unlabelled(batch, 0.0).image.equal(batch.image)


def test_a_box_of_half_the_area_is_pasted_and_companions_alike() -> None:
    torch.manual_seed(0)
    values = torch.arange(1.0, 203.0)[:, None, None, None]
    batch = Batch(
        values.expand(202, 3, 32, 48),
        torch.zeros(2, 32, 48).long(),
        {"logits": 10 * values.expand(202, 1, 32, 48), "small": values.expand(202, 1, 16, 24)},
    )
    cut = cut_unlabelled(batch, 1.0)
    assert cut.image[:2].equal(batch.image[:2])
    assert cut.companions["logits"].equal(10 * cut.image[:, :1])
    pasted = cut.image[2:, 0] != values[2:, 0]
    shares = pasted.float().mean((1, 2))
    assert shares.mean() == pytest.approx(0.5, abs=0.01)
    assert shares.min() > 0.45
    assert shares.max() < 0.55
    for one, image in zip(pasted, cut.image[2:, 0], strict=True):
        rows, columns = one.any(1), one.any(0)
        # It is one box, and all of it comes from one other unlabelled image.
        assert one.equal(rows[:, None] & columns[None, :])
        assert 0.45 < rows.float().mean() <= 1
        assert 0.45 < columns.float().mean() <= 1
        assert len(image[one].unique()) == 1
        assert image[one][0] >= 3
    # A companion of half the size has the same box, to a pixel of its own.
    small = cut.companions["small"][2:, 0] != values[2:, 0]
    halved = torch.nn.functional.avg_pool2d(pasted.float()[:, None], 2)[:, 0]
    assert ((small.float() - halved).abs() <= 0.75).all()
    assert (small.float() - halved).abs().mean() < 0.06  # of the box's edge
    # Boxes prefer no corner.
    quarters = torch.nn.functional.adaptive_avg_pool2d(pasted.float().mean(0)[None], 2)
    assert (quarters - 0.5).abs().max() < 0.1


def test_the_chance_says_how_many_get_a_box() -> None:
    torch.manual_seed(0)
    values = torch.arange(400.0)[:, None, None, None]
    batch = Batch(values.expand(400, 1, 8, 8), torch.empty(0, 8, 8).long(), {})
    assert cut_unlabelled(batch, 0.0).image.equal(batch.image)
    changed = (cut_unlabelled(batch, 0.25).image != batch.image).flatten(1).any(1)
    assert 70 <= changed.sum() <= 130
