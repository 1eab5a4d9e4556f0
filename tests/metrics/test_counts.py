"""Counts, scores and intervals against numbers worked out by hand and against MONAI."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from support import needs

from edgeseg.metrics.bootstrap import Interval
from edgeseg.metrics.counts import Counts, count_classes
from edgeseg.metrics.metric import ClassCounts
from edgeseg.metrics.scores import OVERLAP, ImageScores, ScoreTable, gather_scores

FEW = settings(max_examples=60, deadline=None)
COUNTS = arrays(
    np.int64,
    st.tuples(st.integers(1, 6), st.integers(1, 3), st.just(3)),
    elements=st.integers(0, 9),
)
ONE_CLASS = arrays(
    np.int64, st.tuples(st.integers(1, 6), st.just(1), st.just(3)), elements=st.integers(0, 9)
)
MASKS = arrays(np.uint8, (2, 5, 7), elements=st.integers(0, 2))


def table_of(counts: Counts) -> ScoreTable:
    """Dice and IoU of counts of the foreground; the background's are none."""
    whole: ClassCounts = np.concatenate([np.zeros_like(counts[:, :1]), counts], axis=1)
    return gather_scores([ImageScores(image, {}) for image in whole], OVERLAP)


def scores_of(counts: Counts) -> dict[str, float]:
    return table_of(counts).scores()


def intervals_of(counts: Counts) -> dict[str, Interval]:
    return table_of(counts).intervals()


def dice_by_image(counts: Counts) -> NDArray[np.float64]:
    return table_of(counts).per_image["dice_image"]


def count_overlap(
    predicted: NDArray[np.integer], truth: NDArray[np.integer], class_count: int
) -> NDArray[np.int64]:
    """Counts of the foreground classes."""
    return count_classes(predicted, truth, class_count)[1:]


def counts_of(*images: tuple[int, int, int]) -> Counts:
    """Counts of images with one foreground class."""
    return np.array(images, np.int64)[:, None, :]


def test_pixels_are_counted_by_hand() -> None:
    truth = np.array([[0, 0, 1, 1], [2, 2, 1, 0]])
    predicted = np.array([[0, 1, 1, 1], [2, 0, 2, 0]])
    # Class 1: two hits, one too many, one missed. Class 2: one of each.
    assert count_overlap(predicted, truth, 3).tolist() == [[2, 1, 1], [1, 1, 1]]


@FEW
@given(MASKS)
def test_hits_and_misses_add_up_to_the_pixels(masks: NDArray[np.uint8]) -> None:
    predicted, truth = masks
    for index, (hit, extra, missed) in enumerate(count_overlap(predicted, truth, 3), start=1):
        assert hit + missed == (truth == index).sum()
        assert hit + extra == (predicted == index).sum()
        assert hit == ((truth == index) & (predicted == index)).sum()


def test_masks_of_two_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"Shapes differ: \(2, 3\) and \(3, 2\)"):
        count_overlap(np.zeros((2, 3), np.uint8), np.zeros((3, 2), np.uint8), 2)


def test_a_label_beyond_the_classes_is_refused() -> None:
    with pytest.raises(ValueError, match="class"):
        count_overlap(np.array([[2]]), np.array([[0]]), 2)


def test_pooled_and_mean_scores_by_hand() -> None:
    # Dice is 2/3 and 6/7, IoU 1/2 and 3/4; pooled the counts are 4, 1, 1.
    scores = scores_of(counts_of((1, 0, 1), (3, 1, 0)))
    assert scores == pytest.approx(
        {"dice_pooled": 0.8, "dice_image": 16 / 21, "iou_pooled": 2 / 3, "iou_image": 5 / 8}
    )


def test_empty_prediction_of_an_empty_truth_is_right() -> None:
    assert set(scores_of(counts_of((0, 0, 0))).values()) == {1.0}


def test_anything_found_in_an_empty_truth_is_wrong() -> None:
    assert set(scores_of(counts_of((0, 1, 0))).values()) == {0.0}
    assert dice_by_image(counts_of((0, 1, 0), (0, 0, 0), (1, 1, 1))).tolist() == [0, 1, 0.5]


def test_classes_weigh_the_same() -> None:
    # A large class that is right and a small one that is missed.
    scores = scores_of(np.array([[[1000, 0, 0], [0, 0, 1]]]))
    assert set(scores.values()) == {0.5}


@FEW
@given(COUNTS, st.integers(2, 5))
def test_scores_do_not_see_the_scale(counts: Counts, times: int) -> None:
    assert scores_of(counts * times) == pytest.approx(scores_of(counts))


@FEW
@given(COUNTS)
def test_scores_do_not_see_order_or_repetition(counts: Counts) -> None:
    twice = np.concatenate([counts[::-1], counts])
    assert scores_of(twice) == pytest.approx(scores_of(counts))


@FEW
@given(COUNTS)
def test_prediction_and_truth_may_change_places(counts: Counts) -> None:
    swapped = counts[..., [0, 2, 1]]
    assert scores_of(swapped) == pytest.approx(scores_of(counts))


@FEW
@given(ONE_CLASS)
def test_dice_follows_from_iou(counts: Counts) -> None:
    pooled = scores_of(counts)
    iou = pooled["iou_pooled"]
    assert pooled["dice_pooled"] == pytest.approx(2 * iou / (1 + iou))
    for image, dice in zip(counts, dice_by_image(counts), strict=True):
        iou = scores_of(image[None])["iou_image"]
        assert dice == pytest.approx(2 * iou / (1 + iou))


@needs("monai")
def test_dice_is_that_of_monai() -> None:
    import torch
    from monai.metrics import DiceMetric

    generator = np.random.default_rng(5)
    truth = generator.integers(0, 3, (12, 6, 6))
    predicted = generator.integers(0, 3, (12, 6, 6))
    truth[0] = truth[1] = predicted[0] = predicted[2] = 0  # both, one and the other empty
    counts = np.stack([count_overlap(*pair, 3) for pair in zip(predicted, truth, strict=True)])

    def one_hot(labels: NDArray[np.int64]) -> torch.Tensor:
        return torch.from_numpy(labels[:, None] == np.arange(3)[:, None, None]).float()

    metric = DiceMetric(include_background=False, ignore_empty=False)
    theirs = metric(one_hot(predicted), one_hot(truth)).numpy()
    np.testing.assert_allclose(dice_by_image(counts), theirs.mean(1), atol=1e-6)
    assert scores_of(counts)["dice_image"] == pytest.approx(theirs.mean(), abs=1e-6)


@settings(max_examples=10, deadline=None)
@given(COUNTS)
def test_an_interval_is_ordered_and_between_zero_and_one(counts: Counts) -> None:
    intervals = intervals_of(counts)
    assert intervals.keys() == scores_of(counts).keys()
    for low, high in intervals.values():
        assert 0 <= low <= high <= 1 + 1e-12


def test_an_interval_is_the_same_each_time() -> None:
    counts = np.random.default_rng(3).integers(0, 50, (20, 1, 3))
    assert intervals_of(counts) == intervals_of(counts)


def test_images_that_agree_leave_no_interval() -> None:
    for low, high in intervals_of(counts_of(*[(1, 1, 1)] * 9)).values():
        assert low == pytest.approx(high)


def test_an_interval_of_two_images_spans_both() -> None:
    # Each of the resamples (0, 0), (1, 1) has a chance of 1/4, far above 2.5 %.
    assert intervals_of(counts_of((0, 1, 1), (1, 0, 0)))["dice_image"] == (0, 1)


def test_an_interval_has_the_width_of_the_binomial() -> None:
    # Of 100 images half score 1, half 0. The 2.5 % and 97.5 % quantiles of Binomial(100, 1/2)
    # are 40 and 60; 2000 resamples may be off by one image.
    counts = counts_of(*[(1, 0, 0)] * 50, *[(0, 1, 1)] * 50)
    low, high = intervals_of(counts)["dice_image"]
    assert low == pytest.approx(0.40, abs=0.0101)
    assert high == pytest.approx(0.60, abs=0.0101)


def test_delta_is_ours_minus_the_reference() -> None:
    deltas = table_of(counts_of((1, 1, 1))).differences(table_of(counts_of((1, 0, 0))))
    assert deltas["dice_image"] == pytest.approx(0.5 - 1)
    assert deltas["iou_pooled"] == pytest.approx(1 / 3 - 1)


def test_a_paired_interval_sees_a_steady_gain_as_certain() -> None:
    # Dice is 2k/100 of the reference and 0.1 more of ours, in images that differ widely.
    hits = np.arange(5, 45, 5)
    reference = counts_of(*[(k, 50 - k, 50 - k) for k in hits])
    ours = counts_of(*[(k + 5, 45 - k, 45 - k) for k in hits])
    low, high = table_of(ours).difference_intervals(table_of(reference))["dice_image"]
    assert (low, high) == pytest.approx((0.1, 0.1))
    alone = intervals_of(reference)["dice_image"]
    assert alone[1] - alone[0] > 0.1


def test_a_model_differs_from_itself_by_nothing() -> None:
    counts = np.random.default_rng(4).integers(0, 50, (20, 2, 3))
    table = table_of(counts)
    assert set(table.differences(table).values()) == {0.0}
    assert set(table.difference_intervals(table).values()) == {(0.0, 0.0)}
    assert set(table.relative_changes(table).values()) == {0.0}
    assert set(table.relative_change_intervals(table).values()) == {(0.0, 0.0)}
