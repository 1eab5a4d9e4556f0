from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support import needs

from edgeseg.benchmarks.accuracy import Reference, true_labels
from edgeseg.contract import OutputContract
from edgeseg.data.folder import open_folder
from edgeseg.metrics.scores import Labels
from edgeseg.models import find_model

OUTPUTS = OutputContract(("background", "lesion"), 1)
NAMES = ("first", "second")


def labels_of(*images: list[list[int]]) -> Labels:
    return np.array(images, np.uint8)


TRUTH = labels_of([[1, 1], [0, 0]], [[0, 0], [0, 0]])
OURS = labels_of([[1, 0], [0, 0]], [[0, 0], [0, 0]])  # misses one pixel of the first
FLOAT = labels_of([[1, 1], [0, 0]], [[0, 0], [0, 1]])  # sees one too many in the second


def test_counts_by_hand() -> None:
    # True positives, false positives, false negatives.
    reference = Reference(FLOAT, TRUTH, NAMES, OUTPUTS).scores
    assert reference.score(OURS).counts[:, 1:].tolist() == [[[1, 0, 1]], [[0, 0, 0]]]
    assert reference.table.counts[:, 1:].tolist() == [[[2, 0, 0]], [[0, 1, 0]]]


def test_scores_by_hand() -> None:
    accuracy = Reference(FLOAT, TRUTH, NAMES, OUTPUTS).compare(OURS).accuracy
    expected = {
        "dice_pooled": 2 * 1 / (2 * 1 + 1),
        "dice_image": (2 / 3 + 1) / 2,  # nothing there and nothing found is 1
        "iou_pooled": 1 / 2,
        "iou_image": (1 / 2 + 1) / 2,
    }
    assert {name: accuracy[name] for name in expected} == pytest.approx(expected)


def test_delta_is_ours_minus_the_float_models() -> None:
    delta = Reference(FLOAT, TRUTH, NAMES, OUTPUTS).compare(OURS).delta
    expected = {
        "dice_pooled": 2 / 3 - 2 * 2 / (2 * 2 + 1),
        "dice_image": 5 / 6 - (1 + 0) / 2,
        "iou_pooled": 1 / 2 - 2 / 3,
        "iou_image": 3 / 4 - (1 + 0) / 2,
    }
    assert {name: delta[name] for name in expected} == pytest.approx(expected)


def test_flips_and_worst_image_by_hand() -> None:
    result = Reference(FLOAT, TRUTH, NAMES, OUTPUTS).compare(OURS)
    assert result.flips_per_10k == 2500  # one of four pixels in either
    assert result.worst_image["name"] == "first"
    assert result.worst_image["delta_dice"] == pytest.approx(2 / 3 - 1)
    assert result.worst_image["flips_per_10k"] == 2500


def test_among_images_that_lost_alike_the_one_with_most_flips_is_worst() -> None:
    empty = labels_of([[0, 0], [0, 0]], [[0, 0], [0, 0]])
    full = labels_of([[1, 0], [0, 0]], [[1, 1], [1, 0]])
    truth = labels_of([[0, 1], [0, 0]], [[0, 0], [0, 1]])
    worst = Reference(empty, truth, NAMES, OUTPUTS).compare(full).worst_image
    assert worst == {"name": "second", "delta_dice": 0.0, "flips_per_10k": 7500}


def test_float_model_loses_nothing_to_itself() -> None:
    result = Reference(FLOAT, TRUTH, NAMES, OUTPUTS).compare(FLOAT)
    assert set(result.delta.values()) == {0.0}
    assert set(result.delta_ci95.values()) == {(0.0, 0.0)}
    assert result.flips_per_10k == 0


def test_intervals_hold_their_scores() -> None:
    result = Reference(FLOAT, TRUTH, NAMES, OUTPUTS).compare(OURS)
    for values, intervals in (
        (result.accuracy, result.accuracy_ci95),
        (result.delta, result.delta_ci95),
        (result.relative_change, result.relative_change_ci95),
    ):
        assert values.keys() == intervals.keys()
        for name, (low, high) in intervals.items():
            assert low <= values[name] <= high, name


def test_unequal_numbers_of_images_are_an_error() -> None:
    with pytest.raises(ValueError, match="zip"):
        Reference(FLOAT, TRUTH, NAMES, OUTPUTS).compare(OURS[:1])


def test_true_labels_have_the_size_of_the_network(make_data_folder: Callable[..., Path]) -> None:
    dataset = open_folder(make_data_folder(3, (64, 96)))
    inputs = find_model("egeunet").at_size(32, 64).inputs
    labels = true_labels(dataset, inputs, OUTPUTS)
    assert (labels.shape, labels.dtype) == ((3, 32, 64), np.uint8)
    for label, pair in zip(labels, dataset, strict=True):
        share = pair.read_labels(2).mean()
        assert label.mean() == pytest.approx(share, abs=0.02)


@needs("torch", "monai", "scipy")
def test_border_distance_by_hand() -> None:
    def row(*pixels: int) -> list[list[int]]:
        return [[int(x in pixels) for x in range(8)]]

    # A truth of one pixel; found 2 beside it, and 3 by the float model; the second as it is.
    truth = labels_of(row(1), row(4))
    ours, theirs = labels_of(row(3), row(5)), labels_of(row(4), row(5))
    result = Reference(theirs, truth, NAMES, OUTPUTS).compare(ours)
    assert result.accuracy["hd95_px"] == pytest.approx((2 + 1) / 2)
    assert result.delta["hd95_px"] == pytest.approx((3 - 4) / 2)
    assert result.relative_change["hd95_px"] == pytest.approx(3 / 4 - 1)
    # Resamples hold the first image twice, once or not at all: 4/6, 3/4, 2/2.
    assert result.relative_change_ci95["hd95_px"] == pytest.approx((4 / 6 - 1, 0.0))
    same = Reference(truth, truth, NAMES, OUTPUTS).compare(truth)
    assert same.accuracy["hd95_px"] == 0
    assert "hd95_px" not in same.relative_change
    assert "hd95_px" not in same.relative_change_ci95
    alike = Reference(theirs, truth, NAMES, OUTPUTS).compare(theirs)
    assert alike.relative_change["hd95_px"] == 0
    assert alike.relative_change_ci95["hd95_px"] == (0, 0)


def test_without_monai_there_is_no_border_distance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeseg.metrics.table.is_installed", lambda name: name != "monai")
    result = Reference(FLOAT, TRUTH, NAMES, OUTPUTS).compare(OURS)
    for scores in (result.accuracy, result.accuracy_ci95, result.delta, result.relative_change):
        assert list(scores) == ["dice_pooled", "dice_image", "iou_pooled", "iou_image"]
