"""Scores of papers against numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from support import needs

from edgeseg.contract import OutputContract
from edgeseg.errors import UnknownNameError
from edgeseg.metrics import scores as scores_module
from edgeseg.metrics.metric import ScoredImage
from edgeseg.metrics.scores import (
    OVERLAP,
    ImageScores,
    MetricSet,
    ReferenceScores,
    ScoreTable,
    every_metric,
    gather_scores,
    score_image,
    score_probabilities,
    stretch_map,
)
from edgeseg.metrics.table import all_metrics
from edgeseg.models import MODELS, find_model

SIGMOID = OutputContract(("background", "lesion"), 1)
SOFTMAX = OutputContract(("background", "infection"), 2)
THREE = OutputContract(("background", "disc", "centre"), 3)
ALL_METRICS = every_metric()
NAMES = ALL_METRICS.names
LIGHT = MetricSet(tuple(metric.name for metric in all_metrics() if not metric.packages))
COUNTED = LIGHT.without(LIGHT.binary_names())

# Two images of eight pixels. First: 2 hits, 1 too many, 1 missed, 4 others. Second: 1 hit, 3
# too many, 0 missed, 4 others.
TRUTH = np.array([[[1, 1, 1, 0], [0, 0, 0, 0]], [[1, 0, 0, 0], [0, 0, 0, 0]]], np.uint8)
FOUND = np.array([[[1, 1, 0, 1], [0, 0, 0, 0]], [[1, 1, 1, 1], [0, 0, 0, 0]]], np.uint8)


def table_of(
    maps: NDArray[np.floating],
    truths: NDArray[np.uint8],
    metrics: MetricSet,
    outputs: OutputContract = SIGMOID,
) -> ScoreTable:
    """Scores of foreground maps (images, H, W), or of probabilities (images, C, H, W)."""
    batch = maps[:, None] if maps.ndim == 3 else maps
    predictions = ((one[None], truth) for one, truth in zip(batch, truths, strict=True))
    (table,) = score_probabilities(predictions, outputs, metrics)
    return table


def one_hot(labels: NDArray[np.uint8], class_count: int) -> NDArray[np.float32]:
    return np.stack([labels == index for index in range(class_count)], axis=1).astype(np.float32)


def test_scores_from_counts_by_hand() -> None:
    scores = table_of(FOUND.astype(np.float32), TRUTH, COUNTED).scores()
    assert scores == pytest.approx(
        {
            "dice_pooled": 6 / 11,  # 3 hits, 4 too many, 1 missed, 8 others
            "dice_image": (4 / 6 + 2 / 5) / 2,
            "soft_dice_image": (4 / 6 + 2 / 5) / 2,  # maps of 0 and 1 are their masks
            "iou_pooled": 3 / 8,
            "iou_image": (2 / 4 + 1 / 4) / 2,
            "miou_pooled": (3 / 8 + 8 / 13) / 2,
            "accuracy": 11 / 16,
            "sensitivity_pooled": 3 / 4,
            "sensitivity_image": (2 / 3 + 1) / 2,
            "specificity_pooled": 8 / 12,
            "specificity_image": (4 / 5 + 4 / 7) / 2,
        }
    )


def test_a_metric_scores_the_same_in_every_set_and_from_label_maps() -> None:
    scores = table_of(FOUND.astype(np.float32), TRUTH, COUNTED).scores()
    for table in (
        table_of(FOUND.astype(np.float32), TRUTH, OVERLAP),
        ReferenceScores(FOUND, TRUTH, 2, OVERLAP).table,
    ):
        assert table.scores() == {name: scores[name] for name in OVERLAP.names}


@needs("torch", "monai", "scipy")
def test_a_perfect_prediction() -> None:
    truth = np.zeros((2, 24, 24), np.uint8)
    truth[0, 4:12, 4:12] = truth[1, 6:20, 3:9] = 1
    table = table_of(truth.astype(np.float32), truth, ALL_METRICS)
    best = {name: 0.0 if name in ("hd_px", "hd95_px", "mae") else 1.0 for name in NAMES}
    assert table.scores() == pytest.approx(best)
    for name, (low, high) in table.intervals().items():
        assert (low, high) == pytest.approx((best[name], best[name])), name


def test_soft_dice_by_hand() -> None:
    maps = np.array([[[0.75, 0.25]], [[0.5, 0.5]]])
    truth = np.array([[[1, 0]], [[1, 1]]], np.uint8)
    scores = table_of(maps, truth, MetricSet(("soft_dice_image",))).scores()
    assert scores["soft_dice_image"] == pytest.approx((1.5 / 2 + 2 / 3) / 2)


def test_softmax_of_two_is_scored_by_its_second_channel() -> None:
    maps = np.random.default_rng(2).uniform(0, 1, (3, 8, 8))
    truth = (np.random.default_rng(3).uniform(0, 1, (3, 8, 8)) > 0.5).astype(np.uint8)
    names = MetricSet(("soft_dice_image", "dice_pooled", "s_measure", "e_measure", "mae"))
    two = table_of(np.stack([1 - maps, maps], axis=1), truth, names, SOFTMAX).scores()
    assert two == pytest.approx(table_of(maps, truth, names).scores())


def test_classes_weigh_the_same() -> None:
    truth = np.array([[[0, 1, 1, 2]]], np.uint8)
    found = np.array([[[0, 1, 1, 0]]], np.uint8)
    scores = table_of(one_hot(found, 3), truth, COUNTED, THREE).scores()
    for name in ("dice_pooled", "iou_image", "soft_dice_image", "sensitivity_image"):
        assert scores[name] == pytest.approx(0.5), name  # the second class was missed
    assert scores["miou_pooled"] == pytest.approx((0.5 + 1 + 0) / 3)
    assert scores["accuracy"] == pytest.approx(3 / 4)
    assert scores["specificity_pooled"] == pytest.approx(1)


@needs("torch", "monai", "scipy")
def test_distances_are_the_mean_over_classes() -> None:
    truth = np.zeros((1, 30, 40), np.uint8)
    truth[0, 5:9, 5:9] = 1
    found = truth.copy()
    truth[0, 20, 20] = 2  # missed: 50, the diagonal
    table = table_of(one_hot(found, 3), truth, MetricSet(("hd_px", "hd95_px")), THREE)
    assert table.scores() == {"hd_px": 25, "hd95_px": 25}


@needs("torch", "monai", "scipy")
def test_hd95_of_each_image_is_kept_for_comparisons() -> None:
    truth = np.zeros((2, 30, 40), np.uint8)
    truth[:, 5:15, 5:15] = 1
    found = truth.copy()
    found[1] = np.roll(truth[1], 4, axis=1)
    table = table_of(found.astype(np.float32), truth, MetricSet(("hd95_px", "dice_pooled")))
    assert table.per_image.keys() == {"hd95_px"}
    assert table.per_image["hd95_px"].tolist() == [0, 4]
    assert table.scores()["hd95_px"] == 2
    assert table.intervals()["hd95_px"] == (0, 4)


def test_empty_masks_are_scored_as_defined_and_counted() -> None:
    empty, full = np.zeros((1, 4), np.uint8), np.ones((1, 4), np.uint8)
    truth = np.stack([empty, full, empty, full])
    found = np.stack([full, empty, empty, full])
    table = table_of(found.astype(np.float32), truth, COUNTED)
    assert table.count_empty() == {"truth": 1, "prediction": 1, "both": 1}
    for name in ("dice_image", "soft_dice_image", "iou_image"):
        assert table.per_image[name].tolist() == [0, 0, 1, 1], name
    assert table.per_image["sensitivity_image"].tolist() == [1, 0, 1, 1]
    assert table.per_image["specificity_image"].tolist() == [0, 1, 1, 1]


def test_a_map_is_stretched_from_its_own_ends() -> None:
    assert stretch_map(np.array([0.25, 0.5, 0.75])).tolist() == [0, 0.5, 1]
    assert stretch_map(np.array([0.25, 0.25])).tolist() == [0.25, 0.25]


def test_a_set_that_stretches_finds_what_is_faint() -> None:
    maps = np.array([[[0.1, 0.1, 0.3, 0.3]]])
    truth = np.array([[[0, 0, 1, 1]]], np.uint8)
    names = ("iou_image", "soft_dice_image", "mae")
    faint = table_of(maps, truth, MetricSet(names)).scores()
    stretched = table_of(maps, truth, MetricSet(names, stretches_maps=True)).scores()
    assert faint["iou_image"] == 0
    assert stretched == pytest.approx({"iou_image": 1, "soft_dice_image": 1, "mae": 0})


def test_intervals_have_the_seed_of_evaluate() -> None:
    generator = np.random.default_rng(8)
    truth = (generator.uniform(0, 1, (12, 6, 6)) > 0.5).astype(np.uint8)
    table = table_of(generator.uniform(0, 1, (12, 6, 6)), truth, LIGHT)
    intervals = table.intervals()
    assert intervals.keys() == set(LIGHT.names)
    weights = np.random.default_rng(20260).multinomial(12, np.full(12, 1 / 12), size=2000)
    hits, extra, missed = np.moveaxis(weights @ table.counts[:, 1], -1, 0)
    means = weights @ table.per_image["iou_image"] / 12
    for name, values in (
        ("dice_pooled", 2 * hits / (2 * hits + extra + missed)),
        ("iou_image", means),
    ):
        assert intervals[name] == pytest.approx(tuple(np.percentile(values, (2.5, 97.5))))
    for name, value in table.scores().items():
        low, high = intervals[name]
        assert low <= value <= high, name


def test_a_teacher_that_no_paper_segments_with_has_no_papers_metrics() -> None:
    assert find_model("efficientunet").paper_metrics is None


@pytest.mark.parametrize("model", sorted(set(MODELS.names()) - {"efficientunet"}))
def test_every_published_model_has_its_papers_metrics(model: str) -> None:
    spec = find_model(model)
    assert spec.paper_metrics is not None
    assert spec.paper_metrics.names
    assert spec.paper_metrics.stretches_maps == (model in ("msnet", "m2snet"))


def test_an_unknown_metric_names_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"Unknown metric 'hd95'\. Did you mean hd95_px\?"):
        MetricSet(("hd95",))


def test_no_image_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no image to score\. Name a split"):
        gather_scores([], COUNTED)


def labels_of(*rows: list[int]) -> NDArray[np.uint8]:
    """An image of one row each."""
    return np.array([[row] for row in rows], np.uint8)


class TestReference:
    """Label maps against those of a reference: its Dice is 1 and 2/3, of the other 2/3 and 2/3."""

    truth = labels_of([1, 1, 0, 0], [1, 1, 0, 0])
    reference = ReferenceScores(labels_of([1, 1, 0, 0], [1, 0, 0, 0]), truth, 2, OVERLAP)
    other = reference.score(labels_of([1, 0, 0, 0], [1, 0, 0, 0]))

    def test_differences_and_relative_changes_by_hand(self) -> None:
        differences = self.other.differences(self.reference.table)
        # Pooled: 3 of 4 pixels are hit, then 2 of 4.
        assert differences["dice_pooled"] == pytest.approx(4 / 6 - 6 / 7)
        assert differences["dice_image"] == pytest.approx(2 / 3 - 5 / 6)
        relative = self.other.relative_changes(self.reference.table)
        assert relative["dice_image"] == pytest.approx((2 / 3) / (5 / 6) - 1)
        assert relative["iou_pooled"] == pytest.approx((2 / 4) / (3 / 4) - 1)

    def test_intervals_of_changes_are_paired(self) -> None:
        # A resample holds the first image twice, once or not at all.
        low, high = self.other.relative_change_intervals(self.reference.table)["dice_image"]
        assert (low, high) == pytest.approx((2 / 3 - 1, 0))
        low, high = self.other.difference_intervals(self.reference.table)["dice_image"]
        assert (low, high) == pytest.approx((2 / 3 - 1, 0))

    def test_a_reference_of_nothing_has_no_relative_change(self) -> None:
        missed = ReferenceScores(labels_of([0, 0, 0, 1]), labels_of([1, 0, 0, 0]), 2, OVERLAP)
        found = missed.score(labels_of([1, 0, 0, 0]))
        assert found.relative_changes(missed.table) == {}
        assert found.relative_change_intervals(missed.table) == {}
        assert found.differences(missed.table)["dice_image"] == 1

    def test_only_images_that_differ_are_scored_again(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        scored = []

        def count(image: ScoredImage, metrics: MetricSet) -> ImageScores:
            scored.append(image)
            return score_image(image, metrics)

        monkeypatch.setattr(scores_module, "score_image", count)
        self.reference.score(labels_of([1, 1, 0, 0], [1, 1, 0, 0]))
        assert [image.predicted.tolist() for image in scored] == [[[1, 1, 0, 0]]]

    def test_other_images_or_metrics_are_not_compared(self) -> None:
        with pytest.raises(ValueError, match="zip"):
            self.reference.score(self.truth[:1])
        fewer = ReferenceScores(self.truth[:1], self.truth[:1], 2, OVERLAP).table
        less = ReferenceScores(self.truth, self.truth, 2, MetricSet(("accuracy",))).table
        for table in (fewer, less):
            with pytest.raises(ValueError, match="by one set on the same images"):
                self.other.differences(table)

    def test_label_maps_have_no_probabilities(self) -> None:
        with pytest.raises(ValueError, match="computed from probabilities"):
            ReferenceScores(self.truth, self.truth, 2, MetricSet(("mae",)))


def test_pixels_of_which_nothing_is_known_do_not_count() -> None:
    predicted = np.array([[1, 1, 0, 1]], np.uint8)
    truth = np.array([[1, 0, 255, 255]], np.uint8)
    probabilities = np.array([[[0.9, 0.8, 0.1, 0.7]]])
    image = ScoredImage(predicted, truth, 2, probabilities).without_ignored()
    assert image.predicted.tolist() == [[1, 1, 0, 0]]
    assert image.truth.tolist() == [[1, 0, 0, 0]]
    assert image.foreground.tolist() == [[[0.9, 0.8, 0, 0]]]
    scored = scores_module.score_image(ScoredImage(predicted, truth, 2), OVERLAP)
    # One pixel is right, one too many; the two unknown ones are neither.
    assert scored.counts.tolist() == [[2, 0, 1], [1, 1, 0]]
