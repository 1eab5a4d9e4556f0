"""Predictions of another size are brought to that at which masks are compared."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseg.contract import InputContract, MinMax, OutputContract
from edgeseg.metrics.labelled import predict_labelled, score_labelled
from edgeseg.metrics.scores import OVERLAP

INPUTS = InputContract(4, 4, 1, MinMax(0.0, 1.0))
OUTPUTS = OutputContract(("background", "object"), 1)


class Pair:
    """A picture of 8x8 whose right half is the object."""

    def read_both(self, *_: Any) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        truth = np.zeros((8, 8), np.uint8)
        truth[:, 4:] = 1
        return np.zeros((8, 8, 3), np.uint8), truth


def right_half(image: NDArray[np.float32]) -> NDArray[np.float32]:
    found = np.zeros((1, 1, *image.shape[2:]), np.float32)
    found[..., image.shape[3] // 2 :] = 1
    return found


def test_both_have_the_size_that_is_asked_for() -> None:
    for size, expected in ((None, (4, 4)), ((8, 8), (8, 8)), ((6, 8), (6, 8))):
        ((found, truth),) = predict_labelled(right_half, [Pair()], INPUTS, OUTPUTS, size=size)
        assert (found.shape, truth.shape) == ((1, 1, *expected), expected)
        assert np.array_equal(OUTPUTS.labels(found), truth)


def test_scores_are_those_at_that_size() -> None:
    (table,) = score_labelled(right_half, [Pair()], INPUTS, OUTPUTS, OVERLAP, size=(8, 8))
    assert table.scores()["dice_pooled"] == 1
    assert table.counts.tolist() == [[[32, 0, 0], [32, 0, 0]]]
