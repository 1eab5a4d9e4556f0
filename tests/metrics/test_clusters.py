"""Intervals of images that belong together, against numbers by hand and by simulation."""

from __future__ import annotations

import json

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeseg.metrics.bootstrap import bootstrap_intervals
from edgeseg.metrics.clusters import LEAST_CLUSTERS, Clusters, counted
from edgeseg.metrics.counts import Counts
from edgeseg.metrics.limits import judge_margin
from edgeseg.metrics.scores import OVERLAP, ImageScores, ScoreTable, gather_scores
from edgeseg.metrics.table import find_metric

DICE = find_metric("dice_pooled")


def mean_interval(values: NDArray[np.float64], clusters: Clusters | None) -> tuple[float, float]:
    def statistic(weights: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
        return {"": weights @ values / weights.sum(1)}

    return bootstrap_intervals(len(values), statistic, clusters)[""]


def test_a_cluster_is_drawn_whole() -> None:
    values = np.array([1.0, 0.0, 1.0, 1.0])
    # Drawn twice, the first cluster means 1, the second 0; no draw has another share of its images.
    assert mean_interval(values, Clusters((0, 1, 0, 0), "volumes")) == (0, 1)
    low, high = mean_interval(values, None)
    assert 0.25 <= low < 0.75 < high == 1


def test_slices_that_are_alike_count_once() -> None:
    """Ten slices of each volume say no more than one."""
    volumes = np.random.default_rng(4).normal(0, 1, 20)
    once = mean_interval(volumes, None)
    slices = np.repeat(volumes, 10)
    clusters = Clusters(tuple(np.repeat(np.arange(20), 10).tolist()), "volumes")
    assert mean_interval(slices, clusters) == pytest.approx(once)
    low, high = mean_interval(slices, None)
    assert high - low < 0.5 * (once[1] - once[0])


def test_intervals_over_clusters_cover_and_those_over_slices_do_not() -> None:
    random = np.random.default_rng(11)
    of_images = np.repeat(np.arange(16), 8)
    clusters = Clusters(tuple(of_images.tolist()), "patients")
    covered = {True: 0, False: 0}
    for _ in range(100):
        values = random.normal(0, 1, 16)[of_images] + random.normal(0, 0.5, len(of_images))
        for is_clustered in covered:
            low, high = mean_interval(values, clusters if is_clustered else None)
            covered[is_clustered] += low <= 0 <= high
    assert covered[True] >= 88
    assert covered[False] <= 70


def table_of(counts: list[list[int]], of_images: tuple[int, ...] | None) -> ScoreTable:
    images = [ImageScores(as_counts(image), {}) for image in counts]
    clusters = None if of_images is None else Clusters(of_images, "volumes")
    return gather_scores(images, OVERLAP, clusters)


def as_counts(foreground: list[int]) -> Counts:
    return np.array([[0, 0, 0], foreground])


def test_pooled_scores_and_their_changes_resample_clusters() -> None:
    ours = table_of([[10, 0, 0], [10, 0, 0], [0, 10, 10]], (0, 0, 1))
    theirs = table_of([[10, 0, 0], [10, 0, 0], [10, 0, 0]], (0, 0, 1))
    # (2, 0), (1, 1) and (0, 2) times the clusters: Dice 1, 2 / 3 and 0.
    assert ours.intervals()["dice_pooled"] == (0, 1)
    assert ours.scores()["dice_pooled"] == pytest.approx(2 / 3)
    assert ours.difference_intervals(theirs)["dice_pooled"] == (-1, 0)
    assert ours.relative_change_intervals(theirs)["dice_image"] == (-1, 0)
    assert ours.independent == (2, "volumes")
    assert table_of([[1, 0, 0]] * 3, None).independent == (3, "images")


def test_parts_of_the_images_keep_what_belongs_together() -> None:
    table = table_of([[10, 0, 0]] * 5, (0, 1, 1, 0, 2))
    assert table.only([1, 2, 4]).clusters == Clusters((0, 0, 1), "volumes")
    assert table.only([0, 1, 4]).clusters is None


def test_a_cluster_is_scored_as_a_whole() -> None:
    # A slice without an object, found empty, has Dice 1: volumes have no such slices.
    table = table_of([[10, 0, 10], [0, 0, 0], [0, 0, 0], [0, 5, 5], [5, 0, 0]], (0, 0, 0, 1, 1))
    wholes = table.of_clusters()
    assert wholes is not None
    assert wholes.per_image["dice_image"] == pytest.approx([2 / 3, 0.5])
    assert wholes.scores()["dice_image"] == pytest.approx((2 / 3 + 0.5) / 2)
    assert {*wholes.scores()} == {"dice_image", "iou_image"}
    assert wholes.intervals()["dice_image"] == pytest.approx((0.5, 2 / 3))
    assert wholes.clusters is None
    assert table_of([[1, 0, 0]], None).of_clusters() is None


def test_clusters_of_other_images_are_refused() -> None:
    with pytest.raises(ValueError, match=r"3 images were scored.*Name the clusters of the same"):
        table_of([[1, 0, 0]] * 3, (0, 0))


def test_few_clusters_are_said_to_be_too_few() -> None:
    few = Clusters((0, 0, 1, 1, 2, 2), "volumes")
    assert few.text.startswith("6 slices of 3 volumes; intervals resample volumes, of which 3 are")
    assert "at least 8 are needed" in few.text
    many = Clusters(tuple(number % LEAST_CLUSTERS for number in range(20)), "patients")
    assert many.text == "20 images of 8 patients; intervals resample patients"
    assert [counted(1, kind) for kind in ("studies", "series", "patients")] == [
        "1 study",
        "1 series",
        "1 patient",
    ]


def test_a_margin_is_judged_on_clusters_not_on_their_images() -> None:
    verdict = judge_margin(DICE, 0.0, (0.0, 0.0), 0.005, 3, "volumes")
    assert verdict.verdict == "cannot tell"
    assert "on 3 volumes; at least 8 are needed" in verdict.text


def test_keys_are_forgotten() -> None:
    made = Clusters.of_keys(["Quirrelmann", "Agnes", "Quirrelmann"], "patients")
    assert made == Clusters((0, 1, 0), "patients")
    text = json.dumps(made.to_json())
    assert "Quirrelmann" not in text
    assert Clusters.from_json(json.loads(text)) == made
    assert Clusters.from_json(None) is None
    assert Clusters.of_keys(["a", "b"], "patients") is None


@pytest.mark.parametrize("numbers", [[0, 2], [-1, 0], ["a"], [0.0], []])
def test_records_that_make_no_sense_are_refused(numbers: list[object]) -> None:
    with pytest.raises(ValueError, match=r"[Cc]luster"):
        Clusters.from_json({"of_images": numbers, "kind": "volumes"})
