from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support import Counter, draw_pair, needs
from tiny_graphs import INPUT, RESULT, node, pointwise, save_graph

from edgeseg.data.folder import open_folder
from edgeseg.errors import CalibrationError, UsageError
from edgeseg.models import find_model
from edgeseg.quantize.calibration_images import CalibrationImages, choose_calibration_images
from edgeseg.quantize.calibrators.mse import MseCalibrator
from edgeseg.quantize.calibrators.range_calibrator import RangeOptions
from edgeseg.quantize.distillation.calibrator import DistillCalibrator, DistillOptions
from edgeseg.quantize.plan.quant_plan import QuantPlan

pytestmark = needs("torch", "onnx", "onnx_ir", "onnxruntime")

INPUTS = find_model("egeunet", size=(32, 32)).inputs
SHORT = DistillOptions(block_steps=4, steps=8, batch=2)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> CalibrationImages:
    root = tmp_path_factory.mktemp("distill")
    (root / "images").mkdir()
    for index in range(5):
        Image.fromarray(draw_pair((32, 32), seed=index)[0]).save(root / f"images/{index}.png")
    return choose_calibration_images(open_folder(root, labelled=False), INPUTS, 5)


def save_network(path: Path, classes: int) -> Path:
    """Three layers, and a head with one or more channels."""
    generator = np.random.default_rng(2)
    nodes = [
        node("Conv", [INPUT, "w0"], "a"),
        node("Relu", ["a"], "r"),
        node("Conv", ["r", "w1"], "b"),
        node("Tanh", ["b"], "t"),
        node("Conv", ["t", "w2"], "c"),
        node("Tanh", ["c"], "u"),
        node("Conv", ["u", "head"], "logits"),
        node("Sigmoid" if classes == 1 else "Identity", ["logits"], RESULT),
    ]
    if classes > 1:
        import onnx

        nodes[-1] = onnx.helper.make_node("Softmax", ["logits"], [RESULT], axis=1)
    constants = {
        "w0": pointwise(generator.normal(0, 0.02, (6, 3))),
        "w1": pointwise(generator.normal(0, 0.5, (6, 6))),
        "w2": pointwise(generator.normal(0, 0.5, (6, 6))),
        "head": pointwise(generator.normal(0, 3, (classes, 6))),
    }
    return save_graph(path, nodes, constants, channels=3)


def calibrate(path: Path, images: CalibrationImages, **options: Any) -> QuantPlan:
    method = DistillCalibrator(replace(SHORT, **options))
    return method.calibrate(path, images)


@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize("zero_points", [False, True])
def test_plan_is_never_worse_than_the_start_on_held_back_images(
    classes: int, zero_points: bool, images: CalibrationImages, tmp_path: Path
) -> None:
    path = save_network(tmp_path / "net.onnx", classes)
    plan = calibrate(path, images, zero_points=zero_points)
    agreement = plan.provenance.agreement
    assert agreement["held_back_images"] == 1
    assert agreement["flips_per_10k"] <= agreement["flips_per_10k_at_start"]
    assert set(plan.weights) == set(plan.biases) == {"a", "b", "c"}
    assert bool(plan.zero_points) is zero_points


def spoilt_plan(path: Path, images: CalibrationImages) -> QuantPlan:
    """Ranges that clip half of everything."""
    plan = calibrate(path, images, block_steps=0, steps=0)
    return replace(plan, ranges={name: limit / 2 for name, limit in plan.ranges.items()})


@pytest.mark.parametrize("stage_name", ["blocks", "end to end"])
def test_each_stage_mends_a_spoilt_plan(
    stage_name: str, images: CalibrationImages, tmp_path: Path
) -> None:
    from edgeseg.quantize.distillation.block_stage import BlockSettings
    from edgeseg.quantize.distillation.end_to_end_stage import EndToEndSettings
    from edgeseg.quantize.distillation.learner import Learner

    path = save_network(tmp_path / "net.onnx", 1)
    prepared = list(images)
    learner = Learner(path, spoilt_plan(path, images), prepared[1:], prepared[:1], seed=0)
    progress = Counter()
    if stage_name == "blocks":
        learner.learn_blocks(BlockSettings(steps=100, drop=0.0), 4, progress)
    else:
        learner.learn_end_to_end(EndToEndSettings(80, 1, 1.0), progress)
    assert learner.best.is_better_than(learner.begin)
    # What was learned is what is kept.
    again = Learner(path, learner.best_plan, prepared[1:], prepared[:1], seed=0)
    assert again.begin.flips_per_10k == pytest.approx(learner.best.flips_per_10k, abs=20)


def test_nan_is_never_better() -> None:
    from edgeseg.quantize.distillation.learner import Score

    assert Score(1.0, 0.1).is_better_than(Score(1.0, 0.2))
    assert Score(1.0, 0.3).is_better_than(Score(2.0, 0.2))
    assert not Score(1.0, 0.2).is_better_than(Score(1.0, 0.2))
    assert not Score(0.0, float("nan")).is_better_than(Score(1.0, 0.2))


def test_results_can_stay_as_they_are(images: CalibrationImages, tmp_path: Path) -> None:
    path = save_network(tmp_path / "net.onnx", 1)
    plan = calibrate(path, images, quantize_outputs=False)
    assert set(plan.ranges) == {INPUT, "r", "t"}
    assert set(plan.biases) == {"a", "b", "c"}


def test_learned_weights_stay_within_their_bits(images: CalibrationImages, tmp_path: Path) -> None:
    path = save_network(tmp_path / "net.onnx", 1)
    plan = calibrate(path, images, weight_bits=4)
    assert {np.abs(grid.values).max() for grid in plan.weights.values()} == {7}


def test_order_of_images_does_not_matter(images: CalibrationImages, tmp_path: Path) -> None:
    path = save_network(tmp_path / "net.onnx", 1)
    backwards = replace(images, pairs=images.pairs[::-1], digests=images.digests[::-1])
    assert calibrate(path, images) == calibrate(path, backwards)


def test_seed_decides(images: CalibrationImages, tmp_path: Path) -> None:
    path = save_network(tmp_path / "net.onnx", 1)
    plans = [calibrate(path, images, seed=seed) for seed in (0, 0)]
    assert plans[0] == plans[1]
    assert plans[0].provenance.seed == 0
    assert calibrate(path, images, seed=1).provenance.seed == 1


def test_stages_can_be_left_out(images: CalibrationImages, tmp_path: Path) -> None:
    path = save_network(tmp_path / "net.onnx", 1)
    start = MseCalibrator(RangeOptions(bias_correction=True))
    plan = calibrate(path, images, block_steps=0, steps=0)
    learned = choose(images, 4)
    expected = start.calibrate(path, learned)
    assert replace(plan, provenance=expected.provenance) == expected


def choose(images: CalibrationImages, count: int) -> CalibrationImages:
    return replace(images, pairs=images.pairs[:count], digests=images.digests[:count])


def test_progress_ends_full(images: CalibrationImages, tmp_path: Path) -> None:
    progress = Counter()
    path = save_network(tmp_path / "net.onnx", 1)
    method = DistillCalibrator(replace(SHORT, block_steps=0))
    method.calibrate(path, images, progress=progress)
    assert progress.total == SHORT.steps


def test_one_image_is_too_few(images: CalibrationImages, tmp_path: Path) -> None:
    path = save_network(tmp_path / "net.onnx", 1)
    with pytest.raises(CalibrationError, match=r"given 1 cal.*Raise --calibration-images"):
        calibrate(path, choose(images, 1))


@pytest.mark.parametrize(
    ("options", "advice"),
    [
        ({"drop": 1.0}, r"drop is 1\.0.*Give drop=0\.5"),
        ({"held_back": -0.1}, r"held_back is -0\.1.*Give held_back=0\.25"),
        ({"batch": 0}, "batch is 0; it is at least 1. Give batch=4"),
        ({"steps": -1}, "steps is -1; it is at least 0"),
    ],
)
def test_option_out_of_bounds_says_what_to_give(options: dict[str, Any], advice: str) -> None:
    with pytest.raises(UsageError, match=advice):
        DistillOptions(**options)
