"""What a candidate changes, over all images, on the worst, and by the size of the object."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeseg.metrics.clusters import VOLUMES, Clusters
from edgeseg.metrics.findings import Finding, deciding, judge_findings, state_of
from edgeseg.metrics.paired import PairedSample, pair_labels
from edgeseg.metrics.quantities import QUANTITIES, find_limited, is_worst
from edgeseg.metrics.scores import MetricSet, ReferenceScores

Labels = NDArray[np.uint8]
SIDE = 40  # 1,600 pixels
LIMITS = {"dice_pooled": 0.005, "flips": 50.0, "worst_flips": 300.0, "worst_dice": 0.05}


def squares(count: int) -> Labels:
    """Squares of 6 to 30 pixels a side, smaller ones first."""
    labels = np.zeros((count, SIDE, SIDE), np.uint8)
    for index, side in enumerate(np.linspace(6, 30, count).astype(int)):
        labels[index, :side, :side] = 1
    return labels


def sample_of(labels: Labels, truth: Labels, labelled: list[int] | None = None) -> PairedSample:
    """A candidate beside a reference that is right."""
    places = list(range(len(truth))) if labelled is None else labelled
    names = [f"image{index}" for index in range(len(truth))]
    if not places:
        return pair_labels(names, labels, truth)
    reference = ReferenceScores(truth[places], truth[places], 2, MetricSet(("dice_pooled",)))
    return pair_labels(names, labels, truth, reference, places)


def found(sample: PairedSample, name: str, part: str = "") -> Finding:
    (one,) = (one for one in sample.findings() if (one.name, one.part) == (name, part))
    return one


def state(sample: PairedSample) -> str:
    return state_of(judge_findings(sample.findings(), LIMITS))


def test_equal_masks_hold_every_limit() -> None:
    truth = squares(30)
    assert state(sample_of(truth, truth)) == "holds"
    assert state(sample_of(truth[:7], truth[:7])) == "open"


def test_the_image_that_loses_most_is_found_and_breaks_the_limit() -> None:
    """Of 60 images one loses 0.13 of Dice, which the mean over all does not tell."""
    truth = squares(60)
    labels = truth.copy()
    # 2 h / (h + 900) is 0.87 for h = 693 of the 900 pixels of the last square.
    labels[-1, :30, 23:30] = 0  # 30 x 23 = 690 are left
    sample = sample_of(labels, truth)
    worst = found(sample, "worst_dice")
    assert (worst.image, worst.change) == ("image59", pytest.approx(2 * 690 / 1590 - 1))
    # Its flips are 210 of 1,600 pixels.
    assert found(sample, "worst_flips").change == pytest.approx(1312.5)
    assert found(sample, "flips").change == pytest.approx(1312.5 / 60)
    assert abs(found(sample, "dice_pooled").change) < 0.01
    verdict = deciding(judge_findings(sample.findings(), {"worst_dice": 0.05}))
    assert verdict is not None
    assert verdict.text == (
        "loses more than 0.05 of Dice of any image: -0.1321 at worst, on image59"
    )
    assert state(sample) == "broken"


def test_small_objects_that_lose_are_seen_though_all_together_hold() -> None:
    """Each of the ten smallest loses a column of its square, which 20 others hide."""
    truth = squares(30)
    labels = truth.copy()
    for index in range(10):
        side = int(np.sqrt(truth[index].sum()))
        labels[index, :side, side - 1] = 0
    sample = sample_of(labels, truth)
    limits = {"dice_pooled": 0.02}
    whole, *parts = judge_findings(sample.findings(), limits)
    assert whole.state == "holds"
    states = {one.part: one.state for one in parts}
    assert states == {"small": "broken", "medium": "holds", "large": "holds"}
    assert state_of((whole, *parts)) == "broken"
    named = deciding((whole, *parts))
    assert named is not None
    assert named.text.startswith("loses more than 0.02 of pooled Dice of small objects: -0.")


def test_small_parts_that_cannot_tell_block_nothing() -> None:
    truth = squares(12)
    labels = truth.copy()
    labels[0, 0, 0] = 0
    verdicts = judge_findings(sample_of(labels, truth).findings(), {"flips": 50.0})
    assert [one.state for one in verdicts] == ["holds", "open", "open", "open"]
    assert state_of(verdicts) == "holds"


def test_images_without_masks_count_for_flips() -> None:
    truth = squares(30)
    labels = truth.copy()
    labels[25] = 1 - labels[25]
    labelled = list(range(20))
    sample = sample_of(labels, truth, labelled)
    assert (found(sample, "flips").images, found(sample, "dice_pooled").images) == (30, 20)
    assert found(sample, "worst_flips").image == "image25"
    assert found(sample, "worst_dice").change == 0
    bare = sample_of(labels, truth, [])
    assert {one.name for one in bare.findings()} == {"flips", "worst_flips"}
    assert state_of(judge_findings(bare.findings(), {"flips": 5000.0})) == "holds"


def test_a_part_of_a_sample_is_that_of_its_images() -> None:
    truth = squares(30)
    labels = truth.copy()
    labels[4] = labels[20] = 0
    labelled = list(range(5, 30))
    whole, places = sample_of(labels, truth, labelled), [20, 4, 9, 11]
    part = whole.only(places)
    assert list(part.names) == [f"image{place}" for place in places]
    assert list(part.labelled) == [0, 2, 3]
    assert found(part, "worst_dice").image == "image20"
    assert found(part, "flips").change == pytest.approx(whole.flips[places].mean())


def test_limits_are_set_on_metrics_and_on_masks() -> None:
    assert find_limited("hd95_px").limit_option == "--max-hd95-growth"
    assert [is_worst(name) for name in ("hd95_px", *QUANTITIES)] == [False, False, True, True]
    flips = find_limited("flips")
    assert (flips.format_change(12.34), flips.format_limit(50)) == ("12.3", "50 of 10,000 pixels")


def test_slices_of_few_volumes_tell_less_than_as_many_images() -> None:
    """30 slices of 6 volumes, each as good as the others: of fewer than 8 nothing can be told."""
    truth = squares(30)
    labels = truth.copy()
    labels[:, 0, 0] = 0
    names = [f"image{index}" for index in range(30)]
    metrics = MetricSet(("dice_pooled",))

    def judged(clusters: Clusters | None) -> PairedSample:
        reference = ReferenceScores(truth, truth, 2, metrics, clusters)
        return pair_labels(names, labels, truth, reference, range(30), clusters)

    volumes = Clusters(tuple(index // 5 for index in range(30)), VOLUMES)
    assert state(judged(None)) == "holds"
    sample = judged(volumes)
    assert state(sample) == "open"
    verdict = deciding(judge_findings(sample.findings(), LIMITS))
    assert verdict is not None
    assert verdict.text.endswith("on 6 volumes; at least 8 are needed")
    many = Clusters(tuple(index // 3 for index in range(30)), VOLUMES)
    whole, clustered = found(judged(None), "dice_pooled"), found(judged(many), "dice_pooled")
    assert (clustered.images, clustered.unit) == (10, VOLUMES)
    width, wider = (high - low for low, high in (whole.interval, clustered.interval))
    assert wider > 1.5 * width  # small objects lose more, and each volume has one size


def test_a_slice_that_loses_breaks_a_limit_whatever_it_belongs_to() -> None:
    truth = squares(4)
    labels = truth.copy()
    labels[3] = 0
    sample = pair_labels(
        ["a", "b", "c", "d"], labels, truth, None, (), Clusters((0, 0, 1, 1), VOLUMES)
    )
    verdict = deciding(judge_findings(sample.findings(), {"worst_flips": 300.0}))
    assert verdict is not None
    assert (verdict.state, verdict.image, verdict.unit) == ("broken", "d", VOLUMES)
