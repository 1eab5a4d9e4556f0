"""Ignored pixels teach nothing, and change no other pixel's share of the loss."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from support import needs
from torch import Tensor

from edgeseg.contract import IGNORED
from edgeseg.training.ignoring import IgnoringLoss
from edgeseg.training.losses import make_loss

pytestmark = needs("monai")


class Outputs(NamedTuple):
    mask: Tensor
    side: tuple[Tensor, ...]


@pytest.mark.parametrize(
    ("name", "channels"),
    [("bce_dice", 1), ("batch_dice", 1), ("weighted_bce_iou", 1), ("cross_entropy_dice", 3)],
)
def test_ignored_pixels_get_no_gradient(name: str, channels: int) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn((2, channels, 6, 8), generator=generator, requires_grad=True)
    truth = torch.randint(0, max(channels, 2), (2, 6, 8), generator=generator)
    truth[:, :3] = IGNORED
    loss = IgnoringLoss(make_loss(name, lambda: [1.0]))
    loss(logits, truth).backward()
    assert logits.grad is not None
    assert (logits.grad[:, :, :3] == 0).all()
    assert (logits.grad[:, :, 3:] != 0).all()


def test_the_loss_does_not_depend_on_what_is_ignored() -> None:
    loss = IgnoringLoss(make_loss("bce_dice", lambda: [1.0]))
    truth = torch.tensor([[[0, 1, IGNORED]]])
    low, high = (torch.tensor([[[[-1.0, 2.0, value]]]]) for value in (-9.0, 9.0))
    assert loss(low, truth) == loss(high, truth)
    assert loss(low, truth) != loss(torch.tensor([[[[-1.0, 1.0, 0.0]]]]), truth)


def test_without_such_pixels_nothing_changes() -> None:
    plain = make_loss("bce_dice", lambda: [1.0])
    logits, truth = torch.tensor([[[[-1.0, 2.0]]]]), torch.tensor([[[1, 0]]])
    assert IgnoringLoss(plain)(logits, truth) == plain(logits, truth)


def test_side_outputs_of_other_sizes_are_covered_too() -> None:
    seen: list[Outputs] = []

    def loss(outputs: Outputs, truth: Tensor) -> Tensor:
        seen.append(outputs)
        return truth.sum()

    truth = torch.zeros((1, 4, 4), dtype=torch.int64)
    truth[:, :, 2:] = IGNORED
    outputs = Outputs(torch.zeros(1, 1, 4, 4), (torch.zeros(1, 2, 2, 2),))
    assert IgnoringLoss(loss)(outputs, truth) == 0
    (given,) = seen
    assert given.mask[0, 0, 0].tolist() == [0, 0, -30, -30]
    assert given.side[0][0, :, 0].tolist() == [[0, 30], [0, 0]]
