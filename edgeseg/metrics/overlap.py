"""Metrics of how far a predicted and a true region overlap.

Papers differ in what they call Dice: `pooled` adds the counts of all images first (EGE-UNet's
definition), `image` is the mean over images of each image's score. An image in which a ratio has
nothing to divide by scores 1.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .counts import dice_from_counts, iou_from_counts, ratio_or_one
from .metric import ClassCounts, Metric, ScoredImage

EGEUNET = "EGE-UNet, Ruan et al. 2023"
MINISEG = "MiniSeg, Qiu et al. 2021"
ULITE_M2SNET = "U-Lite, Dinh et al. 2023; M2SNet, Zhao et al. 2023"


def dice(counts: ClassCounts) -> NDArray[np.float64]:
    """2 TP / (2 TP + FP + FN), mean over foreground classes."""
    return np.asarray(dice_from_counts(counts[..., 1:, :]).mean(-1))


def iou(counts: ClassCounts) -> NDArray[np.float64]:
    """TP / (TP + FP + FN), mean over foreground classes."""
    return np.asarray(iou_from_counts(counts[..., 1:, :]).mean(-1))


def iou_of_all_classes(counts: ClassCounts) -> NDArray[np.float64]:
    """IoU, mean over all classes with background."""
    return np.asarray(iou_from_counts(counts).mean(-1))


def sensitivity(counts: ClassCounts) -> NDArray[np.float64]:
    """True positives / true pixels, mean over foreground classes."""
    hit, _, missed = np.moveaxis(counts[..., 1:, :], -1, 0)
    return np.asarray(ratio_or_one(hit, hit + missed).mean(-1))


def specificity(counts: ClassCounts) -> NDArray[np.float64]:
    """True negatives / pixels that are not of the class, mean over foreground classes."""
    hit, extra, missed = np.moveaxis(counts[..., 1:, :], -1, 0)
    negative = _pixels(counts)[..., None] - hit - missed
    return np.asarray(ratio_or_one(negative - extra, negative).mean(-1))


def pixel_accuracy(counts: ClassCounts) -> NDArray[np.float64]:
    """Pixels whose class is right / pixels."""
    return ratio_or_one(counts[..., 0].sum(-1), _pixels(counts))


def _pixels(counts: ClassCounts) -> NDArray[np.int64]:
    return np.asarray((counts[..., 0] + counts[..., 2]).sum(-1))


def soft_dice(image: ScoredImage) -> float:
    """Dice of probabilities without a cut: 2 sum(p t) / (sum(p) + sum(t))."""
    scores = []
    for index, plane in enumerate(image.foreground.astype(np.float64), start=1):
        truth = image.truth == index
        both = np.asarray(plane.sum() + truth.sum())
        scores.append(ratio_or_one(np.asarray(2 * plane[truth].sum()), both))
    return float(np.mean(scores))


DICE_POOLED = Metric(
    name="dice_pooled",
    title="pooled Dice",
    definition="2 TP / (2 TP + FP + FN), pixels of all images pooled",
    source=EGEUNET,
    from_counts=dice,
    is_pooled=True,
    bench="column",
    allowed_change=0.005,
    option="--max-dice-drop",
)
DICE_IMAGE = Metric(
    name="dice_image",
    title="Dice by image",
    definition="2 TP / (2 TP + FP + FN), mean over images",
    source=MINISEG,
    from_counts=dice,
    bench="record",
)
SOFT_DICE_IMAGE = Metric(
    name="soft_dice_image",
    title="soft Dice by image",
    definition="2 sum(p t) / (sum(p) + sum(t)) of probabilities p that are not cut, mean over "
    "images",
    source=ULITE_M2SNET,
    from_image=soft_dice,
    needs_probabilities=True,
)
IOU_POOLED = Metric(
    name="iou_pooled",
    title="pooled IoU",
    definition="TP / (TP + FP + FN) of the foreground, pixels pooled; EGE-UNet's mIoU",
    source=EGEUNET,
    from_counts=iou,
    is_pooled=True,
    bench="record",
)
IOU_IMAGE = Metric(
    name="iou_image",
    title="IoU by image",
    definition="TP / (TP + FP + FN) of the foreground, mean over images; M2SNet's mIoU",
    source=ULITE_M2SNET,
    from_counts=iou,
    bench="record",
)
MIOU_POOLED = Metric(
    name="miou_pooled",
    title="pooled mIoU",
    definition="IoU, mean over all classes with background, pixels pooled; MiniSeg's mIoU",
    source=MINISEG,
    from_counts=iou_of_all_classes,
    is_pooled=True,
)
ACCURACY = Metric(
    name="accuracy",
    title="pixel accuracy",
    definition="pixels with the right class / pixels, pooled",
    source=EGEUNET,
    from_counts=pixel_accuracy,
    is_pooled=True,
)
SENSITIVITY_POOLED = Metric(
    name="sensitivity_pooled",
    title="pooled sensitivity",
    definition="TP / (TP + FN), share of true pixels that were found, pooled",
    source=EGEUNET,
    from_counts=sensitivity,
    is_pooled=True,
)
SENSITIVITY_IMAGE = Metric(
    name="sensitivity_image",
    title="sensitivity by image",
    definition="TP / (TP + FN), share of true pixels that were found, mean over images",
    source=MINISEG,
    from_counts=sensitivity,
)
SPECIFICITY_POOLED = Metric(
    name="specificity_pooled",
    title="pooled specificity",
    definition="TN / (TN + FP), share of other pixels that were left out, pooled",
    source=EGEUNET,
    from_counts=specificity,
    is_pooled=True,
)
SPECIFICITY_IMAGE = Metric(
    name="specificity_image",
    title="specificity by image",
    definition="TN / (TN + FP), share of other pixels that were left out, mean over images",
    source=MINISEG,
    from_counts=specificity,
)
