"""Scores of groups are those of their images alone; ONNX files are scored, too."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx_files import save, small_net

from edgeseg.metrics.scores import OVERLAP, ImageScores, gather_scores
from edgeseg.pipeline.evaluate import EvaluateRequest, evaluate_model, score_groups


def image(found: int, extra: int, missed: int) -> ImageScores:
    background = (100, missed, extra)
    return ImageScores(np.array([background, (found, extra, missed)]), {})


def test_a_group_is_scored_by_its_own_images() -> None:
    """Pooled Dice 2 TP / (2 TP + FP + FN): of both faces 2*30 / (60 + 10 + 30) = 0.6."""
    table = gather_scores([image(10, 0, 0), image(10, 10, 10), image(20, 0, 20)], OVERLAP)
    groups = score_groups(table, ["back", "face", "face"])
    assert list(groups) == ["back", "face"]
    assert groups["back"]["images"] == 1
    assert groups["back"]["accuracy"]["dice_pooled"] == 1
    assert groups["face"]["accuracy"]["dice_pooled"] == pytest.approx(0.6)
    assert groups["face"]["accuracy"]["dice_image"] == pytest.approx((0.5 + 2 / 3) / 2)
    low, high = groups["face"]["accuracy_ci95"]["dice_pooled"]
    assert (low, high) == (pytest.approx(0.5), pytest.approx(2 / 3))


def test_an_onnx_file_is_scored_without_its_network(tmp_path: Path) -> None:
    path = save(small_net(), tmp_path)
    spec = tmp_path / "spec.toml"
    record = evaluate_model(EvaluateRequest(str(path), spec=spec, splits=("val",)))
    assert record["images"] > 0
    assert 0 <= record["accuracy"]["dice_pooled"] <= 1
    low, high = record["accuracy_ci95"]["dice_pooled"]
    assert low <= record["accuracy"]["dice_pooled"] <= high
