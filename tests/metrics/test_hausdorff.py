"""Hausdorff distances of squares and points, which are known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from support import needs

from edgeseg.errors import MissingBackendError
from edgeseg.metrics.hausdorff import hausdorff_distances


def square(row: int, column: int, side: int = 10) -> NDArray[np.uint8]:
    labels = np.zeros((30, 40), np.uint8)
    labels[row : row + side, column : column + side] = 1
    return labels


@needs("torch", "monai", "scipy")
class TestHausdorff:
    def test_of_a_mask_to_itself_is_zero(self) -> None:
        for percentile in (None, 95):
            same = hausdorff_distances(square(5, 5), square(5, 5), 2, percentile=percentile)
            assert same.tolist() == [0]

    def test_of_a_shifted_square_is_the_shift(self) -> None:
        # The corner that moved away is 5 = hypot(3, 4) from the nearest pixel, the old corner.
        assert hausdorff_distances(square(8, 9), square(5, 5), 2).tolist() == [5]
        assert hausdorff_distances(square(5, 5), square(8, 9), 2).tolist() == [5]

    def test_hd95_forgives_one_far_pixel(self) -> None:
        # The square has 36 border pixels; 36 zeros and one distance have 0 as 95th percentile.
        far = square(5, 5)
        far[14, 39] = 1  # 25 columns right of the square's last
        assert hausdorff_distances(far, square(5, 5), 2).tolist() == [25]
        assert hausdorff_distances(far, square(5, 5), 2, percentile=95).tolist() == [0]

    def test_hd95_of_two_distances_lies_between(self) -> None:
        # From the points to the truth 0 and 20, from the truth 0: 95 % of the way from 0 to 20.
        truth = np.zeros((30, 40), np.uint8)
        truth[3, 3] = 1
        points = truth.copy()
        points[3, 23] = 1
        value = hausdorff_distances(points, truth, 2, percentile=95)
        assert value.tolist() == pytest.approx([19])

    def test_a_border_is_one_also_where_the_image_ends(self) -> None:
        # Both fill the image's left, one is two columns wider.
        narrow, wide = np.zeros((2, 8, 8), np.uint8)
        narrow[:, :3] = wide[:, :5] = 1
        assert hausdorff_distances(narrow, wide, 2).tolist() == [2]

    @pytest.mark.parametrize("percentile", [None, 95])
    def test_to_an_empty_mask_is_the_diagonal(self, percentile: float | None) -> None:
        empty = np.zeros((30, 40), np.uint8)
        for pair in ((empty, square(5, 5)), (square(5, 5), empty)):
            assert hausdorff_distances(*pair, 2, percentile=percentile).tolist() == [50]
        assert hausdorff_distances(empty, empty, 2, percentile=percentile).tolist() == [0]

    def test_each_class_has_its_own(self) -> None:
        truth = np.where(square(5, 25, 5), 2, square(5, 5)).astype(np.uint8)
        predicted = np.where(square(5, 29, 5), 2, square(5, 5)).astype(np.uint8)
        assert hausdorff_distances(predicted, truth, 4).tolist() == [0, 4, 0]


def test_without_monai_the_command_that_adds_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeseg.lazy.is_installed", lambda module: module != "monai")
    with pytest.raises(MissingBackendError, match=r"pip install 'edgeseg\[train\]'"):
        hausdorff_distances(square(5, 5), square(5, 5), 2)
