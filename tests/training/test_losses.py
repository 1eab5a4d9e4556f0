from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from support import needs

torch = pytest.importorskip("torch")

from edgeseg.errors import UnknownNameError, UsageError
from edgeseg.models.egeunet.network import EgeUnetLogits
from edgeseg.training.losses import BceDice, find_features, make_loss
from edgeseg.training.lossnet import LossNet, VggFeatures

pytestmark = needs("monai")

SURE = 50.0  # a logit whose sigmoid is 1 in float32
HALF = torch.tensor([[[1, 1], [0, 0]]])
EMPTY = torch.zeros(1, 2, 2, dtype=torch.int64)
# Probability 0.5 everywhere. Cross-entropy ln 2; Dice 1 - (2 * 1 + 1) / (2 + 2 + 1) = 0.4.
UNSURE_ON_HALF = math.log(2) + 0.4


def no_shares() -> list[float]:
    raise AssertionError("this loss does not weigh classes")


def unsure(count: int = 1) -> Any:
    return torch.zeros(count, 1, 2, 2)


def right(truth: Any) -> Any:
    return torch.where(truth[:, None] > 0, SURE, -SURE)


def test_unsure_mask_by_hand() -> None:
    assert float(BceDice()(unsure(), HALF)) == pytest.approx(UNSURE_ON_HALF, rel=1e-6)


def test_right_mask_costs_nothing() -> None:
    assert float(BceDice()(right(HALF), HALF)) == pytest.approx(0, abs=1e-6)


def test_right_empty_mask_costs_nothing() -> None:
    # Smoothing: 1 - (0 + 1) / (0 + 1).
    assert float(BceDice()(right(EMPTY), EMPTY)) == pytest.approx(0, abs=1e-6)


def test_wrong_mask_by_hand() -> None:
    # Cross-entropy is the logit's size; Dice 1 - (0 + 1) / (2 + 2 + 1).
    value = float(BceDice()(-right(HALF), HALF))
    assert value == pytest.approx(SURE + 0.8, rel=1e-6)


def test_dice_is_taken_per_sample() -> None:
    # The empty sample has Dice loss 1 - 1 / (2 + 1); pooled over both it would be 1 - 3 / 7.
    value = float(BceDice()(unsure(2), torch.cat((HALF, EMPTY))))
    assert value == pytest.approx(math.log(2) + (0.4 + 2 / 3) / 2, rel=1e-6)


def test_every_class_above_background_is_foreground() -> None:
    assert float(BceDice()(unsure(), HALF * 3)) == pytest.approx(UNSURE_ON_HALF, rel=1e-6)


def test_all_outputs_unsure_by_hand() -> None:
    loss = make_loss("deep_supervised_bce_dice", no_shares)
    value = float(loss(EgeUnetLogits(unsure(), (unsure(),) * 5), HALF))
    assert value == pytest.approx((1 + 0.1 + 0.2 + 0.3 + 0.4 + 0.5) * UNSURE_ON_HALF, rel=1e-6)


@pytest.mark.parametrize(("place", "weight"), list(enumerate((0.1, 0.2, 0.3, 0.4, 0.5))))
def test_side_outputs_weigh_more_the_shallower_they_are(place: int, weight: float) -> None:
    side = [right(HALF)] * 5
    side[place] = unsure()
    loss = make_loss("deep_supervised_bce_dice", no_shares)
    value = float(loss(EgeUnetLogits(right(HALF), tuple(side)), HALF))
    assert value == pytest.approx(weight * UNSURE_ON_HALF, rel=1e-5)


def test_loss_has_gradient_for_every_output() -> None:
    outputs = [unsure().requires_grad_() for _ in range(6)]
    loss = make_loss("deep_supervised_bce_dice", no_shares)
    loss(EgeUnetLogits(outputs[0], tuple(outputs[1:])), HALF).backward()
    assert all(output.grad is not None and output.grad.abs().min() > 0 for output in outputs)


def test_missing_side_output_is_an_error() -> None:
    with pytest.raises(ValueError, match="zip"):
        make_loss("deep_supervised_bce_dice", no_shares)(
            EgeUnetLogits(unsure(), (unsure(),) * 4), HALF
        )


def test_unknown_loss_lists_known_ones() -> None:
    with pytest.raises(
        UnknownNameError, match="Available: batch_dice, bce_dice, cross_entropy_dice"
    ):
        make_loss("dice", no_shares)


def test_batch_dice_is_taken_over_the_batch() -> None:
    # Half of 4 true pixels are hit softly: 2 * (2 * 0.5) / (2 + 8 * 0.5), smoothing 1e-3.
    loss = make_loss("batch_dice", no_shares)
    value = float(loss(unsure(2), torch.cat((HALF, EMPTY))))
    assert value == pytest.approx(1 - (2 + 1e-3) / (6 + 1e-3), rel=1e-6)


def test_rare_classes_weigh_more_in_cross_entropy() -> None:
    loss = make_loss("deep_supervised_cross_entropy", lambda: [0.9, 0.1])
    weights = [1 / math.log(2.0), 1 / math.log(1.2)]
    # All outputs unsure: each pixel costs ln 2 whatever its weight, the mean is weighted.
    outputs = tuple(torch.zeros(1, 2, 2, 2) for _ in range(4))
    assert float(loss(outputs, HALF)) == pytest.approx((1 + 3 * 0.4) * math.log(2), rel=1e-6)
    # Sure of background everywhere: the two lesion pixels cost 1 each, the others nothing.
    sure = torch.stack((torch.full((1, 2, 2), SURE), torch.zeros(1, 2, 2)), dim=1)
    expected = SURE * weights[1] / (weights[0] + weights[1])
    assert float(loss((sure,), HALF)) == pytest.approx(expected, rel=1e-5)


def test_edge_weighted_loss_by_hand() -> None:
    # The window covers the whole 2 x 2 mask and is divided by its 31 * 31 pixels: 2 / 961.
    near = 2 / 961
    inside, outside = 1 + 5 * (1 - near), 1 + 5 * near
    shared, joined = 2 * inside * 0.5, 2 * inside * 1.5 + 2 * outside * 0.5
    iou = (shared + 1) / (joined - shared + 1)
    value = float(make_loss("weighted_bce_iou", no_shares)(unsure(), HALF))
    assert value == pytest.approx(math.log(2) + 1 - iou, rel=1e-6)


def test_edge_weighted_loss_of_a_right_mask_is_nothing() -> None:
    value = float(make_loss("weighted_bce_iou", no_shares)(right(HALF), HALF))
    assert value == pytest.approx(0, abs=1e-6)


def test_whole_loss_of_msnet_adds_a_tenth_of_lossnet() -> None:
    features = VggFeatures()
    logit = unsure().requires_grad_()
    value = make_loss("weighted_bce_iou_lossnet", no_shares, features)(logit, HALF)
    shape = float(make_loss("weighted_bce_iou", no_shares)(unsure(), HALF))
    distance = float(LossNet(features)(torch.sigmoid(unsure()), HALF[:, None].float()))
    assert distance > 0
    assert float(value.detach()) == pytest.approx(shape + 0.1 * distance, rel=1e-6)
    value.backward()
    assert logit.grad is not None
    assert logit.grad.abs().min() > 0


def test_whole_loss_of_a_right_mask_is_nothing() -> None:
    loss = make_loss("weighted_bce_iou_lossnet", no_shares)
    assert float(loss(right(HALF), HALF)) == pytest.approx(0, abs=1e-6)


def test_a_loss_without_features_refuses_their_weights() -> None:
    assert find_features("bce_dice", None) is None
    with pytest.raises(
        UsageError, match=r"bce_dice has no perceptual term.*vgg\.pth\. Leave the option out, or"
    ):
        find_features("bce_dice", Path("vgg.pth"))


def test_cross_entropy_and_dice_of_all_classes_by_hand() -> None:
    # Unsure of two classes: cross-entropy ln 2, Dice of each 1 - (2 * 1 + 1) / (2 + 2 + 1).
    loss = make_loss("cross_entropy_dice", no_shares)
    value = float(loss(torch.zeros(1, 2, 2, 2), HALF))
    assert value == pytest.approx(math.log(2) + 0.4, rel=1e-6)
