"""What holds for every calibrator that chooses each range by itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support import Counter, needs
from tiny_graphs import INPUT, save_conv_relu_conv

from edgeseg.data.folder import open_folder
from edgeseg.errors import CalibrationError, UnknownNameError
from edgeseg.models import find_model
from edgeseg.quantize import METHODS
from edgeseg.quantize.calibration_images import CalibrationImages, choose_calibration_images
from edgeseg.quantize.calibrators.min_max import MinMaxCalibrator
from edgeseg.quantize.calibrators.range_calibrator import RangeCalibrator, shift_ranges
from edgeseg.records import sha256_of_file

pytestmark = needs("onnx", "onnx_ir", "onnxruntime")

NAMES = [name for name in METHODS.names() if issubclass(METHODS.find(name), RangeCalibrator)]
INPUTS = find_model("egeunet", size=(64, 64)).inputs
CORRECTED = {"bias_correction": "true"}


@pytest.fixture
def images(make_data_folder: Callable[..., Path]) -> CalibrationImages:
    return choose_calibration_images(open_folder(make_data_folder(3), labelled=False), INPUTS, 3)


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    weights = np.random.default_rng(3).normal(size=(4, 3)).astype(np.float32)
    return save_conv_relu_conv(tmp_path / "tiny.onnx", weights, [[1, 2, 3, 4]])


def calibrator(name: str, **options: str) -> RangeCalibrator:
    kind: type[RangeCalibrator] = METHODS.find(name)
    return kind(kind.options_class.parse(f"method {name}", options))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("options", [{}, CORRECTED])
def test_order_of_images_does_not_matter(
    name: str, options: dict[str, str], graph: Path, images: CalibrationImages
) -> None:
    backwards = replace(images, pairs=images.pairs[::-1], digests=images.digests[::-1])
    plans = [calibrator(name, **options).calibrate(graph, given) for given in (images, backwards)]
    assert plans[0] == plans[1]


@pytest.mark.parametrize("name", NAMES)
def test_plan_is_whole_and_covers_no_more_than_was_seen(
    name: str, graph: Path, images: CalibrationImages
) -> None:
    plan = calibrator(name).calibrate(graph, images)
    widest = MinMaxCalibrator().calibrate(graph, images)
    assert set(plan.ranges) == {INPUT, "r"}
    assert set(plan.weights) == {"a"}
    assert bool(plan.biases) is (name == "mse")
    assert all(plan.ranges[tensor] <= widest.ranges[tensor] for tensor in plan.ranges)
    assert (plan.weights["a"].scales <= widest.weights["a"].scales).all()
    assert plan.provenance.method == name
    assert plan.provenance.graph_sha256 == sha256_of_file(graph)
    assert set(plan.provenance.images) == set(images.digests)


@pytest.mark.parametrize("name", NAMES)
def test_bias_correction_is_an_option_that_changes_biases_only(
    name: str, graph: Path, images: CalibrationImages
) -> None:
    plan = calibrator(name, bias_correction="false").calibrate(graph, images)
    assert not plan.biases
    corrected = calibrator(name, **CORRECTED).calibrate(graph, images)
    assert corrected.provenance.settings["bias_correction"] is True
    assert set(corrected.biases) == {"a"}
    assert replace(corrected, biases={}, provenance=plan.provenance) == plan


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("options", [{}, CORRECTED, {"zero_points": "true"}])
def test_progress_ends_full(
    name: str, options: dict[str, str], graph: Path, images: CalibrationImages
) -> None:
    progress = Counter()
    method = calibrator(name, **options)
    method.calibrate(graph, images, progress=progress)
    assert progress.total == progress.steps


@pytest.mark.parametrize("name", NAMES)
def test_no_image_is_an_error(name: str, graph: Path, images: CalibrationImages) -> None:
    with pytest.raises(CalibrationError, match="Name real images with --data"):
        calibrator(name).calibrate(graph, replace(images, pairs=(), digests=()))


@pytest.mark.parametrize("zero_points", ["true", "false"])
@pytest.mark.parametrize("name", NAMES)
def test_dead_layer_is_named(
    name: str, zero_points: str, tmp_path: Path, images: CalibrationImages
) -> None:
    path = save_conv_relu_conv(tmp_path / "dead.onnx", [[0, 0, 0]], [[1]])
    with pytest.raises(CalibrationError, match=r"'r' has no usable range.*is 0\.0.*dead layer"):
        calibrator(name, zero_points=zero_points).calibrate(path, images)


@pytest.mark.parametrize("name", NAMES)
def test_zero_points_are_an_option_that_makes_steps_smaller(
    name: str, graph: Path, images: CalibrationImages
) -> None:
    plan = calibrator(name).calibrate(graph, images)
    shifted = calibrator(name, zero_points="true").calibrate(graph, images)
    assert shifted.zero_points["r"] == -128  # nothing is below 0 behind a ReLU
    assert shifted.scale("r") < 0.6 * plan.scale("r")
    assert shifted.weights == plan.weights


@pytest.mark.parametrize("name", NAMES)
def test_results_that_no_int8_convolution_reads_can_be_left_alone(
    name: str, graph: Path, images: CalibrationImages
) -> None:
    plan = calibrator(name, quantize_outputs="false").calibrate(graph, images)
    whole = calibrator(name).calibrate(graph, images)
    assert plan.ranges == {INPUT: whole.ranges[INPUT]}
    assert plan.weights == whole.weights


def test_ranges_are_shifted_to_where_values_are() -> None:
    ranges, zero_points = shift_ranges(
        {"relu": 10.0, "both": 10.0, "clipped": 10.0, "far": 10.0},
        {"relu": (0, 5.1), "both": (-5.1, 20), "clipped": (-30, 30), "far": (2, 5.1)},
    )
    assert ranges["relu"] / 127 == pytest.approx(5.1 / 255)
    assert ranges["both"] / 127 == pytest.approx(15.1 / 255)
    assert ranges["clipped"] / 127 == pytest.approx(20 / 255)
    # 0 always has a code: padding is made of it.
    assert ranges["far"] == ranges["relu"]
    assert zero_points == {"relu": -128, "both": -42, "clipped": 0, "far": -128}


@pytest.mark.parametrize("name", NAMES)
def test_mistyped_option_is_refused(name: str) -> None:
    with pytest.raises(UnknownNameError, match=f"Method {name} has no option 'bias_corection'"):
        calibrator(name, bias_corection="true")
