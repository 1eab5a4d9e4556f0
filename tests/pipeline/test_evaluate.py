"""Scores of groups are those of their images alone; ONNX files are scored, too."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onnx_files import save, small_net

from edgeseg.errors import UsageError
from edgeseg.metrics.scores import OVERLAP, ImageScores, gather_scores
from edgeseg.models import TrainedModel
from edgeseg.pipeline.builder.request import open_split
from edgeseg.pipeline.evaluate import EvaluateRequest, evaluate_model, score_groups, score_model


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


def test_networks_of_two_sizes_are_compared_at_the_larger(tmp_path: Path) -> None:
    names = {}
    for side in (32, 64):
        folder = tmp_path / str(side)
        folder.mkdir()
        net = str(save(small_net(sizes=(1, 3, "h", "w")), folder))
        names[side] = TrainedModel.find(net, folder / "spec.toml", (side, side), None)
    dataset = open_split(None, "val")
    record = score_model(names[32], dataset, against=names[64])["against"]
    assert record["scored_at"] == [64, 64]
    same = score_model(names[32], dataset, against=names[32])["against"]
    assert "scored_at" not in same
    assert same["difference"]["dice_pooled"] == 0


def test_the_other_network_can_take_another_size() -> None:
    request = EvaluateRequest("egeunet", splits=("val",), size=(64, 64), against="egeunet")
    record = evaluate_model(replace(request, against_size=(96, 96)))
    assert record["against"]["scored_at"] == [96, 96]
    alone = evaluate_model(replace(request, against=None, size=(96, 96)))
    assert record["against"]["accuracy"] == alone["accuracy"]
    assert "scored_at" not in evaluate_model(request)["against"]
    with pytest.raises(UsageError, match="--against-size belongs to --against"):
        replace(request, against=None, against_size=(96, 96))
